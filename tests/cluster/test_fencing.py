"""When a node is lost nothing starts elsewhere until it is seen to be off; and what cannot be stopped is fenced, but nothing else is."""
from __future__ import annotations

import signal
import subprocess
import time
import xml.etree.ElementTree as ElementTree

import pytest

from cluster import configuration, network
from cluster.drill import Drill
from cluster.node import Node

ONE_SITE = configuration.for_the_lab((configuration.FOLDER / "one-site.crm").read_text(), quick=True)
LICENCE = "/usr/lib/nqs/license/jobcenter_key.dat"
MOST_ATTEMPTS = 10  # Pacemaker's default of stonith-max-attempts


def at_node1(drill: Drill) -> tuple[Node, Node]:
    """Have the site on node1; return the two nodes."""
    if drill.where() != "node1":
        drill.move("node1")
    return drill.cluster.node("node1"), drill.cluster.node("node2")


def load(drill: Drill, *changes: tuple[str, str]) -> None:
    """Load the configuration once more with these texts replaced."""
    text = ONE_SITE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    drill.cluster.load(text)
    drill.cluster.idle()


def started(drill: Drill, node: Node, since: float) -> list[str]:
    """What of the site has come up on that node since then, and what is there now."""
    seen = [event.kind for event in list(drill.observer.events)
            if event.node == node.name and event.t >= since and event.kind in ("mounted", "vip here", "site started")]
    state = drill.observer.state()[node.name]
    return seen + sorted(state.disks) + sorted(state.vips) + sorted(state.sites)


def failed_fencings(asked: Node, target: str) -> int:
    """How often `target` could not be fenced, as crm_mon tells it on the node asked."""
    history = asked.run("crm_mon", "-1", "--fence-history=3", "--output-as=xml").stdout
    return sum(event.get("target") == target and event.get("status") == "failed" for event in ElementTree.fromstring(history).iter("fence_event"))


def failed_action(asked: Node, operation: str) -> str:
    """The exit reason of a failed operation ("jobsiteA-site_start_0") as the operator reads it in crm_mon, "" when there is none."""
    told = ElementTree.fromstring(asked.run("crm_mon", "-1", "--output-as=xml").stdout)
    return next((failure.get("exitreason", "") for failure in told.iter("failure") if failure.get("op_key") == operation), "")


def wait_for_failed_fencings(drill: Drill, survivor: Node, lost: str, attempts: int, since: float) -> None:
    """Watch the survivor until it has tried in vain to fence the lost node so often: nothing of the site may start there meanwhile."""
    before = failed_fencings(survivor, lost)
    drill.cluster.wait(lambda: started(drill, survivor, since) or failed_fencings(survivor, lost) >= before + attempts,
                       "%d attempts to fence %s have failed" % (attempts, lost))
    assert lost in drill.cluster.status(survivor).unclean
    assert not started(drill, survivor, since), "the other node was not seen to be off"


def test_power_cut_and_dead_fence_device_start_nothing_until_the_operator_has_mended_it(drill: Drill) -> None:
    node1, node2 = at_node1(drill)
    drill.cluster.power.dead = True
    since = time.monotonic()
    node1.power_cut()
    wait_for_failed_fencings(drill, node2, "node1", MOST_ATTEMPTS, since)
    drill.cluster.power.dead = False
    # After so many failures in a row Pacemaker tries no more until something else happens, at the latest in cluster-recheck-interval
    # (15 minutes): the operator who has mended the device says so.
    drill.cluster.crm("resource", "cleanup")
    drill.wait_serving("node2")
    assert drill.cluster.power.fenced_since(since) == ["node1"]
    drill.rejoined()
    assert drill.where() == "node2"


def test_cable_cut_and_dead_fence_device_start_nothing_until_the_device_answers_again(drill: Drill) -> None:
    node1, node2 = at_node1(drill)
    # node1 lives and would shoot as well: not in this test. And the survivor does not give up.
    load(drill, ("pcmk_delay_base=2s", "pcmk_delay_base=50s"), ("stonith-enabled=true", "stonith-enabled=true stonith-max-attempts=100"))
    drill.cluster.power.dead = True
    since = time.monotonic()
    network.cut("node1")
    wait_for_failed_fencings(drill, node2, "node1", 8, since)
    assert drill.where() == "node1", "the node that is cut off works on: all the more nothing may start elsewhere"
    drill.cluster.power.dead = False
    drill.wait_serving("node2")
    assert drill.cluster.power.fenced_since(since) == ["node1"]
    assert drill.wait_event("mounted", since, "node2").t > drill.wait_event("down", since, "node1").t
    drill.rejoined()
    assert drill.where() == "node2"


@pytest.mark.parametrize("shell, how", [("exec sleep 1000", signal.SIGTERM), ("trap '' TERM; while :; do sleep 1; done", signal.SIGKILL)],
                         ids=["which_ends_when_told", "which_has_to_be_killed"])
def test_operators_process_on_the_disk_does_not_stop_a_move(drill: Drill, shell: str, how: signal.Signals) -> None:
    node1, _ = at_node1(drill)
    since = time.monotonic()
    with subprocess.Popen([*node1.enter(), "sh", "-c", "cd /share/job_site; echo there; " + shell], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout and holder.stdout.readline() == "there\n"
        assert drill.move("node2").before == "node1"
        assert holder.wait(30) == -how
    assert not drill.cluster.power.fenced_since(since)


def test_failed_stop_fences_the_node_before_the_site_starts_elsewhere(drill: Drill) -> None:
    node1, _ = at_node1(drill)
    load(drill, ("op stop timeout=180s", "op stop timeout=12s"))
    since = time.monotonic()
    # a container, a backup or systemd's PrivateMounts=: umount succeeds, and the disk is in use all the same
    command = [*node1.enter(), "unshare", "--mount", "--propagation", "private", "sh", "-c", "cd /; echo there; exec sleep 1000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout and holder.stdout.readline() == "there\n"
        drill.move("node2")
        assert holder.wait(30) == -signal.SIGKILL
    assert drill.cluster.power.fenced_since(since) == ["node1"]
    assert drill.wait_event("mounted", since, "node2").t > drill.wait_event("down", since, "node1").t
    drill.rejoined()
    told = node1.sh("grep 'Result of stop operation for jobsiteA-site on node1: error' /var/log/pacemaker/pacemaker.log | tail -n 1")
    assert "/dev/sdb1 is in use on this node though it is not mounted in our mount namespace (by sleep" in told
    assert drill.where() == "node2"


def test_both_nodes_lose_their_power_one_after_the_other(drill: Drill) -> None:
    at_node1(drill)
    since = time.monotonic()
    for before, after in (("node1", "node2"), ("node2", "node1")):
        assert drill.power_cut(before).after == after
        drill.rejoined()
    assert drill.cluster.power.fenced_since(since) == ["node1", "node2"]
    assert drill.where() == "node1"


def test_failed_start_sends_the_site_back_at_once(drill: Drill) -> None:
    _, node2 = at_node1(drill)
    since = time.monotonic()
    licence = take_away_licence(node2)
    drill.cluster.crm("resource", "move", "jobsiteA", "node2")
    drill.wait_event("site gone", since, "node1")
    drill.wait_serving("node1")
    drill.cluster.idle()
    assert "licence" in failed_action(node2, "jobsiteA-site_start_0")
    assert not [event for event in drill.observer.events if event.t >= since and event.node == "node2" and event.kind == "mounted"]
    assert not drill.cluster.power.fenced_since(since)
    node2.path(LICENCE).write_text(licence)


def test_site_that_can_start_nowhere_says_why_and_starts_once_that_is_mended(drill: Drill) -> None:
    node1, node2 = at_node1(drill)
    since = time.monotonic()
    licence = take_away_licence(node2)
    drill.cluster.crm("node", "standby", "node1")
    drill.wait_event("site gone", since, "node1")
    drill.cluster.idle()
    assert drill.where() == ""
    assert "licence" in failed_action(node2, "jobsiteA-site_start_0")
    node2.path(LICENCE).write_text(licence)
    drill.cluster.crm("resource", "cleanup", "jobsiteA")
    drill.wait_serving("node2")
    assert not drill.cluster.power.fenced_since(since)


def take_away_licence(node: Node) -> str:
    """Remove the licence file of JobCenter; return what was in it."""
    text = node.path(LICENCE).read_text()
    node.path(LICENCE).unlink()
    return text
