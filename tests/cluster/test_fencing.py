"""When a node is lost nothing starts elsewhere until it is seen to be off; and what cannot be stopped is fenced, but nothing else is.

What becomes of fence devices that fail, hang or lie is in tests/faults/cluster.py.
"""
from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator

from cluster.drill import Drill
from cluster.fencing import at_node1, failed_action, load, started
from cluster.node import Node

LICENCE = "/usr/lib/nqs/license/jobcenter_key.dat"


@contextlib.contextmanager
def holding(node: Node, script: str, *shell: str) -> Iterator[subprocess.Popen[str]]:
    """Have a shell on the node that stays there and has said so. What is yielded ends as it did; it is ended here at the latest."""
    command = [*node.enter(), *(shell or ("sh", "-c")), script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True) as holder:
        try:
            assert holder.stdout and "there" in holder.stdout.readline()
            yield holder
        finally:
            if holder.poll() is None:
                os.killpg(holder.pid, signal.SIGKILL)


def test_a_fenced_node_that_is_still_cut_off_comes_back_and_harms_nobody(drill: Drill) -> None:
    node1, _ = at_node1(drill)
    since = time.monotonic()
    node1.cut_cable()
    drill.wait_serving("node2")
    drill.wait_event("up", drill.wait_event("down", since, "node1").t, "node1")
    drill.cluster.wait(lambda: "partition WITHOUT quorum" in node1.sh("crm_mon -1", check=False), "node1 has booted and sees that it is alone")
    assert not started(drill, node1, drill.wait_event("up", since, "node1").t)
    node1.mend_cable()
    drill.rejoined()
    assert drill.cluster.power.fenced_since(since) == ["node1"], "nobody was shot twice, and node2 not at all"
    assert drill.where() == "node2"


def test_a_node_that_resets_itself_is_fenced_all_the_same(drill: Drill) -> None:
    node1, _ = at_node1(drill)
    since = time.monotonic()
    assert node1.init_pid
    os.kill(node1.init_pid, signal.SIGKILL)  # as reboot -f does: nobody told the power controller
    drill.wait_serving("node2")
    assert drill.cluster.power.fenced_since(since) == ["node1"]
    drill.rejoined()


def test_operators_processes_on_the_disk_do_not_stop_a_move(drill: Drill) -> None:
    node1, _ = at_node1(drill)
    since = time.monotonic()
    interactive = "cd /share/job_site; exec env PS1='there\\n' bash --norc -i"  # on a terminal; bash then ignores TERM
    with holding(node1, "cd /share/job_site; echo there; exec sleep 1000") as sleep, holding(node1, interactive, "script", "-qec") as bash:
        assert drill.move("node2").before == "node1"
        assert sleep.wait(30) == -signal.SIGTERM
        assert bash.wait(30) == 128 + signal.SIGKILL
    assert not drill.cluster.power.fenced_since(since)


def test_failed_stop_fences_the_node_before_the_site_starts_elsewhere(drill: Drill) -> None:
    node1, _ = at_node1(drill)
    load(drill, ("op stop timeout=180s", "op stop timeout=10s"))
    since = time.monotonic()
    # a container, a backup or systemd's PrivateMounts=: umount succeeds, and the disk is in use all the same
    with holding(node1, "cd /; echo there; exec sleep 1000", "unshare", "--mount", "--propagation", "private", "sh", "-c") as holder:
        drill.move("node2")
        assert holder.wait(30) == -signal.SIGKILL
    assert drill.cluster.power.fenced_since(since) == ["node1"]
    assert drill.wait_event("mounted", since, "node2").t > drill.wait_event("down", since, "node1").t
    drill.rejoined()
    told = node1.sh("grep 'Result of stop operation for jobsiteA-site on node1: error' /var/log/pacemaker/pacemaker.log | tail -n 1")
    assert "/dev/sdb1 is in use on this node, outside our mount table (by sleep" in told
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
    with without_licence(node2):
        node2.run("crm_resource", "--refresh", "--node", "node2")
        drill.cluster.idle()
        assert failed_action(node2, "jobsiteA-site_monitor_0") == "", "what is missing makes a start fail, not a look at what runs there"
        drill.cluster.crm("resource", "move", "jobsiteA", "node2")
        drill.cluster.wait(lambda: failed_action(node2, "jobsiteA-site_start_0"), "the start on node2 has failed")
        drill.wait_serving("node1")
        drill.cluster.idle()
        assert "licence" in failed_action(node2, "jobsiteA-site_start_0")
        assert "value=INFINITY" in node2.run("crm_failcount", "--query", "--resource", "jobsiteA-site", "--node", "node2").stdout, "not tried twice"
    assert not [event for event in list(drill.observer.events) if event.node == "node2" and event.kind == "mounted"]
    assert not drill.cluster.power.fenced_since(drill.client.began)


def test_site_that_can_start_nowhere_says_why_and_starts_once_that_is_mended(drill: Drill) -> None:
    _, node2 = at_node1(drill)
    since = time.monotonic()
    with without_licence(node2):
        drill.cluster.crm("node", "standby", "node1")
        drill.wait_event("site gone", since, "node1")
        drill.cluster.idle()
        assert drill.where() == ""
        assert "licence" in failed_action(node2, "jobsiteA-site_start_0")
    drill.cluster.crm("resource", "cleanup", "jobsiteA")
    drill.wait_serving("node2")
    assert not drill.cluster.power.fenced_since(since)


@contextlib.contextmanager
def without_licence(node: Node) -> Iterator[None]:
    """JobCenter's licence file is missing on the node."""
    text = node.path(LICENCE).read_text()
    node.path(LICENCE).unlink()
    try:
        yield
    finally:
        node.path(LICENCE).write_text(text)
