"""Faults of JobCenter: its command, its daemons, its files, and who else is on the node."""
from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
from collections.abc import Iterator

from faults.fault import FAILED, NOT_INSTALLED, NOT_PERMITTED, NOT_RUNNING, PROBE, RUNNING, RUNNING_10, START, STOP, Fault, See
from faults.ways import ended, given, simulator
from lab.changed import away, both, mode_of
from lab.neighbours import CROWD, LISTEN, end_crowd, python
from lab.site import NQS_HOME, Answer, Site, all_processes, wait_until

JOBCENTER = "jobcenter"
REAL = pathlib.Path(NQS_HOME, "cjcpw")
OTHER = pathlib.Path("/srv/cjcpw")  # a cjcpw in the place of the real one; short, because it is named in reasons
CODE = pathlib.Path("/srv/code")  # what it exits with
WRAPPER = "#!/bin/sh\ncase $1 in\n%s\nesac\nexec " + str(REAL) + ' "$@"\n'
ROLES = ("net", "sched", "log")
NOT_FATAL = (signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH, signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
FATAL = [number for number in signal.valid_signals() if number not in NOT_FATAL]
SOME_CODES = (2, 4, 7, 70, 126, 127, 128, 137, 143, 190, 255)


# -- ways to break it ----------------------------------------------------------------------------------------------------------------

@contextlib.contextmanager
def other_cjcpw(site: Site, text: str | bytes, mode: int = 0o755) -> Iterator[None]:
    """The site's cjcpw is another file, with this text."""
    OTHER.write_bytes(text.encode() if isinstance(text, str) else text)
    OTHER.chmod(mode)
    try:
        with given(site, cjcpw=str(OTHER)):
            yield
    finally:
        OTHER.unlink()


def wrapper(site: Site, *cases: str) -> contextlib.AbstractContextManager[None]:
    """The real cjcpw, but for some verbs: lines of a shell's `case`."""
    return other_cjcpw(site, WRAPPER % "\n".join(cases))


@contextlib.contextmanager
def codes(site: Site, verb: str, first: int) -> Iterator[None]:
    """cjcpw does nothing at one verb and exits with what is written in CODE."""
    CODE.write_text(str(first))
    with wrapper(site, "%s) read code <%s; exit $code;;" % (verb, CODE)):
        yield
    CODE.unlink()


@contextlib.contextmanager
def replaced(path: pathlib.Path, text: bytes | None = None) -> Iterator[None]:
    """In the place of a file there is another one, with the same mode; None: a folder."""
    with away(path) as aside:
        if text is None:
            path.mkdir()
        else:
            path.write_bytes(text)
            path.chmod(aside.stat().st_mode)
        yield


@contextlib.contextmanager
def linked(path: pathlib.Path, target: str) -> Iterator[None]:
    """In the place of a file there is a symbolic link."""
    with away(path):
        path.symlink_to(target)
        yield


@contextlib.contextmanager
def pipe_in_place_of(path: pathlib.Path) -> Iterator[None]:
    """In the place of a file there is a named pipe into which nobody writes: to open it takes for ever."""
    with away(path):
        os.mkfifo(path)
        yield


def of_another_machine() -> bytes:
    """A program for another processor (e_machine of its ELF header)."""
    data = bytearray(pathlib.Path("/bin/true").read_bytes())
    data[18:20] = b"\x16\x00"  # s390
    return bytes(data)


@contextlib.contextmanager
def being_written(site: Site) -> Iterator[None]:
    """An upgrade is just writing the program: the kernel does not run what is open for writing."""
    with other_cjcpw(site, pathlib.Path("/bin/true").read_bytes()), OTHER.open("r+b"):
        yield


@contextlib.contextmanager
def upgraded(_: Site) -> Iterator[None]:
    """An upgrade has put a new file in its place."""
    text = REAL.read_bytes()
    with replaced(REAL, text + b"\n# a new version\n"):
        yield


@contextlib.contextmanager
def killed(site: Site, *roles: str, number: int = signal.SIGKILL) -> Iterator[None]:
    """Daemons die, or are stopped (SIGSTOP)."""
    pids = [site.daemons()["jcsim-" + role] for role in roles]
    for pid in pids:
        os.kill(pid, number)
    if number == signal.SIGKILL:
        wait_until(lambda: not set(pids) & set(all_processes()))
    else:
        wait_until(lambda: all(state_of(pid) == "T" for pid in pids))
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def state_of(pid: int) -> str:
    """The letter of a process's state; "" when there is none."""
    try:
        return pathlib.Path("/proc/%d/stat" % pid).read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return ""


@contextlib.contextmanager
def stopped_and_crowded(site: Site) -> Iterator[None]:
    """The listener is stopped, and so many clients wait for it that the kernel takes no more."""
    with killed(site, "net", number=signal.SIGSTOP), contextlib.ExitStack() as clients:
        for _ in range(300):
            client = clients.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex((site.vip, 20816))
        yield


@contextlib.contextmanager
def listener(site: Site, address: str, **environment: str) -> Iterator[None]:
    """Another program listens at the site's port."""
    with ended(python(site, LISTEN, address or site.vip, "20816", env=environment)):
        yield


@contextlib.contextmanager
def started_by_hand(site: Site) -> Iterator[None]:
    """The site runs without us."""
    site.mount()
    site.simulator("cjcpw", "start")
    yield


@contextlib.contextmanager
def site_conf(site: Site, **lines: str) -> Iterator[None]:
    """Lines are added to the site's own daemon.conf, which is on the disk."""
    path = site.site_db / "nqs/daemon.conf"
    mounted = site.mounted()
    if not mounted:
        site.mount()
    before = path.read_bytes()
    path.write_bytes(before + b"".join(b"%s=%s\n" % (key.encode(), value.encode()) for key, value in lines.items()))
    if not mounted:
        site.umount()
    try:
        yield
    finally:
        already = site.mounted()
        if not already:
            site.mount()
        path.write_bytes(before)
        if not already:
            site.umount()


@contextlib.contextmanager
def another_address(site: Site) -> Iterator[None]:
    """Somebody gave the site another address and restarted it by hand."""
    with site_conf(site, ipaddress="127.99.0.1"):
        site.simulator("cjcpw", "stop")
        site.simulator("cjcpw", "start")
        yield


SUBREAPER = """import ctypes, os, signal, subprocess, sys, time
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
subprocess.run([sys.argv[1], "start"], check=True, env={"NQS_SITE": sys.argv[2], "PATH": "/usr/bin:/bin"},
               start_new_session=True, stdout=subprocess.DEVNULL)
print('ready', flush=True)
time.sleep(1000)
"""


@contextlib.contextmanager
def zombies(site: Site) -> Iterator[None]:
    """All daemons have died, and whoever is their parent does not ask for their exit codes."""
    site.simulator("cjcpw", "stop")
    with ended(python(site, SUBREAPER, str(REAL), site.name, stderr=subprocess.DEVNULL)):
        pids = site.daemons().values()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: all(state_of(pid) == "Z" for pid in pids))
        yield


A_ZOMBIE = "import os, sys, time; os.fork() or os.execve('/bin/true', ['true'], {'NQS_SITE': sys.argv[1]}); print('ready', flush=True); time.sleep(1000)"


@contextlib.contextmanager
def a_zombie(site: Site) -> Iterator[None]:
    """A dead process that carried NQS_SITE; its parent lives and does not ask for its exit code."""
    with ended(python(site, A_ZOMBIE, site.name)):
        yield


HEADLESS = """import ctypes, os, sys, threading, time
held = open(sys.argv[1])
threading.Thread(target=lambda: (time.sleep(0.3), print('ready', flush=True), time.sleep(1000))).start()
ctypes.CDLL(None).syscall(60, 0)  # exit(2): this thread alone
"""


@contextlib.contextmanager
def headless(site: Site) -> Iterator[None]:
    """A daemon whose first thread has ended looks like a zombie, and works on."""
    child = python(site, HEADLESS, str(site.site_db / "nqs/daemon.conf"), env={"NQS_SITE": site.name})
    with ended(child):
        wait_until(lambda: state_of(child.pid) == "Z")
        yield


@contextlib.contextmanager
def pid_used_again(site: Site) -> Iterator[None]:
    """The record names a pid that is somebody else's now; its start time tells."""
    bystander = python(site, "import time; print('ready', flush=True); time.sleep(1000)")
    path = site.state / ("cjc-%s.json" % site.name)
    record = json.loads(path.read_text())
    record["daemons"].append([bystander.pid, 12345])
    path.write_text(json.dumps(record))
    with ended(bystander):
        yield
        assert bystander.poll() is None, "a bystander was ended"


@contextlib.contextmanager
def crowd(site: Site) -> Iterator[None]:
    """10,000 other processes."""
    leader = python(site, CROWD, "10000")
    try:
        yield
    finally:
        end_crowd(leader)


@contextlib.contextmanager
def without_record(site: Site) -> Iterator[None]:
    """Somebody has removed the record."""
    (site.state / ("cjc-%s.json" % site.name)).unlink()
    yield


@contextlib.contextmanager
def user_without_home(site: Site) -> Iterator[None]:
    """The user's home folder does not exist on this node."""
    subprocess.run(["useradd", "-M", "-d", "/no/such/home", "homeless"], check=True)
    try:
        with given(site, user="homeless"):
            yield
    finally:
        subprocess.run(["userdel", "homeless"], check=True)


def switches(text: str) -> dict[str, str]:
    """Switches of the simulator that its daemons must be started with."""
    return {"environment": "JCSIM_FAULTS=" + text}


# -- looks -----------------------------------------------------------------------------------------------------------------------------

def nothing_is_left(site: Site) -> None:
    """A start that failed has taken down what it brought up."""
    site.assert_nothing_left()


def monitored(site: Site, code: int) -> Answer:
    """A recurring monitor while cjcpw exits with `code`."""
    CODE.write_text(str(code))
    return site.call("monitor")


def every_code_at_status(site: Site) -> None:
    """0: it runs. Everything else: 1, since it does run."""
    for code in range(256):
        answer = monitored(site, code)
        assert answer.code == (0 if code == 0 else 1), "status exits %d: %r" % (code, answer)
        assert code == 0 or "cjcpw status exited %d" % code in answer.reason, "status exits %d: %r" % (code, answer)


def every_code_of_a_stopped_site(site: Site) -> None:
    """Stopped codes are believed, since nothing is there; no other is, but a probe goes by evidence where cjcpw could not be run."""
    for code in range(256):
        answer = monitored(site, code)
        assert answer.code == {0: 0, 1: 7, 3: 7}.get(code, 1), "status exits %d: %r" % (code, answer)
        if code == 0:
            for path in site.state.glob("cjc-*.json"):  # it was believed, and adopted
                path.unlink()


def own_codes(site: Site) -> None:
    """status_running and status_stopped are the site's own: the usual ones mean nothing then."""
    for code, seen in ((0, 1), (1, 1), (3, 1), (10, 0), (20, 0), (30, 1), (40, 1), (11, 1)):
        answer = monitored(site, code)
        assert answer.code == seen, "status exits %d: %r" % (code, answer)


def every_code_at_start(site: Site) -> None:
    """Each is a failed start; nothing is left."""
    for code in range(1, 256):
        CODE.write_text(str(code))
        answer = site.call("start")
        assert answer.code == 1 and "cjcpw start exited %d" % code in answer.reason, "start exits %d: %r" % (code, answer)
        site.assert_nothing_left()


def some_codes_at_start(site: Site) -> None:
    """A few of them."""
    for code in SOME_CODES:
        CODE.write_text(str(code))
        answer = site.call("start")
        assert answer.code == 1 and "cjcpw start exited %d" % code in answer.reason, "start exits %d: %r" % (code, answer)
        site.assert_nothing_left()


def every_code_at_stop(site: Site) -> None:
    """Whatever it exits with: the site is ended by signals."""
    for code in range(256):
        CODE.write_text(str(code))
        site.start()
        answer = site.call("stop", stop_escalation="0.2s")
        assert answer.code == 0, "stop exits %d: %r" % (code, answer)
        site.assert_nothing_left()


def every_signal_at_status(site: Site) -> None:
    """cjcpw status dies of a signal: that says nothing of the site."""
    for number in FATAL:
        CODE.write_text(str(int(number)))
        answer = site.call("monitor")
        assert answer.code == 1 and "was ended by signal %d" % number in answer.reason, "signal %d: %r" % (number, answer)


def every_signal_at_start(site: Site) -> None:
    """cjcpw start dies of a signal."""
    for number in FATAL:
        CODE.write_text(str(int(number)))
        answer = site.call("start")
        assert answer.code == 1 and "was ended by signal %d" % number in answer.reason, "signal %d: %r" % (number, answer)
        site.assert_nothing_left()


def every_signal_at_stop(site: Site) -> None:
    """cjcpw stop dies of a signal."""
    for number in FATAL:
        CODE.write_text(str(int(number)))
        site.start()
        answer = site.call("stop")
        assert answer.code == 0, "signal %d: %r" % (number, answer)
        site.assert_nothing_left()


@contextlib.contextmanager
def signals(site: Site, verb: str) -> Iterator[None]:
    """cjcpw dies at one verb of the signal that is written in CODE."""
    CODE.write_text("9")
    with wrapper(site, "%s) read number <%s; kill -$number $$; sleep 5;;" % (verb, CODE)):
        yield
    CODE.unlink()


@contextlib.contextmanager
def s_disk(site: Site, way: contextlib.AbstractContextManager[object]) -> Iterator[None]:
    """The cluster has mounted the disk, the site is stopped; cjcpw is asked then."""
    site.mount()
    with given(site, device="", directory=""), way:
        yield
    site.umount()


def no_warning(site: Site) -> None:
    """Output alone is no reason to warn."""
    assert not site.log.exists() or "WARNING" not in site.log.read_text(), site.log.read_text()


def not_killed(site: Site) -> None:
    """Once continued, a daemon ends in its own way when it is told to."""
    assert "sending KILL" not in site.log.read_text(), site.log.read_text()


def warned(text: str):  # type: ignore[no-untyped-def]
    """A look at the log: it must contain a text."""
    def look(site: Site) -> None:
        said = site.log.read_text() if site.log.exists() else ""
        assert text in said, "the log does not say %r" % text
    return look


HOSTILE = r"""printf 'ocf-exit-reason:forged by cjcpw\n\033[2J\033]0;owned\007\r\000\377\376 ok\nocf-exit-reason:the site is fine\n'
printf 'Nov 22 10:00:00  INFO: forged log line\nocf-exit-reason:all is well\033[31m\n\n'; exit 2"""
LONG = "head -c 100000 /dev/zero | tr '\\0' x; exit 2"
FORKS = "start) setsid sh -c 'while :; do setsid sleep 1000 & sleep 0.2; done' </dev/null >/dev/null 2>&1 & sleep 0.5; exit 0;;"
STUBBORN = "#!/bin/sh\n[ $# = 0 ] || exec %s \"$@\"\ntrap '' TERM\n%s & \nwhile :; do wait; sleep 0.2; done\n" % (REAL, REAL)


def stubborn(folder: pathlib.Path) -> Site:
    """A site whose resident cjcpw ignores TERM."""
    OTHER.write_text(STUBBORN)
    OTHER.chmod(0o755)
    return Site(folder)


@contextlib.contextmanager
def resident_gets(site: Site, number: int) -> Iterator[None]:
    """The resident cjcpw gets a signal; its daemons do not."""
    pid = int(json.loads((site.state / ("cjc-%s.json" % site.name)).read_text())["resident"][0])
    os.kill(pid, number)
    wait_until(lambda: state_of(pid) in ("T", "Z", ""))
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def as_it_is(_: Site) -> Iterator[None]:
    """The fault is in the parameters."""
    yield


LICENCE = pathlib.Path(NQS_HOME, "license/jobcenter_key.dat")
CONF = pathlib.Path(NQS_HOME, "rc/daemon.conf")
RESIDENT = {"cjcpw_mode": "resident"}
NO_FORGERY = ("\nocf-exit-reason:forged", "\x1b", "\x07", "\r", "\nocf-exit-reason:all is well", "\nNov 22 10:00:00")

FAULTS = [
    # cjcpw itself
    Fault(JOBCENTER, "cjcpw missing", lambda site: away(REAL), {
        PROBE: See(NOT_RUNNING),
        START: See(NOT_INSTALLED, ("site: CJC205: cjcpw is not installed", "install JobCenter or set `cjcpw`"), then=nothing_is_left),
        RUNNING: See(FAILED, ("cjcpw status exited 127", "no such command", "correct it or set `cjcpw`")),
        STOP: See(0),
    }),
    Fault(JOBCENTER, "cjcpw not executable", lambda site: mode_of(REAL, 0o644), {
        PROBE: See(NOT_RUNNING),
        START: See(NOT_PERMITTED, ("site: CJC206: /usr/lib/nqs/cjcpw is not an executable file", "correct its mode"), then=nothing_is_left),
        RUNNING: See(FAILED, ("cjcpw status exited 126", "Permission denied", "correct it or set `cjcpw`")),
        STOP: See(0),
    }),
    Fault(JOBCENTER, "cjcpw a directory", lambda site: replaced(REAL), {
        PROBE: See(NOT_RUNNING),
        START: See(NOT_PERMITTED, "site: CJC206: /usr/lib/nqs/cjcpw is not an executable file"),
        RUNNING: See(FAILED, "cjcpw status exited 126"),
        STOP: See(0),
    }),
    Fault(JOBCENTER, "cjcpw a symbolic link to nothing", lambda site: linked(REAL, "/opt/nqs/cjcpw"), {
        PROBE: See(NOT_RUNNING),
        START: See(NOT_INSTALLED, "site: CJC205: cjcpw is not installed"),
        RUNNING: See(FAILED, "cjcpw status exited 127"),
        STOP: See(0),
    }),
    Fault(JOBCENTER, "cjcpw a symbolic link to itself", lambda site: linked(REAL, "cjcpw"), {
        START: See(NOT_INSTALLED, "site: CJC205: cjcpw is not installed"),
        RUNNING: See(FAILED, ("cjcpw status exited 126", "Too many levels of symbolic links")),
        STOP: See(0),
    }, quick=False),
    Fault(JOBCENTER, "cjcpw empty", lambda site: other_cjcpw(site, ""), {
        PROBE: See(NOT_RUNNING),
        START: See(FAILED, ("cjcpw start exited 126", "/srv/cjcpw: cannot be executed: Exec format error", "correct it or set `cjcpw`"), then=nothing_is_left),
        RUNNING: See(FAILED, ("cjcpw status exited 126", "Exec format error")),
        STOP: See(0),
    }),
    Fault(JOBCENTER, "cjcpw a text without #!", lambda site: other_cjcpw(site, "exec /usr/lib/nqs/cjcpw \"$@\"\n"), {
        START: See(FAILED, ("cjcpw start exited 126", "Exec format error"), then=nothing_is_left),
        RUNNING: See(FAILED, ("cjcpw status exited 126", "Exec format error")),
        STOP: See(0),
    }, quick=False),
    Fault(JOBCENTER, "cjcpw for another processor", lambda site: other_cjcpw(site, of_another_machine()), {
        PROBE: See(NOT_RUNNING),
        START: See(FAILED, ("cjcpw start exited 126", "Exec format error"), then=nothing_is_left),
        RUNNING: See(FAILED, ("cjcpw status exited 126", "Exec format error")),
        STOP: See(0),
    }),
    Fault(JOBCENTER, "cjcpw's interpreter missing", lambda site: other_cjcpw(site, "#!/opt/perl/bin/perl\n"), {
        PROBE: See(NOT_RUNNING),
        START: See(FAILED, ("cjcpw start exited 127", "its interpreter is missing", "correct it or set `cjcpw`"), then=nothing_is_left),
        RUNNING: See(FAILED, ("cjcpw status exited 127", "its interpreter is missing")),
        STOP: See(0),
    }),
    Fault(JOBCENTER, "cjcpw is being written", being_written, {
        START: See(FAILED, ("cjcpw start exited 126", "Text file busy"), then=nothing_is_left),
        RUNNING: See(FAILED, ("cjcpw status exited 126", "Text file busy")),
        STOP: See(0),
    }, quick=False),
    Fault(JOBCENTER, "cjcpw upgraded", upgraded, {START: See(0), RUNNING: See(0), RUNNING_10: See(0), STOP: See(0)}),
    # who may write it is root by the next start; but it is JobCenter's file, its mode may be JobCenter's, and the site was up until now
    Fault(JOBCENTER, "cjcpw writable by others", lambda site: mode_of(REAL, 0o757), {
        START: See(0, then=warned("/usr/lib/nqs/cjcpw can be written by everybody")),
        RUNNING: See(0),
        STOP: See(0),
    }),
    # exit codes and signals
    Fault(JOBCENTER, "status exits with some other code", lambda site: codes(site, "status", 2), {
        PROBE: See(NOT_RUNNING),  # the disk is not mounted: it is not asked
        START: See(FAILED, ("cjcpw status exited 2", "the site does not come up"), timeout=6, then=nothing_is_left),
        RUNNING: See(FAILED, ("cjcpw status exited 2", "site {site}: see", "JobCenter's own log")),
        STOP: See(0),
    }),
    Fault(JOBCENTER, "status exits with every code", lambda site: codes(site, "status", 2), {
        RUNNING: See(FAILED, "cjcpw status exited 2", then=every_code_at_status)}, quick=False),
    Fault(JOBCENTER, "status exits with every code, site stopped", lambda site: s_disk(site, codes(site, "status", 127)), {
        PROBE: See(NOT_RUNNING, then=every_code_of_a_stopped_site)}, quick=False),
    Fault(JOBCENTER, "status has codes of its own", lambda site: both(codes(site, "status", 2), given(site, status_running="10,20", status_stopped="30,40")), {
        RUNNING: See(FAILED, "cjcpw status exited 2", then=own_codes)}),
    Fault(JOBCENTER, "start exits with some codes", lambda site: codes(site, "start", 1), {
        START: See(FAILED, ("cjcpw start exited 1", "JobCenter's own log"), then=some_codes_at_start)}),
    Fault(JOBCENTER, "start exits with every code", lambda site: codes(site, "start", 1), {
        START: See(FAILED, "cjcpw start exited 1", then=every_code_at_start)}, quick=False),
    Fault(JOBCENTER, "stop exits with every code", lambda site: codes(site, "stop", 1), {STOP: See(0, then=every_code_at_stop)}, quick=False),
    Fault(JOBCENTER, "stop fails", lambda site: simulator("stop=fail:4"), {STOP: See(0, then=warned("cjcpw stop exited 4"))}),
    Fault(JOBCENTER, "stop lies", lambda site: simulator("stop=lie"), {STOP: See(0, timeout=8)}),
    Fault(JOBCENTER, "status dies of every fatal signal", lambda site: signals(site, "status"), {
        RUNNING: See(FAILED, "was ended by signal 9", then=every_signal_at_status)}),
    Fault(JOBCENTER, "start dies of every fatal signal", lambda site: signals(site, "start"), {
        START: See(FAILED, "was ended by signal 9", then=every_signal_at_start)}, quick=False),
    Fault(JOBCENTER, "stop dies of every fatal signal", lambda site: signals(site, "stop"), {STOP: See(0, then=every_signal_at_stop)}, quick=False),
    # hangs
    Fault(JOBCENTER, "start hangs", lambda site: simulator("start=hang"), {
        START: See(FAILED, ("cjcpw start did not end within", "JobCenter's own log"), timeout=6, then=nothing_is_left)}),
    Fault(JOBCENTER, "status hangs", lambda site: simulator("status=hang"), {
        PROBE: See(NOT_RUNNING, timeout=4),
        START: See(FAILED, "cjcpw status did not end within", timeout=6, then=nothing_is_left),
        RUNNING: See(FAILED, "cjcpw status did not end within", timeout=4),
        STOP: See(0, timeout=10),
    }),
    Fault(JOBCENTER, "stop hangs", lambda site: simulator("stop=hang"), {STOP: See(0, timeout=8)}),
    Fault(JOBCENTER, "stop hangs, daemons ignore TERM", lambda site: simulator("stop=hang", "status=hang"), {STOP: See(0, timeout=10)},
          parameters=switches("daemons=ignore-term")),
    # output
    Fault(JOBCENTER, "cjcpw prints 100 MB", lambda site: simulator("output=100000000"), {
        START: See(0),
        RUNNING: See(0),
        STOP: See(0, then=no_warning),
    }),
    Fault(JOBCENTER, "cjcpw prints without end", lambda site: wrapper(site, "status|start|stop) exec yes;;"), {
        START: See(FAILED, "cjcpw start did not end within", timeout=6, then=nothing_is_left),
        RUNNING: See(FAILED, "cjcpw status did not end within", timeout=4),
        STOP: See(0, timeout=8),
    }, quick=False),
    Fault(JOBCENTER, "cjcpw prints what is not UTF-8", lambda site: simulator("invalid_utf8=1"), {
        START: See(0), RUNNING: See(0), RUNNING_10: See(0), STOP: See(0)}, quick=False),
    Fault(JOBCENTER, "cjcpw prints what would forge reasons and log lines", lambda site: wrapper(site, "start|status|stop) %s;;" % HOSTILE), {
        START: See(FAILED, ("site: cjcpw start exited 2", "\\x1b[31m"), never=NO_FORGERY, then=nothing_is_left),
        RUNNING: See(FAILED, ("site: cjcpw status exited 2", "\\x1b[31m"), never=NO_FORGERY),
        STOP: See(0, never=NO_FORGERY),
    }),
    Fault(JOBCENTER, "cjcpw prints one endless line", lambda site: wrapper(site, "start|status|stop) %s;;" % LONG), {
        START: See(FAILED, ("site: cjcpw start exited 2", "JobCenter's own log"), then=nothing_is_left),
        RUNNING: See(FAILED, ("site: cjcpw status exited 2", "JobCenter's own log")),
        STOP: See(0),
    }),
    Fault(JOBCENTER, "daemons keep cjcpw's output open", as_it_is, {START: See(0, timeout=10), RUNNING_10: See(0), STOP: See(0)},
          parameters=switches("daemons=keep-output-open")),
    # starts that are none
    Fault(JOBCENTER, "start daemonises and exits 1", lambda site: wrapper(site, "start) %s start; exit 1;;" % REAL), {
        START: See(FAILED, "cjcpw start exited 1", then=nothing_is_left)}),
    Fault(JOBCENTER, "start forks for ever", lambda site: wrapper(site, FORKS, "status) exit 1;;"), {
        START: See(FAILED, "the site does not come up", timeout=11, then=nothing_is_left)}),
    # both are believed: an exit code in status_running is what RUNNING means. Level 10 looks deeper
    Fault(JOBCENTER, "start and status lie", lambda site: simulator("start=lie", "status=lie:0"), {
        START: See(0, then=warned("no process of site"))}),
    # daemons
    Fault(JOBCENTER, "daemons ignore TERM", as_it_is, {STOP: See(0)}, parameters=switches("daemons=ignore-term,stop_wait=1")),
    Fault(JOBCENTER, "status says stopped, daemons live", lambda site: simulator("status=lie:1"), {
        START: See(FAILED, "the site does not come up", timeout=6, then=nothing_is_left),
        RUNNING: See(FAILED, ("cjcpw status exited 1", "but processes left: ", "jcsim-net", "stop the site")),
        RUNNING_10: See(FAILED, ("cjcpw status exited 1", "but processes left: ", "jcsim-net")),
        STOP: See(0),
    }),
    Fault(JOBCENTER, "runs without us, status says stopped", lambda site: both(started_by_hand(site), simulator("status=lie:3")), {
        PROBE: See(FAILED, ("cjcpw status exited 3", "but processes left: ", "jcsim-net", "stop the site")),
        START: See(FAILED, ("processes left: ", "stop the site")),
    }),
    Fault(JOBCENTER, "status says running, none lives", lambda site: both(killed(site, *ROLES), simulator("status=lie:0")), {
        RUNNING: See(0),
        RUNNING_10: See(FAILED, ("no TCP connection to {vip} port 20816", "Connection refused")),
        STOP: See(0, timeout=10),
    }),
    Fault(JOBCENTER, "all daemons die", lambda site: killed(site, *ROLES), {
        RUNNING: See(FAILED, ("site: {site} was started on this node and is gone", "JobCenter's own log")),
        STOP: See(0),
    }),
    *[Fault(JOBCENTER, "%s dies" % role, lambda site, role=role: killed(site, role), {  # type: ignore[misc]
        RUNNING: See(FAILED, ("cjcpw status exited 2", "site {site}: see", role)), STOP: See(0)}) for role in ROLES],
    *[Fault(JOBCENTER, "%s is stopped by a signal" % role, lambda site, role=role: killed(site, role, number=signal.SIGSTOP), {  # type: ignore[misc]
        RUNNING: See(0), RUNNING_10: See(FAILED, ("jcsim-%s[" % role, "stopped by a signal", "send CONT")), STOP: See(0, then=not_killed)},
            parameters=switches("stop_wait=1"), quick=role != "log") for role in ROLES],
    Fault(JOBCENTER, "all daemons are stopped by a signal", lambda site: killed(site, *ROLES, number=signal.SIGSTOP), {
        RUNNING: See(0), RUNNING_10: See(FAILED, ("jcsim-net[", "stopped by a signal", "send CONT")), STOP: See(0, then=not_killed)},
          parameters=switches("stop_wait=1")),
    Fault(JOBCENTER, "the listener is stopped and its queue full", stopped_and_crowded, {
        RUNNING: See(0), RUNNING_10: See(FAILED, "no TCP connection to {vip} port 20816: timed out", timeout=10)},
          parameters=switches("stop_wait=1"), quick=False),
    Fault(JOBCENTER, "daemons blank their environment, record lost, status says stopped", lambda site: both(without_record(site), simulator("status=lie:1")), {
        RUNNING: See(FAILED, ("cjcpw status exited 1", "but processes left: ", "jcsim-net")), STOP: See(0)},
          parameters=switches("daemons=rewrite-environ:all")),
    Fault(JOBCENTER, "all daemons are zombies", zombies, {
        RUNNING: See(FAILED, "site: {site} was started on this node and is gone"), STOP: See(0)}),
    Fault(JOBCENTER, "a zombie that carried NQS_SITE", a_zombie, {PROBE: See(NOT_RUNNING), START: See(0), RUNNING_10: See(0), STOP: See(0)}, quick=False),
    Fault(JOBCENTER, "a daemon's first thread has ended", headless, {RUNNING: See(0), STOP: See(0, timeout=8)}),
    Fault(JOBCENTER, "a recorded pid is somebody else's", pid_used_again, {RUNNING: See(0), RUNNING_10: See(0), STOP: See(0)}),
    Fault(JOBCENTER, "10,000 other processes", crowd, {
        PROBE: See(NOT_RUNNING), RUNNING_10: See(0), STOP: See(0)}, quick=False),  # the crowd itself takes a minute to come and go
    # the port
    Fault(JOBCENTER, "the port is another program's", lambda site: listener(site, ""), {
        PROBE: See(FAILED, ("python3[", "stop the site")),
        START: See(FAILED, ("python3[", "stop the site")),
    }),
    Fault(JOBCENTER, "the port is another site's", lambda site: listener(site, "", NQS_SITE="another"), {
        PROBE: See(FAILED, ("something listens on {vip}:20816 (python3[", "give it another address")),
        START: See(FAILED, ("something listens on {vip}:20816 (python3[", "give it another address")),
    }),
    Fault(JOBCENTER, "somebody listens everywhere at the port", lambda site: listener(site, "0.0.0.0"), {
        PROBE: See(NOT_RUNNING),
        START: See(FAILED, ("cjcpw start exited 19", "is taken by another process"), then=nothing_is_left),
    }),
    Fault(JOBCENTER, "listens on another address", another_address, {
        RUNNING: See(0),
        RUNNING_10: See(FAILED, ("no TCP connection to {vip} port 20816", "Connection refused")),
        STOP: See(0),
    }),
    # files
    Fault(JOBCENTER, "licence missing", lambda site: away(LICENCE), {
        PROBE: See(NOT_RUNNING),
        START: See(NOT_INSTALLED, ("site: CJC201: licence /usr/lib/nqs/license/jobcenter_key.dat", "No such file", "jclicreg"), then=nothing_is_left),
        RUNNING: See(0),
        STOP: See(0),
    }),
    Fault(JOBCENTER, "licence without the CJC Option", lambda site: replaced(LICENCE, b"JobCenter MG\n"), {
        START: See(NOT_INSTALLED, ("CJC204: ", "does not contain 'CJC'", "jclicreg"), then=nothing_is_left), RUNNING: See(0), STOP: See(0)}),
    Fault(JOBCENTER, "licence empty", lambda site: replaced(LICENCE, b""), {
        START: See(NOT_INSTALLED, ("CJC203: ", "is empty", "jclicreg"))}, quick=False),
    Fault(JOBCENTER, "licence a directory", lambda site: replaced(LICENCE), {
        START: See(NOT_INSTALLED, ("CJC202: ", "Is a directory", "jclicreg")), RUNNING: See(0), STOP: See(0)}, quick=False),
    Fault(JOBCENTER, "licence cannot be read", lambda site: pipe_in_place_of(LICENCE), {
        PROBE: See(NOT_RUNNING),
        START: See(FAILED, ("look at product files did not end within", "/usr/lib/nqs"), timeout=5),
        RUNNING: See(0),
        STOP: See(0),
    }),
    Fault(JOBCENTER, "daemon.conf missing", lambda site: away(CONF), {PROBE: See(NOT_RUNNING), RUNNING: See(0), RUNNING_10: See(0), STOP: See(0)}),
    Fault(JOBCENTER, "daemon.conf a directory", lambda site: replaced(CONF), {PROBE: See(NOT_RUNNING), RUNNING_10: See(0), STOP: See(0)}, quick=False),
    Fault(JOBCENTER, "daemon.conf cannot be read", lambda site: pipe_in_place_of(CONF), {
        PROBE: See(NOT_RUNNING, timeout=10),
        RUNNING: See(0, timeout=4),
        RUNNING_10: See(0, timeout=10),
        STOP: See(0, timeout=12),
    }),
    Fault(JOBCENTER, "daemon.conf full of rubbish", lambda site: replaced(CONF, os.urandom(3 << 20) + b"\nlisten_port=999999999\nlisten_port=\xef\xbc\x92\n"), {
        PROBE: See(NOT_RUNNING), RUNNING_10: See(0), STOP: See(0)}),
    Fault(JOBCENTER, "the site's listen_port no number", lambda site: site_conf(site, listen_port="twenty"), {
        START: See(FAILED, ("CJC113: listen_port=twenty is no TCP port", "daemon.conf:6"), then=nothing_is_left),
        RUNNING: See(0), RUNNING_10: See(0), STOP: See(0)}),
    Fault(JOBCENTER, "listen_port changed while the site runs", lambda site: site_conf(site, listen_port="20999"), {
        RUNNING: See(0), RUNNING_10: See(0), STOP: See(0)}),
    Fault(JOBCENTER, "user unknown", lambda site: given(site, user="nosuchuser"), {
        PROBE: See(NOT_RUNNING),
        START: See(NOT_INSTALLED, ("site: CJC211: user nosuchuser is not known", "create the user or set `user`"), then=nothing_is_left),
        RUNNING: See(FAILED, ("cjcpw status exited 126", "user nosuchuser")),
        STOP: See(0),
    }),
    Fault(JOBCENTER, "the user's home is missing", user_without_home, {RUNNING: See(0), RUNNING_10: See(0), STOP: See(0)}, quick=False),
    # the resident form
    Fault(JOBCENTER, "resident cjcpw dies", lambda site: resident_gets(site, signal.SIGKILL), {
        RUNNING: See(FAILED, ("status says running, but the resident cjcpw", "has ended", "JobCenter's own log")), STOP: See(0)}, parameters=RESIDENT),
    Fault(JOBCENTER, "resident cjcpw is stopped by a signal", lambda site: resident_gets(site, signal.SIGSTOP), {
        RUNNING: See(0), RUNNING_10: See(FAILED, ("cjcpw[", "stopped by a signal", "send CONT")), STOP: See(0, timeout=8)}, parameters=RESIDENT),
    Fault(JOBCENTER, "resident cjcpw ignores TERM", as_it_is, {RUNNING: See(0), STOP: See(0, timeout=10)}, stubborn,
          parameters={**RESIDENT, "stop_args": "", "cjcpw": str(OTHER), "stop_escalation": "1s"}),
    Fault(JOBCENTER, "resident cjcpw cannot be executed", lambda site: other_cjcpw(site, ""), {
        START: See(FAILED, "126", then=nothing_is_left)}, parameters=RESIDENT),  # of its own exec, or of the first status call's
]
