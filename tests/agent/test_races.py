"""Actions that meet, and actions that were killed or failed halfway: what is left behind is neither forgotten nor taken for stopped."""
from __future__ import annotations

import os
import pathlib
import signal
import subprocess

import pytest

from lab.neighbours import shell
from lab.site import AGENT, NQS_HOME, Site, all_processes, environment_of, wait_until


def call_in_background(site: Site, action: str, **changes: str) -> subprocess.Popen[bytes]:
    """Begin an action."""
    return site.popen(AGENT, action, env=site.call_environment(**changes), stderr=subprocess.PIPE, start_new_session=True)


def cjcpw_calls(site: Site, of_the_agent_s_own: bool) -> list[int]:
    """pids of cjcpw calls in progress: status and stop are marked as the agent's own, start is not."""
    return [pid for pid, name in site.processes().items()
            if not name.startswith("jcsim") and ("CJC_AGENT_CALL=1" in environment_of(pid)) == of_the_agent_s_own]


def test_stop_goes_by_the_record_of_the_start_that_it_waited_for(site: Site) -> None:
    """Also when its own parameters name no disk any more: else it would say 0 beside a mounted disk."""
    start = call_in_background(site, "start", **site.faults("start=slow:1"))
    wait_until(lambda: cjcpw_calls(site, False))
    answer = site.call("stop", device="", directory="", site_db="/elsewhere/job_site", vip="", cjcpw="/no/such/cjcpw",
                       OCF_RESKEY_CRM_meta_timeout="10000")
    assert start.wait() == 0
    assert answer.code == 0, answer
    site.assert_nothing_left()


def test_a_start_that_was_killed_does_not_come_true_after_the_stop(site: Site) -> None:
    """The cluster's disk stays mounted, and cjcpw start goes on without us."""
    site.parameters.update(device="", directory="")
    site.mount()
    start = call_in_background(site, "start", **site.faults("start=slow:2"))
    wait_until(lambda: cjcpw_calls(site, False))
    launched = cjcpw_calls(site, False)
    start.kill()
    start.wait()
    assert site.monitor() == 1, "in doubt"
    answer = site.call("stop", OCF_RESKEY_CRM_meta_timeout="9000")
    assert answer.code == 0, answer
    assert not site.processes() and not [pid for pid in launched if pid in all_processes()]
    assert site.probe() == 7 and site.monitor() == 7


def test_a_start_that_was_killed_and_worked_is_adopted(site: Site) -> None:
    start = call_in_background(site, "start", **site.faults("start=slow:1"))
    wait_until(lambda: cjcpw_calls(site, False))
    start.kill()
    start.wait()
    wait_until(lambda: len(site.daemons()) == 3 and not cjcpw_calls(site, False))
    assert site.monitor() == 0
    site.stop()


def test_a_failed_start_ends_daemons_that_only_the_variable_tells(site: Site) -> None:
    answer = site.call("start", OCF_RESKEY_CRM_meta_timeout="6000", **site.faults("status=lie:1,stop=lie,daemons=no-hold"))
    assert answer.code == 1 and "the site does not come up" in answer.reason and answer.seconds < 6
    site.assert_nothing_left()
    assert site.probe() == 7 and site.call("stop").code == 0


def test_a_failed_start_says_what_status_said(site: Site) -> None:
    """And not that a last call, for which no time was left, did not end."""
    answer = site.call("start", OCF_RESKEY_CRM_meta_timeout="5000", **site.faults("status=fail:2"))
    assert answer.code == 1 and answer.seconds < 5
    assert "cjcpw status exited 2: SIMULATOR cjcpw: status fails on purpose" in answer.reason
    site.assert_nothing_left()


def test_the_bystander_of_a_killed_start_lives(site: Site) -> None:
    """What carried the variable before the start is no daemon of it."""
    site.mount()
    bystander = shell(site, "echo ready; cd /; exec sleep 1000", env={"NQS_SITE": site.name, "PATH": "/usr/bin:/bin"}, cwd="/")
    start = call_in_background(site, "start", **site.faults("start=hang"))
    wait_until(lambda: set(cjcpw_calls(site, False)) - {bystander.pid})
    start.kill()
    start.wait()
    answer = site.call("stop", OCF_RESKEY_CRM_meta_timeout="6000")
    assert answer.code == 0, answer
    assert bystander.poll() is None and not site.mounted() and list(site.processes()) == [bystander.pid]


def overtake(site: Site, calls: int) -> subprocess.Popen[bytes]:
    """Begin a monitor that would adopt the site, hold it up during its `calls`-th status call, and stop the site meanwhile. Return the monitor."""
    site.mount()
    site.simulator("cjcpw", "start")
    monitor = call_in_background(site, "monitor", **site.faults("status=slow:0.5"))
    seen: set[int] = set()

    def begun() -> bool:
        for pid in cjcpw_calls(site, True):
            seen.add(os.getsid(pid))  # each call leads a session of its own
        return len(seen) == calls
    wait_until(begun)
    os.kill(monitor.pid, signal.SIGSTOP)
    status = max(seen)
    wait_until(lambda: status not in all_processes())  # it has answered: the site runs
    site.stop()
    return monitor


@pytest.mark.parametrize("calls", [1, 2])
def test_a_monitor_that_a_stop_overtook_adopts_nothing(site: Site, calls: int) -> None:
    monitor = overtake(site, calls)
    os.kill(monitor.pid, signal.SIGCONT)
    monitor.wait(timeout=20)
    assert not list(site.state.glob("*.json"))
    assert site.probe() == 7 and site.monitor() == 7


def slow_status(folder: pathlib.Path, first: str, then: str) -> str:
    """A cjcpw whose status runs the shell commands `first` and `then` with a second between them; its path."""
    path = folder / "cjcpw"
    path.write_text("#!/bin/sh\nreal=%s/cjcpw\n[ \"$1\" = status ] || exec $real \"${@:-start}\"\n%s\nsleep 1.01\n%s\n" % (NQS_HOME, first, then))
    path.chmod(0o755)
    return str(path)


def begin_a_start(site: Site, cjcpw: str) -> subprocess.Popen[bytes]:
    """Begin a start of a site whose disk is mounted; return once it is in the middle of asking for the status."""
    start = call_in_background(site, "start", cjcpw=cjcpw)
    wait_until(lambda: "sleep" in {all_processes().get(pid) for pid in cjcpw_calls(site, True)})
    return start


def test_a_start_lets_a_stop_by_hand_end_first(site: Site, tmp_path: pathlib.Path) -> None:
    """What was seen before status was asked says nothing about now."""
    site.mount()
    site.simulator("cjcpw", "start")
    start = begin_a_start(site, slow_status(tmp_path, "", "exec $real status"))
    site.simulator("cjcpw", "stop")
    assert start.wait() == 0, start.stderr and start.stderr.read()
    assert site.monitor() == 0
    site.stop()


@pytest.mark.parametrize("whole", [True, False])
def test_a_start_touches_nothing_that_came_up_while_it_asked(site: Site, tmp_path: pathlib.Path, whole: bool) -> None:
    """It would be started a second time, and the start that fails for it would take down what somebody else has started."""
    site.mount()
    start = begin_a_start(site, slow_status(tmp_path, "$real status; code=$?", "exit $code"))
    site.simulator("cjcpw", "start")
    if not whole:
        os.kill(site.daemons()["jcsim-log"], signal.SIGKILL)
        wait_until(lambda: len(site.daemons()) == 2)
    daemons = site.daemons()
    assert start.wait() == 1 and start.stderr and b"stop the site" in start.stderr.read()
    assert site.daemons() == daemons and not list(site.state.glob("*.json"))


def test_a_resident_that_ends_while_status_is_asked_has_not_started(site: Site, tmp_path: pathlib.Path) -> None:
    """A cjcpw that makes daemons and ends is no resident: its site runs, but monitor would say 1 the next moment."""
    answer = site.call("start", cjcpw_mode="resident", cjcpw=slow_status(tmp_path, "", "exec $real status"))
    assert answer.code == 1 and "resident cjcpw" in answer.reason, answer
    site.assert_nothing_left()


def test_a_start_says_that_status_hangs(site: Site) -> None:
    """And not that cjcpw start, for which no time was left, did not end."""
    site.mount()
    answer = site.call("start", OCF_RESKEY_CRM_meta_timeout="5000", **site.faults("status=hang"))
    assert answer.code == 1 and answer.seconds < 5 and "cjcpw status did not end" in answer.reason, answer
    assert not site.processes()
