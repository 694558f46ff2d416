"""A Pacemaker cluster: nodes with corosync and Pacemaker on them. What tests, the demo and `make cluster-up` hold in their hands."""
from __future__ import annotations

import functools
import pathlib
import subprocess
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Optional

from cluster import image
from cluster.node import Node
from cluster.nodes import ONLINE_SECONDS, ROOM, SITE_A, SITE_B, Nodes, SiteOnCluster, WaitedInVain
from cluster.power import ALIVE
from lab.site import missing

__all__ = ["ROOM", "SITE_A", "SITE_B", "Cluster", "SiteOnCluster", "Status", "WaitedInVain", "missing_programs"]

PACKAGES = {"corosync": "corosync", "pacemakerd": "pacemaker", "crm_mon": "pacemaker-cli-utils", "crm": "crmsh", "modprobe": "kmod",
            "ip": "iproute2", "mkfs.ext4": "e2fsprogs", "nsenter": "util-linux", "mount": "mount", "make": "make"}


def missing_programs() -> list[str]:
    """What a cluster needs and this machine does not have: "corosync (package corosync)" ..."""
    return missing(PACKAGES)


class Cluster(Nodes):
    """A running cluster of `count` nodes; `token` in milliseconds is corosync's. Made in a room (run_in_node.py), as root."""

    def __init__(self, count: int = 2, sites: Sequence[SiteOnCluster] = (SITE_A,), token: int = 1000, megabytes: int = 64) -> None:
        self._token = token
        super().__init__(count, sites, megabytes)

    def install(self, root: pathlib.Path, names: Sequence[str]) -> None:
        """corosync's and Pacemaker's files, and the fence agent."""
        image.install_pacemaker(root, names, self._token)

    # -- what the cluster believes ------------------------------------------------------------------------------------------------

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

    def tells(self) -> str:
        """The cluster as crm_mon shows it, and the newest errors."""
        return "crm_mon -1rf 2>&1; grep -E 'error|warning' /var/log/pacemaker/pacemaker.log | tail -n 15"

    # -- what a drill asks of a cluster -------------------------------------------------------------------------------------------

    def start(self, site: SiteOnCluster) -> None:
        """Have the site's group started."""
        self.crm("resource", "start", site.name)

    def stop(self, sites: Sequence[SiteOnCluster]) -> None:
        """Have these sites' groups stopped; return when they are."""
        for site in sites:
            self.crm("resource", "stop", site.name)
        self.idle()

    def move(self, site: SiteOnCluster, node: str) -> None:
        """Have the site's group moved; moved() clears the constraint that this leaves behind."""
        self.crm("resource", "move", site.name, node)

    def moved(self, site: SiteOnCluster) -> None:
        """Clear what a move has left behind."""
        self.idle()
        self.crm("resource", "clear", site.name)

    def standby(self, node: str) -> None:
        """Put a node into standby."""
        self.crm("node", "standby", node)

    def clean_up(self) -> None:
        """Have past failures forgotten."""
        self.idle()
        self.crm("resource", "cleanup")
        self.idle()


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
