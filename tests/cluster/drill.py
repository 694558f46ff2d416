"""A failover drill: a cluster that is used, watched and hurt. What a test, the demo and the long run do and measure is done here.

Each event (`move`, `power_cut` ...) returns when the service is back, with the outage as the client saw it, who asks every 10 ms.
"""
from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import Callable, Optional

from cluster import night_jobs
from cluster.client import Client
from cluster.node import Node
from cluster.nodes import ROOM, Nodes, SiteOnCluster
from cluster.observer import DAEMON_PREFIX, ROLES, Event, Observer, Violation, site_of

RECOVERY_SECONDS = 60.0


@dataclass(frozen=True)
class Outage:
    """One event: what was done, the site's node before and after, and for how long nobody answered the client, in seconds.

    `stall` is how long the client itself did not get the CPU at a stretch: the true outage may be shorter by that much.
    """

    event: str
    before: str
    after: str
    seconds: float
    stall: float


@dataclass(frozen=True)
class Verdict:
    """How a drill ended: the jobs of each site, what the observer saw, and what the checks of database and file system said ("" is good)."""

    accounts: dict[str, night_jobs.Account]
    violations: dict[str, int]
    samples: int
    longest_gap: float
    integrity: dict[str, str]
    fsck: dict[str, str]

    @property
    def good(self) -> bool:
        """Nothing lost, nothing twice, nothing double, all clean."""
        jobs = all(not account.lost and not account.twice and not account.waiting for account in self.accounts.values())
        return jobs and not any(self.violations.values()) and not any(self.integrity.values()) and not any(self.fsck.values())

    def words(self) -> str:
        """All of it, a line each."""
        lines = ["%s: %s" % (name, account.words()) for name, account in self.accounts.items()]
        lines.append("%s; the observer looked %d times, %.0f ms apart at the most" % (
            ", ".join("%d %ss" % (count, kind) for kind, count in self.violations.items()), self.samples, self.longest_gap * 1000))
        lines += ["SQLite of %s: %s" % (name, text or "clean") for name, text in self.integrity.items()]
        lines += ["fsck of %s: %s" % (name, text or "clean") for name, text in self.fsck.items()]
        return "\n".join(lines)


class Drill:
    """`with Drill(cluster)`: a client asks the sites and, with `jobs_per_second`, submits jobs; an observer watches the nodes.

    What it asks of the cluster are the verbs of Nodes; standby() and kill_corosync() are Pacemaker's alone.
    """

    def __init__(self, cluster: Nodes, jobs_per_second: float = 0.0, job_seconds: float = 0.3,
                 on_event: Optional[Callable[[Event], None]] = None, on_violation: Optional[Callable[[Violation], None]] = None) -> None:
        self.cluster = cluster
        self.site = cluster.sites[0]
        self.witness = ROOM / "witness"  # where the jobs testify
        self.observer = Observer(cluster.nodes, {site.name: site.vip for site in cluster.sites}, on_event, on_violation=on_violation)
        self.client = Client([], {site.name: (site.vip, site.port) for site in cluster.sites}, jobs_per_second, job_seconds,
                             key_prefix="%x-" % int(time.monotonic() * 10))

    def __enter__(self) -> Drill:
        self.observer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.observer.stop()

    # -- looking ------------------------------------------------------------------------------------------------------------------

    def where(self, site: Optional[SiteOnCluster] = None) -> str:
        """The node where the site's daemons, disk and VIP are all together, "" when there is none: by what is there, not by what anybody says."""
        site = site or self.site
        for name, state in self.observer.state().items():
            if len(state.sites.get(site.name, ())) == 3 and site.disk in state.disks and site.name in state.vips:
                return name
        return ""

    def serves(self, node: str = "", site: Optional[SiteOnCluster] = None) -> bool:
        """Whether the site is there (anywhere, or on that node) and answers now."""
        site = site or self.site
        where = self.where(site)
        return bool(where) and where == (node or where) and self.client.silent_for(site.name) < 0.2 and self.client.who_answers(site.name) == where

    def wait_serving(self, node: str = "", site: Optional[SiteOnCluster] = None, seconds: float = RECOVERY_SECONDS) -> str:
        """Wait until the site answers (on that node); return where."""
        site = site or self.site
        self.cluster.wait(lambda: self.serves(node, site), "%s answers%s" % (site.name, " on " + node if node else ""), seconds, every=0.02)
        return self.where(site)

    def wait_event(self, kind: str, since: float, node: str = "", what: str = "", seconds: float = RECOVERY_SECONDS) -> Event:
        """Wait until the observer has seen such an event since `since` (monotonic seconds); return the first one."""
        def seen() -> list[Event]:
            return [event for event in list(self.observer.events)
                    if event.kind == kind and event.t >= since and event.node == (node or event.node) and event.what == (what or event.what)]
        self.cluster.wait(seen, "'%s' is seen on %s" % (kind, node or "any node"), seconds, every=0.02)
        return seen()[0]

    def outage(self, event: str, before: str, since: float, site: Optional[SiteOnCluster] = None) -> Outage:
        """The outage of what happened at `since`; the service must be back."""
        site = site or self.site
        return Outage(event, before, self.where(site), self.client.outage(site.name, since), self.client.stall(since))

    # -- events -------------------------------------------------------------------------------------------------------------------

    def move(self, to: str, site: Optional[SiteOnCluster] = None) -> Outage:
        """Move the site's group by hand, as the operator does; the constraint that this leaves behind is cleared."""
        site = site or self.site
        before, since = self.where(site), time.monotonic()
        self.cluster.move(site, to)
        self.wait_serving(to, site)
        outage = self.outage("move", before, since, site)
        self.cluster.moved(site)
        return outage

    def bring(self, node: str, site: Optional[SiteOnCluster] = None) -> None:
        """Have the site on that node: it is moved there if it is elsewhere."""
        if self.where(site) != node:
            self.move(node, site)

    def standby(self, node: str) -> Outage:
        """Put a node into standby, as before maintenance of the machine."""
        before, since = self.where(), time.monotonic()
        self.cluster.standby(node)  # type: ignore[attr-defined]
        outage = self._taken_over("standby", before, node, since)
        self.cluster.idle()
        return outage

    def kill_daemon(self, role: str = "net") -> Outage:
        """SIGKILL one daemon of the site; the cluster's monitor has to see it, and the site comes back where it is.

        Between the kill and the new daemons may be less than the time between two samples of the observer: it need not have seen it.
        """
        before, since = self.where(), time.monotonic()
        old = daemons(self.cluster.node(before), self.site)
        for pid in old[role]:
            os.kill(pid, signal.SIGKILL)
        self.wait_new_daemons(before, old)
        return self.outage("daemon killed", before, since)

    def wait_new_daemons(self, node: str, old: dict[str, list[int]]) -> None:
        """Wait until the site answers on that node, none of its daemons being an old one."""
        def replaced() -> bool:
            new = daemons(self.cluster.node(node), self.site)
            return all(new[role] and not set(new[role]) & set(old[role]) for role in ROLES)
        self.cluster.wait(replaced, "the daemons of %s on %s are new ones" % (self.site.name, node), RECOVERY_SECONDS, every=0.02)
        self.wait_serving(node)

    def power_cut(self, node: str = "") -> Outage:
        """Cut the power of a node (of the site's), under whatever load there is: what was not synced is lost."""
        before = self.where()
        node, since = node or before, time.monotonic()
        self.cluster.node(node).power_cut()
        return self._failed_over("power cut", before, node, since)

    def cut_cable(self, node: str = "") -> Outage:
        """Cut a node (the site's) off the network; it lives on and has to be fenced. The cable is mended once it was."""
        before = self.where()
        node, since = node or before, time.monotonic()
        self.cluster.node(node).cut_cable()
        outage = self._failed_over("cable cut", before, node, since)
        self.cluster.node(node).mend_cable()
        return outage

    def kill_corosync(self, node: str = "") -> Outage:
        """SIGKILL corosync on a node (the site's): the node leaves the cluster while its JobCenter runs on, and has to be fenced."""
        before = self.where()
        node, since = node or before, time.monotonic()
        self.cluster.node(node).kill("corosync")
        return self._failed_over("corosync killed", before, node, since)

    def _failed_over(self, event: str, before: str, node: str, since: float) -> Outage:
        self.wait_event("down", since, node)
        return self._taken_over(event, before, node, since)

    def _taken_over(self, event: str, before: str, node: str, since: float) -> Outage:
        """Wait until the site answers; on another node, if it was on `node`."""
        if before == node:
            self.cluster.wait(lambda: self.where() not in ("", node), "another node has the site", RECOVERY_SECONDS, every=0.02)
        self.wait_serving()
        return self.outage(event, before, since)

    def clean_up(self) -> None:
        """Have the cluster forget past failures, as the operator does after having read them."""
        self.cluster.clean_up()

    def rejoined(self) -> None:
        """Wait until all nodes are members again and nothing is left to do."""
        self.cluster.rejoin()

    # -- the end ------------------------------------------------------------------------------------------------------------------

    def settle(self, seconds: float = 60.0) -> dict[str, night_jobs.Account]:
        """Submit nothing more, wait until every acknowledged job is done or known to be lost; return what became of them, by site."""
        self.client.pause()
        assert self.client.settled(seconds), "jobs are not acknowledged: is there a site?"
        accounts = {}
        for site in self.cluster.sites:
            accounts[site.name] = self._account(site)
            end = time.monotonic() + seconds
            while accounts[site.name].waiting and time.monotonic() < end:
                time.sleep(0.2)
                accounts[site.name] = self._account(site)
        return accounts

    def _account(self, site: SiteOnCluster) -> night_jobs.Account:
        acknowledged = self.client.acknowledged(site.name)
        listing = self.client.ask(site.name, "LIST")
        return night_jobs.account(acknowledged, listing, night_jobs.read(self.witness))

    def verdict(self) -> Verdict:
        """Settle the jobs, check the databases, stop all groups, check the file systems. The sites are down afterwards."""
        accounts = self.settle()
        integrity = {site.name: self._integrity(site) for site in self.cluster.sites}
        self.cluster.stop(self.cluster.sites)
        fsck = {disk: fsck_complaint(str(image)) for disk, image in self.cluster.images.items()}
        return Verdict(accounts, self.observer.counts(), self.observer.samples, self.observer.longest_gap, integrity, fsck)

    def _integrity(self, site: SiteOnCluster) -> str:
        node = self.cluster.node(self.where(site))
        program = "import sqlite3, json; print(json.dumps([row[0] for row in sqlite3.connect('%s/nqs/jobs.db').execute('PRAGMA integrity_check')]))"
        rows = json.loads(node.run("python3", "-c", program % site.site_db).stdout)
        return "" if rows == ["ok"] else "; ".join(rows)


def daemons(node: Node, site: SiteOnCluster) -> dict[str, list[int]]:
    """The pids of the site's daemons on a node, by role, as they are now."""
    return {role: sorted(pid for pid in node.pids(DAEMON_PREFIX + role) if site_of(pid) == site.name) for role in ROLES}


def fsck_complaint(image: str) -> str:
    """What a full check of a disk that nobody has mounted complains about, "" when it is clean."""
    done = subprocess.run(["fsck.ext4", "-n", "-f", image], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr
