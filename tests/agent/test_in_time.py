"""Whatever else hangs or crowds the node, every action answers within its timeout, and as well as it can."""
from __future__ import annotations

import contextlib
import pathlib
import socket
import subprocess
from collections.abc import Iterator

import pytest

from lab.hung import HungFileSystem
from lab.neighbours import CROWD, STUCK_IN_MMAP, end_crowd, python
from lab.site import Site, all_processes, wait_until


def state_of(pid: int) -> str:
    """The letter of a process's state."""
    return pathlib.Path("/proc/%d/stat" % pid).read_text().rsplit(")", 1)[1].split()[0]


@pytest.fixture
def stuck(tmp_path: pathlib.Path, site: Site):  # type: ignore[no-untyped-def]
    """Make processes that have nothing to do with the site, and whose /proc/PID/environ cannot be read."""
    folder = tmp_path / "hung"
    folder.mkdir()
    hung = HungFileSystem(folder, has_file=True)

    def make(number: int) -> None:
        children = [python(site, STUCK_IN_MMAP, "%s/file%d" % (folder, index), env={"A": "B"}) for index in range(number)]
        wait_until(lambda: all(state_of(child.pid) == "D" for child in children))
        for child in children:
            with pytest.raises(subprocess.TimeoutExpired):
                subprocess.run(["cat", "/proc/%d/environ" % child.pid], timeout=0.5, capture_output=True)
    yield make
    hung.close()


def answer_in_time(site: Site, action: str, seconds: int, **changes: str):  # type: ignore[no-untyped-def]
    """Call the agent with a timeout; kill it a second after that, lest a hang of its hangs us."""
    began = subprocess.Popen(["timeout", "-s", "KILL", str(seconds + 1), "/usr/lib/ocf/resource.d/cjc/jobcenter", action], stderr=subprocess.PIPE,
                             text=True, env=site.call_environment(OCF_RESKEY_CRM_meta_timeout="%d000" % seconds, **changes))
    try:
        _, said = began.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        pytest.fail("%s does not answer within its %d s" % (action, seconds))
    return began.returncode, said


def test_a_process_stuck_in_mmap_does_not_stick_us(site: Site, stuck) -> None:  # type: ignore[no-untyped-def]
    stuck(1)
    code, said = answer_in_time(site, "monitor", 5, OCF_RESKEY_CRM_meta_interval="0")
    assert code == 7, said
    code, said = answer_in_time(site, "stop", 5)
    assert code in (0, 1) and (code == 0 or "all processes" in said), said


def test_a_site_beside_a_process_stuck_in_mmap_can_be_stopped(site: Site, stuck) -> None:  # type: ignore[no-untyped-def]
    site.start()
    daemons = site.daemons()  # to ask for them later would read the stuck one's environment, and hang us
    stuck(1)
    code, said = answer_in_time(site, "stop", 12)
    assert code == 0, said
    assert not site.mounted() and not set(daemons.values()) & set(all_processes())


def test_a_healthy_site_s_monitor_does_not_notice_it(site: Site, stuck) -> None:  # type: ignore[no-untyped-def]
    site.start()
    stuck(2)
    assert answer_in_time(site, "monitor", 3) == (0, "")


@contextlib.contextmanager
def users_are_looked_up_in_a_dead_network() -> Iterator[None]:
    """Users that /etc/passwd does not know are asked of a name server that never answers (nss_hesiod; the same with LDAP)."""
    files = {"/etc/nsswitch.conf": "passwd: files hesiod\ngroup: files hesiod\n", "/etc/hesiod.conf": "lhs=.ns\nrhs=.example.test\n",
             "/etc/resolv.conf": "nameserver 127.0.0.53\noptions timeout:30 attempts:2\n"}
    before = {name: pathlib.Path(name).read_bytes() if pathlib.Path(name).exists() else None for name in files}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.53", 53))
        try:
            for name, text in files.items():
                pathlib.Path(name).write_text(text)
            with pytest.raises(subprocess.TimeoutExpired):
                subprocess.run(["getent", "passwd", "23456"], timeout=0.5)
            yield
        finally:
            for name, data in before.items():
                pathlib.Path(name).write_bytes(data) if data is not None else pathlib.Path(name).unlink()


def test_users_whose_names_nobody_answers(site: Site) -> None:
    site.start()
    site.directory.chmod(0o777)
    holder = site.popen("sleep", "1000", cwd=str(site.directory), start_new_session=True, user=23456)
    with users_are_looked_up_in_a_dead_network():
        answer = site.call("monitor", OCF_RESKEY_CRM_meta_timeout="5000", **site.faults("status=lie:1"))
        assert answer.code == 1 and answer.seconds < 5 and "sleep[%d]" % holder.pid in answer.reason
        answer = site.call("monitor", OCF_RESKEY_CRM_meta_timeout="3000", user="from-ldap")
        assert answer.code == 1 and answer.seconds < 3
        site.parameters["user"] = "from-ldap"
        answer = site.call("stop", OCF_RESKEY_CRM_meta_timeout="8000")
        assert answer.code == 0 and answer.seconds < 8, answer
    site.assert_nothing_left()


def test_many_jobs_among_many_processes(site: Site) -> None:
    """A look at all processes costs time, and more must not be taken than there is."""
    site.start(**site.faults("stop=fail:4"))
    crowds = [python(site, CROWD, "1000"), python(site, CROWD, "500", cwd=str(site.directory), env={"NQS_SITE": site.name})]
    try:
        answer = site.call("stop", OCF_RESKEY_CRM_meta_timeout="30000")
        assert answer.code == 0 and answer.seconds < 30, answer
        site.assert_nothing_left()
        assert crowds[0].poll() is None and crowds[1].wait(timeout=5) != 0
    finally:
        for crowd in crowds:
            end_crowd(crowd)


@contextlib.contextmanager
def blkid_hangs(folder: pathlib.Path) -> Iterator[None]:
    """In place of blkid there is one that never ends."""
    fake = folder / "blkid"
    fake.write_text("#!/bin/sh\nexec sleep 1000\n")
    fake.chmod(0o755)
    places = sorted({str(pathlib.Path(name).resolve()) for name in ("/sbin/blkid", "/usr/sbin/blkid")})
    for place in places:
        subprocess.run(["mount", "--bind", str(fake), place], check=True)
    try:
        yield
    finally:
        for place in places:
            subprocess.run(["umount", place], check=True)


def test_a_label_that_blkid_does_not_resolve_in_time(site: Site, tmp_path: pathlib.Path) -> None:
    subprocess.run(["e2label", site.disk.path, "HANGS"], check=True)
    site.parameters["device"] = "LABEL=HANGS"
    with blkid_hangs(tmp_path):
        for action in ("monitor", "stop", "start"):
            answer = site.call(action, OCF_RESKEY_CRM_meta_timeout="3000")
            assert answer.code == 1 and answer.seconds < 3, (action, answer)
            assert "LABEL=HANGS cannot be resolved: blkid did not end" in answer.reason
    site.start()
    with blkid_hangs(tmp_path):  # the record knows the device
        assert site.monitor(20, OCF_RESKEY_CRM_meta_timeout="3000") == 0
        site.stop(OCF_RESKEY_CRM_meta_timeout="5000")
