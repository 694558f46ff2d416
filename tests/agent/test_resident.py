"""cjcpw_mode=resident: cjcpw stays in the foreground while the site lives."""
from __future__ import annotations

import json
import os
import pathlib
import signal
import socket

import pytest

from lab.site import Site, all_processes, wait_until


@pytest.fixture
def resident(site: Site) -> Site:
    site.parameters.update(cjcpw_mode="resident")
    return site


def resident_pid(site: Site) -> int:
    return int(json.loads((site.state / ("cjc-%s.json" % site.name)).read_text())["resident"][0])


def test_it_starts_lives_in_a_session_of_its_own_and_stops(resident: Site) -> None:
    resident.start()
    pid = resident_pid(resident)
    assert os.getsid(pid) == pid
    assert [resident.monitor(level) for level in (0, 10, 20)] == [0, 0, 0]
    resident.start()
    assert resident_pid(resident) == pid
    resident.stop()
    assert pid not in all_processes()


def test_empty_stop_args_send_term_to_it(resident: Site) -> None:
    resident.parameters.update(stop_args="")
    resident.start()
    pid = resident_pid(resident)
    resident.stop()
    assert pid not in all_processes()
    assert not resident.log.exists() or "KILL" not in resident.log.read_text()


def test_start_fails_at_once_with_its_exit_code(resident: Site) -> None:
    answer = resident.call("start", **resident.faults("start=fail:9"))
    assert answer.code == 1
    assert "ended with exit code 9" in answer.reason
    assert answer.seconds < 10
    resident.assert_nothing_left()


def test_a_dead_resident_is_failed_though_status_says_running(resident: Site) -> None:
    resident.start()
    os.kill(resident_pid(resident), signal.SIGKILL)
    wait_until(lambda: resident_pid(resident) not in all_processes())
    answer = resident.call("monitor", **resident.faults("status=lie:0"))
    assert answer.code == 1
    assert "resident cjcpw" in answer.reason
    resident.stop()


def test_its_output_goes_to_syslog_and_its_end_hurts_nobody(resident: Site) -> None:
    if os.path.exists("/dev/log"):
        os.unlink("/dev/log")
    syslog = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    syslog.bind("/dev/log")
    syslog.settimeout(5)
    resident.start(**resident.faults("output=20"))
    assert b"SIMULATOR" in syslog.recv(65536) + syslog.recv(65536)
    pid = resident_pid(resident)
    syslog.close()
    os.unlink("/dev/log")
    assert pid in all_processes()
    resident.stop()


def test_its_children_are_daemons_and_theirs_are_jobs(resident: Site, tmp_path: pathlib.Path) -> None:
    resident.start_beside_a_job(tmp_path / "job.pid")
    assert resident.recorded() == {resident_pid(resident), *resident.daemons().values()}


def test_a_running_resident_is_adopted(resident: Site) -> None:
    resident.mount()
    hand = resident.popen("/usr/lib/nqs/cjcpw", env={"NQS_SITE": resident.name, "PATH": "/usr/bin:/bin"}, start_new_session=True)
    wait_until(lambda: len(resident.daemons()) >= 3 and resident.simulator("cjcpw", "status", check=False).returncode == 0)
    resident.simulator("qsub", "-s", resident.name, "--", "cd %s; exec sleep 1000" % resident.site_db)
    wait_until(lambda: "sleep" in resident.processes().values())
    assert resident.probe() == 0
    assert resident_pid(resident) == hand.pid and resident.recorded() <= {hand.pid, *resident.daemons().values()}
    assert resident.call("stop").code == 0
    assert hand.wait(timeout=5) is not None
    assert not resident.mounted()
