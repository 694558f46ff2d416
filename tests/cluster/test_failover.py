"""The site moves, on purpose and by accident: always to one node, never to two, and no acknowledged job is lost."""
from __future__ import annotations

import os
import pathlib
import re
import signal
import time

from cluster.drill import Drill
from cluster.untouched import UNTOUCHED_SECONDS


def at(drill: Drill, node: str) -> str:
    """Have the site on that node; return the other node's name."""
    drill.bring(node)
    return drill.cluster.others(node)[0].name


def stop_without_a_lock(drill: Drill, pid: int) -> None:
    """SIGSTOP a process at a moment when it holds no lock of the site's database: nobody could write any more."""
    def stopped() -> bool:
        os.kill(pid, signal.SIGSTOP)
        drill.cluster.wait(lambda: pathlib.Path("/proc/%d/stat" % pid).read_text().rsplit(")", 1)[1].split()[0] == "T", "it is stopped", every=0.001)
        if re.search(r"POSIX .* %d " % pid, pathlib.Path("/proc/locks").read_text()):
            os.kill(pid, signal.SIGCONT)
            return False
        return True
    drill.cluster.wait(stopped, "it is stopped without a lock", every=0.003)


def test_moved_by_hand(drill: Drill) -> None:
    there = at(drill, "node1")
    outage = drill.move(there)
    assert (outage.before, outage.after) == ("node1", there)
    assert drill.client.who_answers(drill.site.name) == there
    assert 0.05 < outage.seconds < 10 + outage.stall


def test_standby_and_online_again(drill: Drill) -> None:
    there = at(drill, "node1")
    assert drill.standby("node1").after == there
    drill.cluster.crm("node", "online", "node1")
    drill.rejoined()
    assert drill.where() == there, "no failback in the middle of the night batch"


def test_killed_daemon_is_seen_and_the_site_recovers_in_place(drill: Drill) -> None:
    before = drill.where()
    for role in ("net", "sched", "log"):
        assert drill.kill_daemon(role).after == before
        drill.clean_up()
    assert not drill.cluster.power.fenced_since(drill.client.began)


def test_power_cut(drill: Drill) -> None:
    there = at(drill, "node1")
    since = time.monotonic()
    outage = drill.power_cut()
    assert outage.after == there and 1 < outage.seconds < 20 + outage.stall
    drill.rejoined()
    assert drill.cluster.power.fenced_since(since) == ["node1"], "the survivor made sure before it mounted the disk"
    assert drill.where() == there, "the node that came back gets nothing"


def test_an_acknowledgement_survives_the_power_cut_that_follows_it_at_once(drill: Drill) -> None:
    there = at(drill, "node1")
    for pid in drill.cluster.node("node1").pids("jcsim-sched"):
        stop_without_a_lock(drill, pid)  # nobody writes after the acknowledgement, or that would bring it to the disk
    known = drill.client.acknowledged(drill.site.name)
    drill.cluster.wait(lambda: len(drill.client.acknowledged(drill.site.name) - known) > 2, "jobs are acknowledged", every=0.001)
    assert drill.power_cut().after == there
    drill.rejoined()


def test_power_cut_of_the_standby_does_not_touch_the_site(drill: Drill) -> None:
    there = at(drill, "node1")
    drill.power_cut(there)
    drill.rejoined()
    assert drill.where() == "node1"
    assert drill.client.outage(drill.site.name, drill.client.began + 1) < UNTOUCHED_SECONDS


def test_cable_cut(drill: Drill) -> None:
    at(drill, "node1")  # whose fencing is not delayed: it loses the race
    since = time.monotonic()
    assert drill.cut_cable().after == "node2"
    drill.rejoined()
    assert drill.cluster.power.fenced_since(since) == ["node1"]


def test_corosync_killed(drill: Drill) -> None:
    there = at(drill, "node1")
    since = time.monotonic()
    assert drill.kill_corosync().after == there
    drill.rejoined()
    assert drill.cluster.power.fenced_since(since) == ["node1"]
