"""Nodes with network, power, shared disks and sites, without any cluster software: what every cluster of the lab is made of."""
from __future__ import annotations

import os
import pathlib
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Callable

from cluster import image, network
from cluster.node import CommandFailed, Node, NotOff
from cluster.power import PowerController

ROOM = pathlib.Path("/mnt/cluster")
ONLINE_SECONDS = 60.0


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


class Nodes:
    """`count` nodes and what they share. Made in a room (run_in_node.py), as root.

    A cluster is a subclass: `install` puts its software on all nodes, and the verbs are what a drill asks of it.
    """

    def __init__(self, count: int = 2, sites: Sequence[SiteOnCluster] = (SITE_A,), megabytes: int = 64) -> None:
        self.sites = list(sites)
        ROOM.mkdir(exist_ok=True)
        for name in ("disks", "power", "witness"):
            (ROOM / name).mkdir()
        names = ["node%d" % number for number in range(1, count + 1)]
        lower = image.build(ROOM, names, sorted({site.directory for site in sites}), self.install)
        network.build()
        self.images = {share: _make_image(share, megabytes) for share in sorted({site.disk for site in sites})}
        self.nodes = [Node(name, number, ROOM, lower, self.images) for number, name in enumerate(names, 1)]
        self.power = PowerController(self.nodes, ROOM / "power/socket")

    def install(self, root: pathlib.Path, names: Sequence[str]) -> None:
        """Put what the nodes run besides agent and simulator below `root`, the root file system of all of them: here, that there is nothing."""
        (root / "etc/lab-no-cluster").touch()

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

    # -- looking ------------------------------------------------------------------------------------------------------------------

    def node(self, name: str) -> Node:
        """The node of that name."""
        return self.power.nodes[name]

    def others(self, name: str) -> list[Node]:
        """All nodes but that one."""
        return [node for node in self.nodes if node.name != name]

    def wait(self, condition: Callable[[], object], what: str, seconds: float = 60.0, every: float = 0.1) -> None:
        """Wait until a condition holds; raise WaitedInVain with what the cluster looks like."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise WaitedInVain("waited %.0f s in vain until %s\n%s" % (seconds, what, self.words()))
            time.sleep(every)

    def words(self) -> str:
        """The nodes as they are now: for the message of a failed test."""
        return "\n".join("== %s" % self._words_of(node) for node in self.nodes)

    def _words_of(self, node: Node) -> str:
        if node.init_pid is None:
            return "%s is off" % node.name
        try:
            return "%s\n%s" % (node.name, node.sh(self.tells(), check=False, timeout=30))
        except (subprocess.SubprocessError, RuntimeError) as error:
            return "%s: %s" % (node.name, error)

    def tells(self) -> str:
        """The line of shell that shows what matters on a node when something was waited for in vain."""
        return "cat /var/log/boot.log; ip -brief address; grep '^/dev/[sv]d' /proc/mounts; ps -e -o pid,ppid,stat,args | tail -n 40"

    # -- what a drill asks of a cluster -------------------------------------------------------------------------------------------

    def wait_online(self) -> None:
        """Wait until every node has booted and takes part."""
        for node in self.nodes:
            self.wait(lambda node=node: _has_booted(node), "%s has booted" % node.name, ONLINE_SECONDS, every=0.02)  # type: ignore[misc]

    def rejoin(self) -> None:
        """Wait until all nodes take part again after the loss of one, and nothing is left to do."""
        self.wait_online()
        self.idle()

    def idle(self, seconds: float = 60.0) -> None:
        """Wait until the cluster has nothing more to do."""
        raise NotImplementedError

    def start(self, site: SiteOnCluster) -> None:
        """Have the site's group started."""
        raise NotImplementedError

    def stop(self, sites: Sequence[SiteOnCluster]) -> None:
        """Have these sites' groups stopped; return when they are."""
        raise NotImplementedError

    def move(self, site: SiteOnCluster, node: str) -> None:
        """Have the site's group moved by hand; it may return before that is done."""
        raise NotImplementedError

    def moved(self, site: SiteOnCluster) -> None:
        """The site answers on its new node: have the cluster forget that it had to be moved, if it would not by itself."""
        self.idle()

    def clean_up(self) -> None:
        """Have past failures forgotten, as the operator does after having read them."""
        raise NotImplementedError


def _has_booted(node: Node) -> bool:
    """Whether the node is on and has its address: the last thing that boot does without cluster software."""
    try:
        return " inet " in node.run("ip", "-oneline", "address", "show", "dev", "eth0").stdout
    except (RuntimeError, CommandFailed):
        return False


def _make_image(share: str, megabytes: int) -> pathlib.Path:
    """`CJC_LAB_NAME` in the environment becomes part of the name: so one lab's loop devices can be told from another's."""
    path = ROOM / "disks" / (share + os.environ.get("CJC_LAB_NAME", ""))
    with open(path, "wb") as file:
        file.truncate(megabytes << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(path)], check=True, stdout=subprocess.DEVNULL)
    return path
