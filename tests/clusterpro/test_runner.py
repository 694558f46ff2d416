"""The SIMULATOR runs scripts as CLUSTERPRO is known to: environment, timeouts, retry, failover, deactivation, monitors. Scripts stand in for ours."""
from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from cluster.node import CommandFailed
from cluster.nodes import SITE_A
from cluster.observer import Observer
from clusterpro import registration
from clusterpro.group import FAILED, ONLINE, STOPPED, STUCK
from clusterpro.registration import monitor_of, resource_of
from clusterpro.simulator import Simulator
from lab.site import wait_until

GROUP, EXEC, MONITOR = SITE_A.name, resource_of(SITE_A), monitor_of(SITE_A)
# each script says what it sees, then does what the node's /etc/on-SCRIPT says
SCRIPT = "echo \"$(env | grep -v -e ^PWD= -e ^SHLVL= -e ^_= | sort | tr '\\n' '|')\" >> /root/seen-%(name)s; [ ! -e /etc/on-%(name)s ] || . /etc/on-%(name)s"
SCRIPTS = {name: SCRIPT % {"name": name} for name in ("start.sh", "stop.sh", "genw.sh")}


class Bench:
    """The SIMULATOR with a group of disk, fip and exec, watched."""

    def __init__(self) -> None:
        self.simulator = Simulator()
        self.node1, self.node2 = self.simulator.nodes
        self.simulator.up()
        self.observer = Observer(self.simulator.nodes, {SITE_A.name: SITE_A.vip}).start()

    def begin(self, *more: str, timeouts: int = 30) -> None:
        """Everything mended, the group registered with these further clpcfset lines, and not started."""
        self.simulator.rejoin()
        for node in self.simulator.nodes:
            node.sh("rm -f /etc/on-*")
        assert all(self.simulator.stop_group(name) for name in self.simulator.groups)
        self.simulator.rejoin()  # a stop that was too slow has rebooted a node
        for node in self.simulator.nodes:
            node.sh("rm -f /root/seen-*")
        registration.register_stand_in(self.simulator, SITE_A, SCRIPTS, ["clpcfset add " + line for line in more], timeouts)
        self.began = time.monotonic()

    def on(self, name: str, what: str, *nodes: str) -> None:
        """Have a script do something, on these nodes."""
        for node in nodes or ("node1", "node2"):
            self.simulator.node(node).path("/etc/on-" + name).write_text(what + "\n")

    def seen(self, name: str, node: str = "node1") -> list[dict[str, str]]:
        """The environments of a script's runs on a node."""
        text = self.simulator.node(node).sh("cat /root/seen-%s" % name, check=False)
        return [dict(pair.split("=", 1) for pair in filter(None, line.split("|"))) for line in text.splitlines()]

    def state(self) -> tuple[str, str]:
        """Of the group: its state and where."""
        return self.simulator.status()[GROUP]

    def codes(self, name: str) -> list[tuple[str, object]]:
        """(node, exit code) of all runs of a script in this test; "killed" instead of the code."""
        return [(run.node, "killed" if run.killed else run.code) for run in self.simulator.scripts_run(name, self.began)]

    def here(self, node: str) -> tuple[bool, bool]:
        """Whether the disk is mounted on a node, and whether the address is there."""
        state = self.observer.state()[node]
        return SITE_A.disk in state.disks, SITE_A.name in state.vips

    def order(self, *kinds: str) -> list[tuple[str, str]]:
        """(node, kind) of what the observer saw of these kinds in this test."""
        return [(event.node, event.kind) for event in list(self.observer.events) if event.t >= self.began and event.kind in kinds]


@pytest.fixture(scope="module")
def shared() -> Iterator[Bench]:
    """The module's nodes."""
    made = Bench()
    yield made
    made.observer.stop()
    made.simulator.down()


@pytest.fixture
def bench(shared: Bench) -> Iterator[Bench]:
    """Ready for begin(). Afterwards: nothing was ever on two nodes, and nothing broke in the background."""
    yield shared
    shared.simulator.idle()
    assert shared.observer.violations == []


def expected(event: str, factor: str, server: str, previous: str) -> dict[str, str]:
    """All variables that start.sh and stop.sh see."""
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "CLP_EVENT": event, "CLP_FACTOR": factor, "CLP_DISK": "SUCCESS", "CLP_SERVER": server,
            "CLP_SERVER_PREV": previous, "CLP_GROUPNAME": GROUP, "CLP_RESOURCENAME": EXEC, "CLP_PATH": "/opt/nec/clusterpro",
            "CLP_SCRIPT_PATH": "/opt/nec/clusterpro/scripts/%s/%s" % (GROUP, EXEC)}


# -- what scripts see, and in which order -------------------------------------------------------------------------------------------------

def test_the_scripts_see_the_known_variables_and_no_others(bench: Bench) -> None:
    bench.begin()
    assert bench.simulator.start_group(GROUP) and bench.simulator.move_group(GROUP, "node2")
    bench.node2.power_cut()
    bench.simulator.idle()
    assert bench.simulator.stop_group(GROUP)
    bench.node2.power_on()
    bench.simulator.wait_online()
    assert bench.seen("start.sh") == [expected("START", "", "HOME", ""), expected("FAILOVER", "", "HOME", "node2")]
    assert bench.seen("stop.sh") == [expected("START", "GROUPMOVE", "HOME", ""), expected("FAILOVER", "GROUPSTOP", "HOME", "node2")]
    assert bench.seen("start.sh", "node2") == [expected("START", "", "OTHER", "node1")] and bench.seen("stop.sh", "node2") == []


def test_disk_and_address_are_there_before_start_and_until_stop_has_ended(bench: Bench) -> None:
    bench.begin()
    bench.on("start.sh", "grep -q ' /share ' /proc/mounts && ip address show dev eth0 | grep -q 10.0.2.50")
    bench.on("stop.sh", "grep -q ' /share ' /proc/mounts && ip address show dev eth0 | grep -q 10.0.2.50")
    assert bench.simulator.start_group(GROUP) and bench.simulator.move_group(GROUP, "node2") and bench.simulator.stop_group(GROUP)
    wait_until(lambda: bench.here("node1") == bench.here("node2") == (False, False))
    assert bench.codes("start.sh") == [("node1", 0), ("node2", 0)] and bench.codes("stop.sh") == [("node1", 0), ("node2", 0)]


def test_with_sync_0_nobody_waits_for_start(bench: Bench) -> None:
    bench.begin("rscparam exec %s parameters/act/sync 0" % EXEC)
    bench.on("start.sh", "exec sleep 20")
    assert bench.simulator.start_group(GROUP) and time.monotonic() - bench.began < 10
    wait_until(lambda: bench.node1.kill("sleep"))


# -- activation fails ---------------------------------------------------------------------------------------------------------------------

def test_a_start_that_hangs_is_killed_with_its_children_and_the_group_fails_over(bench: Bench) -> None:
    bench.begin(timeouts=2)
    bench.on("start.sh", "sleep 61; exit 0", "node1")
    assert bench.simulator.start_group(GROUP) and bench.state() == (ONLINE, "node2")
    assert bench.codes("start.sh") == [("node1", "killed"), ("node2", 0)] and bench.codes("stop.sh") == [("node1", 0)]
    assert bench.node1.pids("sleep") == []
    assert [environment["CLP_EVENT"] for environment in bench.seen("start.sh", "node2")] == ["FAILOVER"]
    assert [environment["CLP_FACTOR"] for environment in bench.seen("stop.sh")] == ["GROUPFAILOVER"]


def test_a_start_that_fails_is_tried_again_act_retry_times(bench: Bench) -> None:
    bench.begin("rscparam exec %s act/retry 2" % EXEC)
    bench.on("start.sh", "[ $(wc -l < /root/seen-start.sh) = 3 ]", "node1")
    assert bench.simulator.start_group(GROUP) and bench.state() == (ONLINE, "node1")
    assert bench.codes("start.sh") == [("node1", 1), ("node1", 1), ("node1", 0)]


def test_a_start_that_fails_everywhere_ends_after_act_fo_failovers(bench: Bench) -> None:
    bench.begin()
    bench.on("start.sh", "exit 3")
    assert not bench.simulator.start_group(GROUP) and bench.state()[0] == FAILED
    assert bench.codes("start.sh") == [("node1", 3), ("node2", 3)] and bench.codes("stop.sh") == [("node1", 0), ("node2", 0)]
    wait_until(lambda: bench.here("node1") == bench.here("node2") == (False, False))


def test_without_failovers_the_group_stays_down(bench: Bench) -> None:
    bench.begin("rscparam exec %s act/fo 0" % EXEC)
    bench.on("start.sh", "exit 3", "node1")
    assert not bench.simulator.start_group(GROUP) and bench.codes("start.sh") == [("node1", 3)]


# -- deactivation fails -------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("how", ["exit 1", "sleep 61", "kill -9 $$"])
def test_a_stop_that_fails_reboots_the_node_and_only_then_the_group_goes_elsewhere(bench: Bench, how: str) -> None:
    bench.begin(timeouts=2)
    assert bench.simulator.start_group(GROUP)
    bench.on("stop.sh", how)
    assert bench.simulator.move_group(GROUP, "node2")
    assert bench.order("mounted", "down") == [("node1", "mounted"), ("node1", "down"), ("node2", "mounted")]
    bench.simulator.wait_online()
    bench.simulator.idle()
    assert bench.state() == (ONLINE, "node2") and bench.here("node1") == (False, False), "the node that is back gets nothing"
    bench.on("stop.sh", "exit 0")


def test_a_disk_that_stays_busy_reboots_the_node_too(bench: Bench) -> None:
    bench.begin()
    assert bench.simulator.start_group(GROUP)
    bench.node1.sh("cd /share; setsid sleep 60 >/dev/null 2>&1 </dev/null &")
    assert bench.simulator.move_group(GROUP, "node2")
    assert bench.order("mounted", "down") == [("node1", "mounted"), ("node1", "down"), ("node2", "mounted")]


def test_without_a_final_action_a_group_that_was_not_stopped_comes_up_nowhere_until_its_node_is_off(bench: Bench) -> None:
    bench.begin("rscparam exec %s deact/action 1" % EXEC, "rscparam exec %s deact/retry 1" % EXEC)
    assert bench.simulator.start_group(GROUP)
    bench.on("stop.sh", "exit 1", "node1")
    assert not bench.simulator.move_group(GROUP, "node2") and bench.state() == (STUCK, "node1")
    assert bench.codes("stop.sh") == [("node1", 1)] * 2
    assert not bench.simulator.start_group(GROUP, "node2") and not bench.simulator.stop_group(GROUP)
    assert bench.here("node1") == (True, True) and bench.here("node2") == (False, False)
    bench.node1.power_cut()
    wait_until(lambda: bench.state() == (ONLINE, "node2"))
    assert [environment["CLP_EVENT"] for environment in bench.seen("start.sh", "node2")] == ["FAILOVER"]


# -- monitors -----------------------------------------------------------------------------------------------------------------------------

def looks(bench: Bench, node: str = "") -> int:
    """How often genw.sh was run in this test."""
    return len(bench.simulator.scripts_run("genw.sh", bench.began, node))


def test_a_monitor_restarts_then_fails_over_then_does_no_more(bench: Bench) -> None:
    bench.begin()
    assert bench.simulator.start_group(GROUP)
    bench.on("genw.sh", "exit 7")
    wait_until(lambda: bench.state() == (ONLINE, "node2"))
    assert [environment["CLP_FACTOR"] for environment in bench.seen("start.sh")] == ["", "RESOURCERESTART"]
    assert [environment["CLP_FACTOR"] for environment in bench.seen("stop.sh")] == ["RESOURCERESTART", "GROUPFAILOVER"]
    assert bench.codes("genw.sh")[:4] == [("node1", 7)] * 4, "each time it was asked once more (reconfirmation 1)"
    wait_until(lambda: looks(bench, "node2") >= 5)
    assert bench.state() == (ONLINE, "node2") and len(bench.codes("start.sh")) == 3
    assert bench.seen("genw.sh") == [{"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}] * 4, "no variable is known there"


def test_one_bad_answer_between_good_ones_is_nothing(bench: Bench) -> None:
    bench.begin()
    bench.on("genw.sh", "exit $(( $(wc -l < /root/seen-genw.sh) % 2 ))")
    assert bench.simulator.start_group(GROUP)
    wait_until(lambda: looks(bench) >= 5)
    assert {("node1", 0), ("node1", 1)} == set(bench.codes("genw.sh")) and len(bench.codes("start.sh")) == 1


def test_a_monitor_that_hangs_is_killed_and_bad(bench: Bench) -> None:
    bench.begin("monparam genw %s polling/reconfirmation 0" % MONITOR, timeouts=2)
    bench.on("genw.sh", "sleep 61", "node1")
    assert bench.simulator.start_group(GROUP)
    wait_until(lambda: bench.codes("start.sh") == [("node1", 0)] * 2)
    assert bench.codes("genw.sh")[0] == ("node1", "killed")


def test_a_good_value_other_than_0(bench: Bench) -> None:
    bench.begin("monparam genw %s parameters/normalval 7" % MONITOR)
    bench.on("genw.sh", "exit 7")
    assert bench.simulator.start_group(GROUP)
    wait_until(lambda: looks(bench) >= 3)  # twice bad would be enough
    assert len(bench.codes("start.sh")) == 1


def test_with_timing_1_nobody_looks_at_a_standby_and_with_timing_0_everywhere(bench: Bench) -> None:
    bench.begin()
    assert bench.simulator.start_group(GROUP)
    wait_until(lambda: looks(bench, "node1") >= 2)
    assert looks(bench, "node2") == 0
    bench.begin("monparam genw %s polling/timing 0" % MONITOR)
    bench.on("genw.sh", "exit 1", "node2")
    wait_until(lambda: looks(bench, "node1") >= 2 and looks(bench, "node2") >= 4)
    assert bench.simulator.start_group(GROUP)
    wait_until(lambda: looks(bench, "node2") >= 6)
    assert len(bench.codes("start.sh")) == 1, "what is bad elsewhere is not answered here"


def test_a_suspended_monitor_does_nothing_until_it_is_resumed(bench: Bench) -> None:
    bench.begin()
    assert bench.simulator.start_group(GROUP)
    bench.simulator.suspend_monitor(MONITOR)
    before = looks(bench)
    bench.on("genw.sh", "exit 1")
    time.sleep(2.5)  # what must not happen cannot be waited for
    assert looks(bench) <= before + 1 and len(bench.codes("start.sh")) == 1, "one may have been on its way"
    bench.simulator.resume_monitor(MONITOR)
    wait_until(lambda: len(bench.codes("start.sh")) == 2)


@pytest.mark.parametrize("action, state", [("2", FAILED), ("5", ONLINE)])
def test_the_last_thing_that_a_monitor_does(bench: Bench, action: str, state: str) -> None:
    bench.begin("monparam genw %s emergency/action %s" % (MONITOR, action), "monparam genw %s emergency/threshold/restart 0" % MONITOR,
                "monparam genw %s emergency/threshold/fo 0" % MONITOR)
    bench.on("genw.sh", "exit 1", "node1")
    assert bench.simulator.start_group(GROUP)
    wait_until(lambda: bench.state() == (state, "node1" if state == FAILED else "node2"))
    assert bench.order("down") == ([] if state == FAILED else [("node1", "down")])


# -- servers and configurations -----------------------------------------------------------------------------------------------------------

def test_a_server_lost_while_its_group_comes_up_and_while_it_goes_down(bench: Bench) -> None:
    bench.begin()
    for name in ("start.sh", "stop.sh"):
        bench.on(name, "echo 'off node1' | nsenter -t 1 python3 -c \"import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect('/power/socket'); "
                       "s.sendall(sys.stdin.buffer.read()); s.recv(9)\"; sleep 30", "node1")
        if name == "stop.sh":
            bench.node1.sh("rm /etc/on-start.sh")
            assert bench.simulator.move_group(GROUP, "node1") and bench.simulator.move_group(GROUP, "node2")
        else:
            assert bench.simulator.start_group(GROUP)
        assert bench.state() == (ONLINE, "node2") and bench.codes("start.sh")[-1] == ("node2", 0)
        bench.node1.power_on()
        bench.simulator.wait_online()
    assert bench.order("down") == [("node1", "down")] * 2


def test_a_group_goes_to_no_server_that_is_off(bench: Bench) -> None:
    bench.begin()
    bench.node2.power_cut()
    assert not bench.simulator.start_group(GROUP, "node2") and bench.state()[0] == STOPPED
    assert bench.simulator.start_group(GROUP) and not bench.simulator.move_group(GROUP, "node2") and bench.state() == (ONLINE, "node1")
    bench.node1.power_cut()
    wait_until(lambda: bench.state()[0] == FAILED)
    bench.node1.power_on()
    bench.node2.power_on()
    bench.simulator.wait_online()
    bench.simulator.idle()
    assert bench.state()[0] == FAILED and len(bench.codes("start.sh")) == 1, "a server that is back gets nothing"


def test_what_is_pushed_is_on_both_nodes_and_can_be_pulled(bench: Bench) -> None:
    bench.begin()
    wanted = bench.node1.sh("cd %s && cat clp.conf && find scripts -type f | sort" % registration.FOLDER)
    for node in bench.simulator.nodes:
        assert node.sh("cd /opt/nec/clusterpro && cat etc/clp.conf && find scripts -type f | sort") == wanted
    assert bench.node2.sh("mkdir /root/pulled && cd /root/pulled && clpcfctrl --pull -x . && cat clp.conf && find scripts -type f | sort") == wanted


def test_nothing_is_pushed_while_a_group_is_up_or_a_server_is_off_or_what_cannot_be_played(bench: Bench) -> None:
    bench.begin()
    assert bench.simulator.start_group(GROUP) and bench.state() == (ONLINE, "node1")
    with pytest.raises(CommandFailed, match="stop these groups first: jobsiteA"):
        registration.push(bench.simulator)
    assert bench.simulator.stop_group(GROUP) and bench.state()[0] == STOPPED
    bench.node2.power_cut()
    with pytest.raises(CommandFailed, match="not all servers are on"):
        registration.push(bench.simulator)
    bench.node2.power_on()
    bench.simulator.wait_online()
    registration.execute(bench.simulator, ["clpcfset add rscparam exec %s deact/action 3" % EXEC])
    with pytest.raises(CommandFailed, match="does not play deact/action 3"):
        registration.push(bench.simulator)
    registration.execute(bench.simulator, ["clpcfset add rscparam exec %s deact/action 5" % EXEC, "clpcfset add mon genw other",
                                           "clpcfset add monparam genw other parameters/path genw.sh", "clpcfset add monparam genw other target " + EXEC,
                                           "clpcfset add monparam genw other relation/type grp", "clpcfset add monparam genw other relation/name " + GROUP,
                                           "cp -r scripts/monitor.s/%s scripts/monitor.s/other" % MONITOR])
    with pytest.raises(CommandFailed, match="other: set parameters/sync .*: the default is not known"):
        registration.push(bench.simulator)
