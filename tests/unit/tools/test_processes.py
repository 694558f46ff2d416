from __future__ import annotations

import importlib.machinery
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cjc_agent.tools import processes, procfs
from cjc_agent.tools.deadline import Deadline
from cjc_agent.tools.processes import Process
from unit.helpers import FIRST_THREAD_ENDS, wait_until

STAT = "%d (%s) %s 77 4711 4242 34816 4711 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2 3\n"


def process(pid, ppid=1, start=1, state="S", comm="x"):
    return Process(pid, ppid, pid, 0, start, state, comm)


# -- proc(5) -----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("comm", ["cjcpw", "a) R 1 (b", "((", "))", ") S 1 1 1 1", "a b  c", "", "new\nline", "日本"])
def test_parse_stat_whatever_the_name(comm):
    made = processes.parse_stat(STAT % (123, comm, "S"))
    assert (made.pid, made.comm, made.state) == (123, comm, "S")
    assert (made.ppid, made.session, made.tty, made.start) == (77, 4242, 34816, 987654)


WHOLE = STAT % (123, "x", "S")


@pytest.mark.parametrize("text", ["", "123", "123 (x", "123 (x)", "123 (x) S", "123 (x) S 1 2", "x (x) " + "1 " * 30, "123 (x) S " + "y " * 30,
                                  WHOLE[:WHOLE.index("987654")], "\0\0\0"])
def test_parse_stat_of_torn_text(text):
    assert processes.parse_stat(text) is None


def test_read_tells_what_os_tells():
    made = processes.read(os.getpid())
    assert (made.pid, made.ppid, made.session) == (os.getpid(), os.getppid(), os.getsid(0))
    assert made.identity == (os.getpid(), made.start) and not made.dead


def test_read_of_a_process_that_calls_itself_like_a_stat_line(start, tmp_path):
    name = "a) R 1 (b"
    child = start([sys.executable, "-I", "-S", "-c", "import sys, time\nwith open('/proc/self/comm', 'w') as f: f.write(sys.argv[1])\ntime.sleep(60)", name])
    wait_until(lambda: processes.read(child.pid).comm == name, "the name")
    made = processes.read(child.pid)
    assert made.ppid == os.getpid() and made.words() == "a) R 1 (b[%d]" % child.pid


@pytest.mark.parametrize("number", procfs.LACKING)
def test_what_we_could_not_open_is_not_taken_for_gone(monkeypatch, number):
    def lacking(*_):
        raise OSError(number, os.strerror(number))
    for name in ("open", "readlink", "listdir"):
        monkeypatch.setattr(os, name, lacking)
    for look in (lambda: processes.contents(1, "environ"), lambda: processes.link(1, "exe"), lambda: processes.descriptors(1), lambda: processes.read(1)):
        with pytest.raises(OSError):
            look()


def test_no_such_process():
    assert processes.read(1 << 30) is None
    assert processes.contents(1 << 30, "environ") == b"" and processes.link(1 << 30, "exe") == "" and processes.environment(1 << 30) == [b""]
    assert processes.descriptors(1 << 30) == []


def test_environment_and_link(start):
    child = start(["/bin/sleep", "60"], env={"NQS_SITE": "jobsiteA"}, cwd="/usr")
    wait_until(lambda: b"NQS_SITE=jobsiteA" in processes.environment(child.pid), "the exec")
    assert processes.link(child.pid, "cwd") == os.path.realpath("/usr")


def test_table_has_us_and_our_child(sleeper):
    child = sleeper()
    table = processes.table()
    assert table[os.getpid()].identity == processes.read(os.getpid()).identity
    assert table[child.pid].ppid == os.getpid()


def test_alive_is_about_this_very_process(sleeper, start):
    child = sleeper()
    assert processes.alive(child)
    assert not processes.alive(process(child.pid, start=child.start + 1)), "a namesake"
    assert not processes.alive(process(1 << 30))


def test_a_process_lives_as_long_as_its_last_thread(start):
    """Its first one has ended: the kernel calls it a zombie, and shows what it holds through another thread only."""
    child = start([sys.executable, "-c", FIRST_THREAD_ENDS], env={"NQS_SITE": "jobsiteA"}, stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"ready\n"
    wait_until(lambda: ") Z " in Path("/proc/%d/stat" % child.pid).read_text())
    found = processes.read(child.pid)
    assert not found.dead and processes.alive(found)
    assert processes.through(child.pid).startswith("task/") and processes.through(os.getpid()) == ""
    assert b"NQS_SITE=jobsiteA" in processes.environment(child.pid, processes.through(child.pid))
    assert processes.link(child.pid, processes.through(child.pid) + "exe") == os.path.realpath(sys.executable)
    os.kill(child.pid, 9)
    assert processes.wait_gone([found], Deadline(5)) == [] and processes.through(child.pid) == ""


def test_a_zombie_is_dead(start):
    child = start(["/bin/true"])
    wait_until(lambda: processes.read(child.pid).state == "Z", "the zombie")
    made = processes.read(child.pid)
    assert made.dead and not processes.alive(made)


# -- families ----------------------------------------------------------------------------------------------------------------------------

FAMILY = {p.pid: p for p in (process(1, 0), process(10, 1), process(20, 10), process(30, 20), process(31, 20), process(40, 1), process(50, 50),
                             process(60, 61), process(61, 60))}


@pytest.mark.parametrize("pid, found", [(30, {30, 20, 10, 1}), (1, {1}), (40, {40, 1}), (99, set()), (50, {50}), (60, {60, 61})])
def test_ancestors(pid, found):
    assert processes.ancestors(FAMILY, pid) == found


@pytest.mark.parametrize("roots, found", [([10], {20, 30, 31}), ([30], set()), ([10, 40], {20, 30, 31}), ([99], set()), ([], set()),
                                          ([20, 10], {20, 30, 31}), ([60], {61, 60})])
def test_descendants(roots, found):
    assert processes.descendants(FAMILY, roots) == found


def test_a_real_grandchild_is_a_descendant(start, end_later):
    child = start(["/bin/sh", "-c", "sleep 60 & wait"])
    grown = wait_until(lambda: processes.descendants(processes.table(), [child.pid]), "the grandchild")
    for pid in grown:
        end_later(pid)
    assert grown <= processes.descendants(processes.table(), [os.getpid()])


def test_is_ancestor(sleeper):
    for pid in processes.ancestors(processes.table(), os.getpid()) | {os.getpid(), os.getppid()}:
        assert processes.is_ancestor(pid)
    assert not processes.is_ancestor(sleeper().pid) and not processes.is_ancestor(1 << 30)


def test_is_ancestor_ends_where_the_chain_is_a_circle_or_breaks(monkeypatch):
    """pids that are used again while the chain is walked. In doubt it is above us: nobody is signalled."""
    monkeypatch.setattr(processes, "read", lambda pid: process(pid, 77 if pid != 77 else 78))
    assert processes.is_ancestor(1 << 30) is True
    monkeypatch.setattr(processes, "read", lambda pid: None)
    assert processes.is_ancestor(1 << 30) is False and processes.is_ancestor(os.getpid()) is True


# -- signals -----------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["pidfd", "kill"])
def way(request, monkeypatch):
    if request.param == "kill":  # RHEL 8
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    return request.param


def test_send_reaches_a_child(way, start):
    child = start(["/bin/sleep", "60"])
    assert processes.send(processes.read(child.pid), signal.SIGTERM) is True
    assert child.wait(10) == -signal.SIGTERM


def test_send_never_to_a_namesake(way, start):
    child = start(["/bin/sleep", "60"])
    made = processes.read(child.pid)
    assert processes.send(process(made.pid, start=made.start - 1), signal.SIGKILL) is False
    assert processes.alive(made)


def test_send_never_to_init_us_or_those_above_us(way):
    above = processes.ancestors(processes.table(), os.getpid())
    assert {os.getpid(), os.getppid()} <= above
    for pid in above | {1}:
        assert processes.send(processes.read(pid), 0) is False  # 0: even a wrong answer does no harm
    for pid in (0, -1, 1):
        assert processes.send(process(pid), 0) is False, "kill(2) takes 0 and -1 for groups and everybody"


def test_send_never_to_init_even_where_it_is_not_seen_above_us(way, monkeypatch):
    monkeypatch.setattr(processes, "is_ancestor", lambda pid: False)  # /proc with hidepid
    init = processes.read(1)
    if init is None:
        pytest.skip("pid 1 is not to be seen here")
    assert processes.send(init, 0) is False


def test_send_to_somebody_gone(way, start):
    child = start(["/bin/sleep", "60"])
    made = processes.read(child.pid)
    child.kill()
    wait_until(lambda: processes.read(child.pid).dead, "the zombie")
    assert processes.send(made, signal.SIGTERM) is False
    child.wait()
    assert processes.send(made, signal.SIGTERM) is False


def test_send_leaves_no_descriptor_open(sleeper):
    child = sleeper()
    before = len(os.listdir("/proc/self/fd"))
    processes.send(child, 0)
    processes.send(process(child.pid, start=1), 0)
    assert len(os.listdir("/proc/self/fd")) == before


def test_wait_gone(sleeper):
    stays, goes = sleeper(), sleeper()
    os.kill(goes.pid, signal.SIGKILL)
    began = time.monotonic()
    assert processes.wait_gone([goes], Deadline(10)) == []
    assert time.monotonic() - began < 5
    assert [p.pid for p in processes.wait_gone([stays, goes], Deadline(0.05))] == [stays.pid]
    assert processes.wait_gone([], Deadline(0)) == []


# -- words -------------------------------------------------------------------------------------------------------------------------------


def test_describe_names_the_uid_without_asking_who_it_is_and_counts_the_rest(sleeper, monkeypatch):
    uid = 1 if os.geteuid() == 0 else os.getuid()
    child = sleeper(user=uid)
    wait_until(lambda: processes.read(child.pid).comm == "sleep", "the exec")
    child = processes.read(child.pid)
    import pwd
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: pytest.fail("a name could hang in a dead LDAP"))
    assert processes.describe([child]) == "sleep[%d] (uid %d)" % (child.pid, uid)
    assert processes.describe([child] * 7, most=2).endswith(", 5 more")
    monkeypatch.setattr(processes, "load_psutil", lambda: None)
    assert processes.describe([child]) == "sleep[%d]" % child.pid
    assert processes.describe([process(1 << 30, comm="gone")]) == "gone[%d]" % (1 << 30)


def test_describe_of_somebody_gone_needs_no_psutil_answer():
    assert processes.describe([process(1 << 30, comm="gone")]) == "gone[%d]" % (1 << 30)


def test_load_psutil(monkeypatch):
    import psutil
    assert processes.load_psutil() is psutil
    monkeypatch.setitem(sys.modules, "psutil", None)  # what an import of something not installed meets
    assert processes.load_psutil() is None


@pytest.fixture
def site_folder(tmp_path, monkeypatch):
    """The only site folder; psutil in it is (package, C half) by file name."""
    import site
    monkeypatch.setattr(site, "getsitepackages", lambda: [str(tmp_path)])

    def make(*names):
        (tmp_path / "psutil").mkdir()
        for name in names:
            (tmp_path / "psutil" / name).touch()
    return make


@pytest.mark.parametrize("names, there", [
    (["__init__.py", "_psutil_linux" + importlib.machinery.EXTENSION_SUFFIXES[0]], True), (["__init__.py", "_psutil_linux.abi3.so"], True),
    (["__init__.py"], False), ([], False), (["__init__.py", "_psutil_linux.cpython-27m-x86_64-linux-gnu.so"], False),
])
def test_has_psutil_finds_it_without_importing_it(site_folder, monkeypatch, names, there):
    site_folder(*names)
    imported = []
    monkeypatch.setattr(processes, "load_psutil", lambda: imported.append(1))
    assert processes.has_psutil() is there and bool(imported) is not there, "what is not found is tried"


def test_has_psutil_in_a_folder_of_which_only_an_import_knows(site_folder, monkeypatch):
    monkeypatch.setattr(processes, "load_psutil", lambda: sys)
    assert processes.has_psutil() is True


def test_boot_id():
    with open("/proc/sys/kernel/random/boot_id") as file:
        assert processes.boot_id() == file.read().strip() != ""


def test_procfs_reads_more_than_one_buffer(tmp_path):
    path = tmp_path / "big"
    path.write_bytes(b"x" * (3 << 16) + b"end")
    assert procfs.read(str(path)) == path.read_bytes()
    with pytest.raises(OSError):
        procfs.read(str(tmp_path / "none"))
