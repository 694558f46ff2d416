"""A cluster: nodes, network, power, shared disks and sites. What tests, the demo and `make cluster-up` hold in their hands."""
from __future__ import annotations

import functools
import os
import pathlib
import subprocess
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Callable, Optional

from cluster import image, network
from cluster.node import Node, NotOff
from cluster.power import ALIVE, PowerController
from lab.site import missing

ROOM = pathlib.Path("/mnt/cluster")
ONLINE_SECONDS = 60.0
PACKAGES = {"corosync": "corosync", "pacemakerd": "pacemaker", "crm_mon": "pacemaker-cli-utils", "crm": "crmsh", "modprobe": "kmod",
            "ip": "iproute2", "mkfs.ext4": "e2fsprogs", "nsenter": "util-linux", "mount": "mount", "make": "make"}


def missing_programs() -> list[str]:
    """What a cluster needs and this machine does not have: "corosync (package corosync)" ..."""
    return missing(PACKAGES)


@dataclass(frozen=True)
class SiteOnCluster:
    """A cluster site and where it lives. Its resource group has its name; `disk` is the name of its shared disk, /dev/DISK."""

    name: str = "jobsiteA"
    vip: str = "10.0.2.50"
    disk: str = "sdb1"
    directory: str = "/share"
    db: str = "job_site"
    port: int = 20816

    @property
    def site_db(self) -> str:
        """Absolute path of the site DB."""
        return "%s/%s" % (self.directory, self.db)


SITE_A = SiteOnCluster()
SITE_B = SiteOnCluster("jobsiteB", "10.0.2.51", "sdc1", "/share2")


class WaitedInVain(AssertionError):
    """What was waited for did not come; the text shows the cluster as it was then."""


class Cluster:
    """A running cluster of `count` nodes; `token` in milliseconds is corosync's. Made in a room (run_in_node.py), as root."""

    def __init__(self, count: int = 2, sites: Sequence[SiteOnCluster] = (SITE_A,), token: int = 1000, megabytes: int = 64) -> None:
        self.sites = list(sites)
        ROOM.mkdir(exist_ok=True)
        for name in ("disks", "power", "witness"):
            (ROOM / name).mkdir()
        names = ["node%d" % number for number in range(1, count + 1)]
        lower = image.build(ROOM, names, token, sorted({site.directory for site in sites}))
        network.build()
        self.images = {share: _make_image(share, megabytes) for share in sorted({site.disk for site in sites})}
        self.nodes = [Node(name, number, ROOM, lower, self.images) for number, name in enumerate(names, 1)]
        self.power = PowerController(self.nodes, ROOM / "power/socket")

    # -- up and down --------------------------------------------------------------------------------------------------------------

    def up(self) -> None:
        """Switch all nodes on, wait until they are online, make the sites."""
        for node in self.nodes:
            node.power_on()
        self.wait_online()
        for site in self.sites:
            self._make_site(site)

    def down(self) -> None:
        """End everything that was made, and see that it is gone. Raise NotOff, after the rest is down, for a node that does not go."""
        self.power.close()
        troubles: list[NotOff] = []
        for node in self.nodes:
            try:
                node.power_cut()
            except NotOff as trouble:
                troubles.append(trouble)
            node.close()
        network.remove()
        subprocess.run(["rm", "-rf", str(ROOM)], check=True)
        if troubles:
            raise troubles[0]

    def _make_site(self, site: SiteOnCluster) -> None:
        first, *others = self.nodes
        make = "/usr/lib/nqs/cjcmksite -d %s -n %s" % (site.site_db, site.name)
        first.sh("mount /dev/%s %s && %s -i %s -p %d && umount %s" % (site.disk, site.directory, make, site.vip, site.port, site.directory))
        for node in others:
            node.sh("%s -r" % make)

    # -- what the cluster believes ------------------------------------------------------------------------------------------------

    def node(self, name: str) -> Node:
        """The node of that name."""
        return self.power.nodes[name]

    def others(self, name: str) -> list[Node]:
        """All nodes but that one."""
        return [node for node in self.nodes if node.name != name]

    def status(self, node: Optional[Node] = None) -> Status:
        """What crm_mon says on `node`, or on the first node where it says anything."""
        for asked in [node] if node else self.nodes:
            if asked.init_pid is None:
                continue
            try:
                answer = asked.run("crm_mon", "-1", "--output-as=xml", check=False, timeout=20)
                return Status.read(answer.stdout)
            except (subprocess.SubprocessError, RuntimeError, ElementTree.ParseError):
                continue
        return Status()

    def wait(self, condition: Callable[[], object], what: str, seconds: float = 60.0, every: float = 0.1) -> None:
        """Wait until a condition holds; raise WaitedInVain with what the cluster looks like."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise WaitedInVain("waited %.0f s in vain until %s\n%s" % (seconds, what, self.words()))
            time.sleep(every)

    def wait_online(self) -> None:
        """Wait until every node is an online member in the eyes of every node."""
        names = {node.name for node in self.nodes}
        for node in self.nodes:
            self.wait(functools.partial(self._sees, node, names), "all nodes are online on %s" % node.name, ONLINE_SECONDS)

    def _sees(self, node: Node, names: set[str]) -> bool:
        return self.status(node).online == names

    def idle(self, seconds: float = 60.0) -> None:
        """Wait until the cluster has nothing more to do: its DC is idle and, asked what it would do next, it would do nothing."""
        self.wait(self._is_idle, "the cluster has nothing more to do", seconds)

    def _is_idle(self) -> bool:
        try:
            node = self.any_node()
            states = [node.run("crmadmin", "-S", name, check=False).stdout for name in self.status(node).online]
            plan = node.run("crm_simulate", "--live-check", "--simulate", check=False).stdout
        except RuntimeError:
            return False  # switched off while it was asked
        actions = plan.partition("Executing Cluster Transition:")[2].partition("Revised Cluster Status:")[0]
        return any("S_IDLE" in state for state in states) and "Revised" in plan and not actions.strip()

    def any_node(self) -> Node:
        """A node that is on and online by its own account; one is waited for."""
        self.wait(self._online, "any node is online")
        return self._online()[0]

    def _online(self) -> list[Node]:
        return [node for node in self.nodes if node.init_pid is not None and node.name in self.status(node).online]

    def crm(self, *words: str) -> str:
        """crmsh, as the operator types it; return what it prints."""
        return self.any_node().run("crm", *words).stdout

    def load(self, text: str) -> None:
        """Load a configuration written for crmsh, on top of what there is."""
        node = self.any_node()
        node.path("/root/configuration.crm").write_text(text)
        node.run("crm", "configure", "load", "update", "/root/configuration.crm")

    def configuration(self) -> str:
        """The whole configuration as XML, for restore()."""
        return self.any_node().run("cibadmin", "--query", "--scope", "configuration").stdout

    def restore(self, configuration: str) -> None:
        """Mend whatever was broken: cables, power, fencing, faults of the simulator; all nodes online, that configuration, no failures."""
        self.power.mood = ALIVE
        self.power.stay_off.clear()
        for node in self.nodes:
            node.mend_cable()
            node.power_on()
            node.path("/usr/spool/nqs/simulator.faults").unlink(missing_ok=True)
        self.wait_online()
        node = self.any_node()
        if configuration != self.configuration():
            node.path("/root/configuration.xml").write_text(configuration)
            node.run("cibadmin", "--replace", "--scope", "configuration", "--xml-file", "/root/configuration.xml")
        node.run("crm_resource", "--cleanup")
        self.idle()

    def words(self) -> str:
        """The cluster as crm_mon shows it on each node, and the newest errors: for the message of a failed test."""
        parts = []
        for node in self.nodes:
            if node.init_pid is None:
                parts.append("== %s is off" % node.name)
                continue
            try:
                parts.append("== %s\n%s" % (node.name, node.sh("crm_mon -1rf 2>&1; grep -E 'error|warning' /var/log/pacemaker/pacemaker.log | tail -n 15",
                                                               check=False, timeout=30)))
            except (subprocess.SubprocessError, RuntimeError) as error:
                parts.append("== %s: %s" % (node.name, error))
        return "\n".join(parts)


@dataclass(frozen=True)
class Status:
    """What crm_mon says: members that are online, standby nodes, and for each active resource the nodes it runs on; `failed` resources."""

    online: frozenset[str] = frozenset()
    standby: frozenset[str] = frozenset()
    unclean: frozenset[str] = frozenset()
    where: dict[str, list[str]] = field(default_factory=dict)
    failed: frozenset[str] = frozenset()

    @staticmethod
    def read(text: str) -> Status:
        """From crm_mon's XML. Raise ParseError."""
        tree = ElementTree.fromstring(text)
        nodes = tree.findall("./nodes/node")
        resources = tree.findall(".//resources//resource")
        return Status(frozenset(row.get("name", "") for row in nodes if row.get("online") == "true" and row.get("pending") != "true"),
                      frozenset(row.get("name", "") for row in nodes if row.get("standby") == "true"),
                      frozenset(row.get("name", "") for row in nodes if row.get("unclean") == "true"),
                      {row.get("id", ""): [node.get("name", "") for node in row.findall("node")] for row in resources if row.get("active") == "true"},
                      frozenset(row.get("id", "") for row in resources if row.get("failed") == "true"))


def _make_image(share: str, megabytes: int) -> pathlib.Path:
    """`CJC_LAB_NAME` in the environment becomes part of the name: so one lab's loop devices can be told from another's."""
    path = ROOM / "disks" / (share + os.environ.get("CJC_LAB_NAME", ""))
    with open(path, "wb") as file:
        file.truncate(megabytes << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(path)], check=True, stdout=subprocess.DEVNULL)
    return path
