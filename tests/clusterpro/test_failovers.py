"""Our scripts under the SIMULATOR: rendered, registered, pushed, and run on two nodes while a client submits jobs and an observer watches."""
from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import time
from collections.abc import Iterator

import pytest

from cluster.drill import Drill, daemons
from cluster.nodes import SITE_A
from cluster.observer import ROLES
from cluster.untouched import Untouched
from clusterpro import registration
from clusterpro.group import ONLINE
from clusterpro.product import LOG
from clusterpro.registration import CLPCFADM, CLPCFSET, monitor_of
from clusterpro.simulator import Simulator
from lab import hung
from lab.site import wait_until

GROUP, MONITOR = SITE_A.name, monitor_of(SITE_A)
FAULTS = "/usr/spool/nqs/simulator.faults"
LONGEST_MESSAGE = 255  # bytes; log_limit


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    """The module's nodes."""
    made = Simulator()
    made.up()
    yield made
    made.down()


@contextlib.contextmanager
def registered(simulator: Simulator, lines: dict[str, str], start: bool = True, **values: object) -> Iterator[Drill]:
    """The site under the SIMULATOR, watched and used, mended before. Afterwards: nothing was twice or lost, all is clean, all messages were taken."""
    simulator.rejoin()
    for name in simulator.groups:
        assert simulator.stop_group(name)
    for node in simulator.nodes:
        node.path(FAULTS).unlink(missing_ok=True)
    registration.register(simulator, SITE_A, lines, **values)
    with Drill(simulator, jobs_per_second=6) as drill:
        if start:
            assert simulator.start_group(GROUP)
            drill.wait_serving("node1")
        yield drill
        drill.rejoined()
        verdict = drill.verdict()
    assert verdict.good and len(verdict.accounts[GROUP].done) > 5, verdict.words()
    for node in simulator.nodes:
        assert not node.path(LOG + "/clplogcmd.refused").exists(), node.sh("cat %s/clplogcmd.refused" % LOG)
        assert all(len(message.encode()) <= LONGEST_MESSAGE for message in messages(drill, node.name))
        assert not any(daemons(node, SITE_A).values()) and not node.path("/run/resource-agents/cjc-%s.json" % GROUP).exists()


def messages(drill: Drill, node: str, level: str = "") -> list[str]:
    """What our scripts said on a node by clplogcmd."""
    lines = drill.cluster.node(node).sh("cat %s/clplogcmd.log" % LOG, check=False).splitlines()
    return [message for _, said, message in (line.split(" ", 2) for line in lines) if said == (level or said)]


def break_start(drill: Drill, node: str, fault: str = "start = fail:20") -> None:
    """Have cjcpw fail there, from now on."""
    drill.cluster.node(node).path(FAULTS).write_text(fault + "\n")


def mend(drill: Drill, node: str) -> None:
    """Have cjcpw work there again."""
    drill.cluster.node(node).path(FAULTS).unlink()


def kill(drill: Drill, *roles: str) -> dict[str, list[int]]:
    """SIGKILL daemons of the site; return those that there were."""
    old = daemons(drill.cluster.node(drill.where()), SITE_A)
    for role in roles:
        for pid in old[role]:
            os.kill(pid, signal.SIGKILL)
    return old


def last_start(simulator: Simulator) -> tuple[str, str, object]:
    """(node, CLP_EVENT, exit code) of the newest run of start.sh, once that has ended: the site answers before."""
    simulator.idle()
    run = simulator.scripts_run("start.sh")[-1]
    return run.node, run.environment["CLP_EVENT"], run.code


# -- the twenty ---------------------------------------------------------------------------------------------------------------------------

def moved(drill: Drill, simulator: Simulator, here: str, there: str, roles: tuple[str, ...]) -> None:
    """By hand."""
    assert drill.move(there).after == there and last_start(simulator) == (there, "START", 0)


def not_started_there(drill: Drill, simulator: Simulator, here: str, there: str, roles: tuple[str, ...]) -> None:
    """Moved by hand to a node where cjcpw does not start: start.sh says so, and the group fails over to where it was."""
    since = time.monotonic()
    break_start(drill, there)
    assert not simulator.move_group(GROUP, there) and simulator.status()[GROUP] == (ONLINE, here)
    assert [(run.node, run.code) for run in simulator.scripts_run("start.sh", since)] == [(there, 1), (here, 0)]
    assert "cjcpw start exited 20" in messages(drill, there, "ERR")[-1]
    drill.wait_serving(here)
    mend(drill, there)


def daemons_died(drill: Drill, simulator: Simulator, here: str, there: str, roles: tuple[str, ...]) -> None:
    """Daemons die, and die again after the restart that the monitor asks for first: then the group fails over."""
    old = kill(drill, *roles)
    drill.wait_new_daemons(here, old)
    assert last_start(simulator) == (here, "START", 0) and simulator.monitors[MONITOR].restarts == 1
    kill(drill, *roles)
    drill.wait_serving(there)
    assert last_start(simulator) == (there, "FAILOVER", 0)
    drill.clean_up()


def server_lost(drill: Drill, simulator: Simulator, here: str, there: str, roles: tuple[str, ...]) -> None:
    """Its node loses its power; when that is back, it gets nothing."""
    assert drill.power_cut(here).after == there and last_start(simulator) == (there, "FAILOVER", 0)
    drill.rejoined()
    assert drill.where() == there


def test_twenty_group_failovers_under_a_stream_of_jobs(simulator: Simulator) -> None:
    failovers = 0
    with registered(simulator, registration.settings(SITE_A)) as drill:
        for roles in (("net",), ("sched",), ("log",), ROLES, ROLES):
            for event in (moved, not_started_there, daemons_died, server_lost):
                here = drill.where()
                there = drill.cluster.others(here)[0].name
                event(drill, simulator, here, there, roles)
                failovers += 1
        assert len(drill.client.acknowledged(GROUP)) > 100
    assert failovers == 20
    assert {(run.code, run.killed) for run in simulator.runs if run.name == "stop.sh"} == {(0, False)}


# -- one by one ---------------------------------------------------------------------------------------------------------------------------

def test_both_tools_make_the_same_configuration_of_what_render_prints(simulator: Simulator) -> None:
    simulator.rejoin()
    registration.write_conf(simulator, SITE_A, dict(registration.settings(SITE_A), start_timeout="61.5s", stop_timeout="2min"))
    texts = {}
    for tool in (CLPCFSET, CLPCFADM):
        folder = "/root/" + tool
        registration.execute(simulator, registration.cluster_commands([SITE_A]), folder)
        registration.execute(simulator, registration.render(simulator, SITE_A, folder)[tool], folder)
        texts[tool] = simulator.nodes[0].path(folder + "/clp.conf").read_text()
    assert texts[CLPCFSET] == texts[CLPCFADM]
    assert "<start>62</start>" in texts[CLPCFSET] and "<stop>120</stop>" in texts[CLPCFSET] and "<timeout>242</timeout>" in texts[CLPCFSET]


def test_all_daemons_that_die_are_seen_where_the_site_was_started_and_a_standby_is_good(simulator: Simulator) -> None:
    with registered(simulator, registration.settings(SITE_A), polling__timing=0, emergency__threshold__restart=0) as drill:
        since = time.monotonic()

        def looked(node: str) -> list[object]:
            return [run.code for run in simulator.scripts_run("genw.sh", since, node)]
        wait_until(lambda: looked("node1") and len(looked("node2")) > 1)
        assert {*looked("node1"), *looked("node2")} == {0}
        kill(drill, *ROLES)
        drill.wait_serving("node2")
        assert looked("node1").count(1) == 2, "asked once more, then taken for what it is: no standby"
        drill.clean_up()
        drill.power_cut("node2")
        drill.wait_serving("node1")
        drill.rejoined()
        since = time.monotonic()
        wait_until(lambda: len(looked("node2")) > 1)
        assert set(looked("node2")) == {0}, "after its reboot it is a standby"


def test_a_slow_start_is_not_judged_while_it_is_at_work(simulator: Simulator) -> None:
    with registered(simulator, registration.settings(SITE_A), polling__timing=0, polling__reconfirmation=0) as drill:
        break_start(drill, "node2", "start = slow:3")
        since = time.monotonic()
        drill.move("node2")
        looks = [run for run in simulator.scripts_run("genw.sh", since, "node2") if run.began < simulator.scripts_run("start.sh")[-1].began + 3]
        assert len(looks) >= 2 and {run.code for run in looks} == {0}
        mend(drill, "node2")


def test_a_start_that_hangs_reports_before_it_would_be_killed(simulator: Simulator) -> None:
    with registered(simulator, dict(registration.settings(SITE_A), start_timeout="6s"), start=False) as drill:
        break_start(drill, "node1", "start = hang")
        assert simulator.start_group(GROUP) and simulator.status()[GROUP] == (ONLINE, "node2")
        hanged, other = simulator.scripts_run("start.sh")[-2:]
        assert (hanged.node, hanged.code, hanged.killed) == ("node1", 1, False) and hanged.seconds > 3, hanged
        assert (other.node, other.code, other.environment["CLP_EVENT"]) == ("node2", 0, "FAILOVER")
        assert "start" in messages(drill, "node1", "ERR")[-1]
        drill.wait_serving("node2")


def test_a_stop_that_leaves_a_process_says_so_and_the_group_waits_until_the_node_is_off(simulator: Simulator) -> None:
    with registered(simulator, dict(registration.settings(SITE_A), stop_timeout="8s")) as drill:
        node, since = simulator.node("node1"), time.monotonic()
        node.path("/root/hung.py").write_text(pathlib.Path(hung.__file__).read_text() + "\nos.mkdir('/root/hung'), HungFileSystem(pathlib.Path('/root/hung'))\n"
                                              "print('hangs', flush=True)\nthreading.Event().wait()\n")
        node.sh("setsid python3 /root/hung.py > /root/said 2>&1 < /dev/null &")
        wait_until(lambda: node.path("/root/said").read_text() == "hangs\n")
        node.sh("cp /usr/bin/cat /usr/lib/nqs/helper; NQS_SITE=%s setsid /usr/lib/nqs/helper /root/hung/file > /dev/null 2>&1 < /dev/null &" % GROUP)
        wait_until(lambda: node.pids("helper"))
        assert simulator.move_group(GROUP, "node2")
        stop = simulator.scripts_run("stop.sh", since)[0]
        assert (stop.node, stop.code, stop.killed) == ("node1", 1, False), stop
        seen = [(event.node, event.kind) for event in list(drill.observer.events) if event.t >= since and event.kind in ("down", "mounted")]
        assert seen == [("node1", "down"), ("node2", "mounted")]
        drill.wait_serving("node2")
        drill.rejoined()
        assert "helper" in messages(drill, "node1", "ERR")[-1]
        node.sh("rm /usr/lib/nqs/helper")


def test_with_device_set_we_mount_and_the_group_has_no_disk_resource(simulator: Simulator) -> None:
    with registered(simulator, registration.settings(SITE_A, device=True)) as drill:
        assert not any(name.startswith("disk") for name in simulator.groups[GROUP].names())
        assert drill.move("node2").after == "node2"
        assert drill.kill_daemon().after == "node2"
        drill.clean_up()
        assert drill.power_cut("node2").after == "node1"
        drill.rejoined()


def test_while_the_monitor_is_suspended_the_operator_alone_acts(simulator: Simulator) -> None:
    with registered(simulator, registration.settings(SITE_A)) as drill:
        node, since = simulator.node("node1"), time.monotonic()
        simulator.suspend_monitor(MONITOR)
        old = kill(drill, "net")
        wait_until(lambda: not daemons(node, SITE_A)["net"])
        end = time.monotonic() + 3  # what must not happen cannot be waited for; the monitor would have seen it twice
        while time.monotonic() < end:
            assert not daemons(node, SITE_A)["net"] and daemons(node, SITE_A)["sched"] == old["sched"]
            time.sleep(0.05)
        assert simulator.scripts_run("start.sh", since) == simulator.scripts_run("stop.sh", since) == []
        for verb in ("stop", "start"):
            node.sh("NQS_SITE=%s /usr/lib/nqs/cjcpw %s" % (GROUP, verb))
        drill.wait_serving("node1")
        with Untouched(drill):
            simulator.resume_monitor(MONITOR)
            resumed = time.monotonic()
            wait_until(lambda: len(simulator.scripts_run("genw.sh", resumed)) >= 3)
        assert {run.code for run in simulator.scripts_run("genw.sh", resumed)} == {0} and simulator.scripts_run("start.sh", since) == []
