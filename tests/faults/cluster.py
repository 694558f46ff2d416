"""Faults of the cluster: node1, which has the site, is lost while the fence device is slow, broken, dead, hangs or lies.

A row is played on a real Pacemaker cluster of two nodes, under load and watched by the observer. Fencing alone protects a disk against
being mounted twice. ext4's mmp is a second line: the last rows show what it refuses, and what happens without it.
"""
from __future__ import annotations

import contextlib
import functools
import os
import pathlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Callable

from cluster import fencing
from cluster.cluster import Cluster, WaitedInVain
from cluster.conftest import Keeper
from cluster.drill import Drill, fsck_complaint
from cluster.node import CommandFailed, Node
from cluster.observer import DOUBLE_MOUNT, DOUBLE_SITE, DOUBLE_VIP
from cluster.power import ALIVE, BROKEN, DEAD, HANGS, LIES, SLOW
from faults.engine import Seen

CLUSTER = "cluster"
POWER_CUT, CABLE_CUT = "node1 loses its power", "node1's cable is cut"  # the moments: how the site's node is lost
TAKEN_OVER, REFUSED = 0, 1  # what is seen while the fault is there: node2 has the site; nothing of it starts, and the cluster says why
RECOVERY_SECONDS = 90.0  # once healed, for the site to answer on node2


@dataclass(frozen=True)
class See:
    """What must be seen after the loss of node1, within `timeout` seconds: `code` (see above); `told`: asks the cluster on node2 for its
    reason, "" until there is one, which must contain `says`; `remedy`: what the operator does once the fault is healed."""

    code: int
    told: Callable[[Drill], str]
    says: tuple[str, ...] = ()
    timeout: float = 60.0
    remedy: Callable[[Drill], object] = lambda drill: None


@dataclass(frozen=True)
class Fault:
    """One row. `inject`: the fence device fails until its end; `prepared`: the cluster is made as the row needs it before, until its end.

    `changes`: texts of the configuration that are replaced; `never`: what the observer must never see on two nodes at once;
    `once`: node1 is switched off once; `recovers`: once healed, node2 has the site, and nothing is lost.
    """

    name: str
    inject: Callable[[Drill], contextlib.AbstractContextManager[None]]
    see: dict[str, See]
    changes: tuple[tuple[str, str], ...] = ()
    prepared: Callable[[Drill], contextlib.AbstractContextManager[None]] = lambda drill: contextlib.nullcontext()
    never: frozenset[str] = frozenset((DOUBLE_MOUNT, DOUBLE_SITE, DOUBLE_VIP))
    quick: bool = True
    once: bool = True
    recovers: bool = True
    layer: str = field(default=CLUSTER, init=False)

    @property
    def title(self) -> str:
        """As in tables and test names."""
        return "%s: %s" % (self.layer, self.name)


# -- playing ------------------------------------------------------------------------------------------------------------------------

def moments(fault: Fault) -> list[str]:
    """The moments at which the fault is played."""
    return [moment for moment in (POWER_CUT, CABLE_CUT) if moment in fault.see]


def play(fault: Fault, moment: str, folder: pathlib.Path) -> Seen:
    """Bring a cluster up, play one row on it, take it down. `folder` is not used."""
    keeper = Keeper([fencing.ONE_SITE])
    try:
        return play_on(keeper.ready(), fault, moment)
    finally:
        keeper.end()


def play_on(cluster: Cluster, fault: Fault, moment: str) -> Seen:
    """Play one row on a cluster that is up, with the configuration fencing.ONE_SITE and nothing broken. What was wrong is in the result."""
    seen = Seen(fault.title, moment, timeout=fault.see[moment].timeout)
    with Drill(cluster, jobs_per_second=4) as drill:
        try:
            drill.wait_serving()
            _play(fault, moment, drill, seen)
        except (AssertionError, CommandFailed, RuntimeError) as error:
            seen.wrong.append(str(error).strip() or "an assertion of the test failed")
        seen.wrong += ["the observer has seen a %s of %s on %s" % (each.kind, each.what, " and ".join(each.nodes))
                       for each in drill.observer.violations if each.kind in fault.never]
    return seen


def _play(fault: Fault, moment: str, drill: Drill, seen: Seen) -> None:
    fencing.load(drill, *fault.changes)
    with fault.prepared(drill):
        node1, _ = fencing.at_node1(drill)
        with fault.inject(drill):
            since = time.monotonic()
            (node1.power_cut if moment == POWER_CUT else node1.cut_cable)()
            _watch(fault, fault.see[moment], drill, since, seen)
        if fault.recovers:
            _recover(fault, fault.see[moment], drill, since, seen)
            seen.wrong += ["%s: %s" % (name, account.words()) for name, account in drill.settle().items()
                           if account.lost or account.twice or account.waiting]


def _watch(fault: Fault, see: See, drill: Drill, since: float, seen: Seen) -> None:
    """The fault is there: wait for what the cluster does and says, and judge it."""
    with contextlib.suppress(WaitedInVain):
        drill.cluster.wait(lambda: see.told(drill) or (see.code == REFUSED and _appeared(fault, drill, since)), "the cluster says why", see.timeout)
    seen.seconds, seen.reason = time.monotonic() - since, see.told(drill)
    appeared = _appeared(fault, drill, since)
    seen.code = TAKEN_OVER if appeared else REFUSED
    if seen.seconds >= see.timeout:
        seen.wrong.append("nothing was said within %.0f s\n%s" % (see.timeout, drill.cluster.words()))
    if seen.code != see.code:
        seen.wrong.append("on node2 was seen: %s" % (", ".join(appeared) or "nothing"))
    seen.wrong += ["the cluster does not say %r" % text for text in see.says if text not in seen.reason]


def _appeared(fault: Fault, drill: Drill, since: float) -> list[str]:
    """What of the site node2 has, or has had for a moment. Where its address may be on both nodes, that alone does not count."""
    found = fencing.started(drill, _node2(drill), since)
    return [kind for kind in found if kind in ("mounted", "site started") or (kind == "vip here" and DOUBLE_VIP in fault.never)]


def _recover(fault: Fault, see: See, drill: Drill, since: float, seen: Seen) -> None:
    """Healed: the operator does what must be done, node1 is seen to be off, and only then node2 takes the site."""
    see.remedy(drill)
    drill.wait_serving("node2", seconds=RECOVERY_SECONDS)
    fenced = drill.cluster.power.fenced_since(since)
    if set(fenced) != {"node1"} or (fault.once and len(fenced) > 1):
        seen.wrong.append("fenced: %s" % ", ".join(fenced))
    if drill.wait_event("mounted", since, "node2").t <= drill.wait_event("down", since, "node1").t:
        seen.wrong.append("node2 has mounted the disk before node1 was off")
    drill.cluster.node("node1").mend_cable()
    drill.rejoined()
    if drill.where() != "node2":
        seen.wrong.append("in the end the site is on '%s'" % drill.where())


# -- ways to break, to look, to mend ------------------------------------------------------------------------------------------------

@contextlib.contextmanager
def device(drill: Drill, mood: str, slow_seconds: float = 5.0) -> Iterator[None]:
    """The fence device is in that mood: tests/cluster/power.py."""
    drill.cluster.power.mood, drill.cluster.power.slow_seconds = mood, slow_seconds
    try:
        yield
    finally:
        drill.cluster.power.mood = ALIVE


def is_(mood: str, **more: Any) -> Callable[[Drill], contextlib.AbstractContextManager[None]]:
    """device() as a record holds it."""
    return functools.partial(device, mood=mood, **more)


@contextlib.contextmanager
def mmp(drill: Drill) -> Iterator[None]:
    """The site's disk gets mmp, switched on as README says, and keeps it; in the end the file system is sound. The site is stopped then.

    Signs of life come every second: a mount is refused after 11 s then, not after 21 s.
    """
    where = drill.where()
    _stop(drill)
    drill.cluster.node(where).run("tune2fs", "-O", "mmp", "-E", "mmp_update_interval=1", "/dev/" + drill.site.disk)
    drill.cluster.crm("resource", "start", drill.site.name)
    drill.wait_serving()
    drill.cluster.idle()
    yield
    _stop(drill)
    complaint = fsck_complaint(str(drill.cluster.images[drill.site.disk]))
    assert not complaint, complaint


def _stop(drill: Drill) -> None:
    drill.cluster.crm("resource", "stop", drill.site.name)
    drill.cluster.idle()
    assert not any(state.disks for state in drill.observer.state().values())


def _node2(drill: Drill) -> Node:
    return drill.cluster.node("node2")


def fencing_failed(drill: Drill, times: int) -> str:
    """What crm_mon and pacemaker's log say of the newest failed fencing, once so many in a row have failed."""
    reasons = fencing.failed_fencings(_node2(drill), "node1")
    if len(reasons) < times or "node1" not in drill.cluster.status(_node2(drill)).unclean:
        return ""
    return "%s (%s)" % (reasons[0], fencing.words_of_fence_agent(_node2(drill)) or "the fence agent has said nothing")


def start_failed(drill: Drill) -> str:
    """The agent's exit reason of a failed start on node2."""
    return fencing.failed_action(_node2(drill), drill.site.name + "-site_start_0")


def serves(drill: Drill) -> str:
    """Words once node2 serves."""
    return "jobsiteA answers on node2" if drill.serves("node2") else ""


def double_mount(drill: Drill) -> str:
    """Words once the observer has seen it."""
    return "the observer sees a double mount" if drill.observer.counts()[DOUBLE_MOUNT] else ""


def fence_again(drill: Drill) -> None:
    """After so many failures in a row Pacemaker tries no more until something else happens, at the latest in cluster-recheck-interval
    (15 minutes), and where the device has lied it sees no reason to: the operator asks for it. `crm resource cleanup` does not (2.1.5)."""
    _node2(drill).run("stonith_admin", "--reboot", "node1")


def fence_and_forget(drill: Drill) -> None:
    """The operator makes sure that node1 is off before anything else; then the refused start is forgotten, and tried again."""
    fence_again(drill)
    drill.cluster.crm("resource", "cleanup", drill.site.name)


# -- the rows -----------------------------------------------------------------------------------------------------------------------

def _no_duel(*more: str) -> tuple[tuple[str, str], ...]:
    """node1 lives, cut off, and would shoot as well: not in this row. And the survivor does not give up."""
    return ("pcmk_delay_base=2s", "pcmk_delay_base=50s"), ("stonith-enabled=true", " ".join(("stonith-enabled=true stonith-max-attempts=100", *more)))


THREE, FIVE, ALL = (functools.partial(fencing_failed, times=times) for times in (3, 5, fencing.MOST_ATTEMPTS))
FAILED = "reboot of node1 failed"
CANNOT_SWITCH, TOO_LATE = (FAILED, "fence_lab: reboot node1: ERROR the relay does not switch"), (FAILED, "did not complete within")
NO_ANSWER = (FAILED, "fence_lab: reboot node1: connection closed without an answer")
IN_USE = "/dev/sdb1 is in use on node %s (ext4 mmp): make sure that node %s is off" % (os.uname().nodename, os.uname().nodename)  # all share a kernel
MOUNT_REFUSED = {CABLE_CUT: See(REFUSED, start_failed, (IN_USE,), remedy=fence_and_forget)}
DOUBLE_WRITERS = frozenset((DOUBLE_MOUNT, DOUBLE_SITE))  # the address is on both nodes all the same: no mmp keeps it from that

FAULTS = [
    Fault("fence device dead until the operator has mended it", is_(DEAD), {POWER_CUT: See(REFUSED, ALL, NO_ANSWER, remedy=fence_again)}),
    Fault("fence device dead until it answers again", is_(DEAD), {CABLE_CUT: See(REFUSED, FIVE, NO_ANSWER)}, _no_duel()),
    Fault("fence device cannot switch", is_(BROKEN), {CABLE_CUT: See(REFUSED, THREE, CANNOT_SWITCH)}, _no_duel(), quick=False),
    Fault("fence device hangs", is_(HANGS), {CABLE_CUT: See(REFUSED, THREE, TOO_LATE)}, _no_duel("stonith-timeout=4s"), quick=False),
    Fault("fence device slow", is_(SLOW), {CABLE_CUT: See(TAKEN_OVER, serves)}, _no_duel(), quick=False),
    Fault("fence device slower than stonith-timeout", is_(SLOW, slow_seconds=8), {CABLE_CUT: See(REFUSED, THREE, TOO_LATE)},
          _no_duel("stonith-timeout=4s"), quick=False, once=False),
    Fault("fence device lies, ext4 mmp", is_(LIES), MOUNT_REFUSED, prepared=mmp, never=DOUBLE_WRITERS, quick=False),
    Fault("fence device lies, ext4 mmp, run_fsck=no", is_(LIES), MOUNT_REFUSED, (("fstype=ext4", "fstype=ext4 run_fsck=no"),), mmp, DOUBLE_WRITERS),
    Fault("fence device lies, no mmp: the disk is mounted twice", is_(LIES), {CABLE_CUT: See(TAKEN_OVER, double_mount)}, never=frozenset(),
          quick=False, recovers=False),
]
