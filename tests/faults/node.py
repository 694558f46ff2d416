"""Faults of the node: no processes, descriptors or memory left; /proc, /dev/null or the state folder not as they should be; odd callers."""
from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import subprocess
from collections.abc import Iterator
from typing import Callable

from faults.engine import device_is_mounted, left_of
from faults.fault import FAILED, NOT_RUNNING, PROBE, RUNNING, RUNNING_10, RUNNING_20, START, STOP, Fault, Injection, See
from faults.steps import called_by, disturbed, points
from lab.changed import away
from lab.site import Answer, Site

NODE = "node"
HEALTHY = {PROBE: See(NOT_RUNNING), START: See(0), RUNNING_20: See(0), STOP: See(0)}  # level 20 does what the lower ones do, too


def through(*words: str) -> Injection:
    """The agent is called through another command: `prlimit ...`."""
    return lambda site: called_by(site, *words)


def through_shell(script: str) -> Injection:
    """The agent, "$@", is called by a shell that has done something before, or redirected it."""
    return through("/bin/sh", "-c", script, "caller")


# -- processes ------------------------------------------------------------------------------------------------------------------------

def at_most(children: int) -> Injection:
    """The agent runs in a control group that allows it so many children at a time; cgroup v1 or v2, as the machine has it."""
    @contextlib.contextmanager
    def inject(site: Site) -> Iterator[None]:
        root = pathlib.Path("/mnt/cgroup")
        root.mkdir(exist_ok=True)
        if subprocess.run(["mount", "-t", "cgroup", "-o", "pids", "pids", str(root)], check=False, stderr=subprocess.DEVNULL).returncode:
            subprocess.run(["mount", "-t", "cgroup2", "cgroup2", str(root)], check=True)
            (root / "cgroup.subtree_control").write_text("+pids")
        group = root / ("cjc-lab-%d-%s" % (os.getpid(), site.name))
        group.mkdir()
        try:
            (group / "pids.max").write_text(str(children + 1))
            with called_by(site, "/bin/sh", "-c", 'echo $$ > %s/cgroup.procs && exec "$@"' % group, "caller"):
                yield
        finally:
            (group / "pids.max").write_text("max")
            for pid in (group / "cgroup.procs").read_text().split():
                with contextlib.suppress(OSError):
                    (root / "cgroup.procs").write_text(pid)
            group.rmdir()
            subprocess.run(["umount", str(root)], check=True)
    return inject


def still_mounted(site: Site) -> None:
    """What the reason named is really left."""
    assert device_is_mounted(site)


FEW = "free processes, descriptors or memory"

PROCESSES = [
    Fault(NODE, "no more processes", at_most(0), {
        PROBE: See(NOT_RUNNING),
        START: See(FAILED, ("could not be started: Resource temporarily unavailable", FEW)),
        RUNNING: See(FAILED, ("cjcpw status could not be started: Resource temporarily unavailable", FEW)),
        STOP: See(FAILED, ("{directory} is still mounted", "umount could not be started", FEW), timeout=5, then=still_mounted),
    }),
    Fault(NODE, "one more process", at_most(1), {
        PROBE: See(NOT_RUNNING),
        START: See(FAILED, "cjcpw start exited"),
        RUNNING: See(0),
        RUNNING_10: See(0),
        RUNNING_20: See(0),
        STOP: See(0),
    }),
]


# -- whatever the agent asks the kernel for, refused from its first, second ... request on -------------------------------------------

Situation = Callable[[Site], None]  # brings the site into a state, whatever it was before


def record_of(site: Site) -> pathlib.Path:
    """Where the agent keeps the record of a site that it has started."""
    return site.state / ("cjc-%s.json" % site.name)


def aside(site: Site) -> pathlib.Path:
    """Where the record lies while it is lost."""
    return record_of(site).with_suffix(".aside")


def is_stopped(site: Site) -> None:
    """Nothing of the site is there."""
    if aside(site).exists():
        aside(site).rename(record_of(site))
    answer = site.call("stop")
    assert answer.code == 0, answer


def runs(site: Site) -> None:
    """The site runs."""
    answer = site.call("start")
    assert answer.code == 0, answer


def lost_its_disk(site: Site) -> None:
    """The disk was unmounted by hand and the record is lost; only processes and listeners tell that the site lives."""
    if not site.mounted() and site.daemons():
        return
    is_stopped(site)
    site.start(**site.faults("daemons=no-hold"))
    site.umount()
    record_of(site).rename(aside(site))


def refused(call: str, what: str, action: str, situation: Situation, truth: tuple[int, ...], every: int = 1, children: bool = False,
            **environment: str) -> Injection:
    """Let the N-th call (with a `+` in `what`: and all later ones) of a system call fail, N from the first to the last that the action makes;
    `truth` is what it may answer besides 1 with a reason."""
    @contextlib.contextmanager
    def inject(site: Site) -> Iterator[None]:
        situation(site)
        answer, found = points(site, site.log.parent, action, (call,), every, **environment)
        assert answer.code in truth, answer
        for number, point in enumerate(found):
            situation(site)
            answer = disturbed(site, point, what, action, children, OCF_RESKEY_CRM_meta_timeout="8000", **environment)
            wrong = _dishonest(site, answer, truth)
            if answer.code == 0 and action == "stop":
                wrong += left_of(site)
            assert not wrong, "%s %s %d: %s: %r" % (action, *point, "; ".join(wrong), answer)
            print("%s of %s: %d of %d: %r" % (what, call, number + 1, len(found), answer))
        is_stopped(site)
        yield
    return inject


def _dishonest(site: Site, answer: Answer, truth: tuple[int, ...]) -> list[str]:
    """What is wrong with an answer that may be 1, but must have a reason then."""
    wrong = [] if answer.code in (*truth, FAILED) else ["said %d" % answer.code]
    if answer.code == FAILED and len(answer.reasons) != 1:
        wrong.append("%d reasons" % len(answer.reasons))
    if "Traceback" in answer.said or answer.seconds > 8:
        wrong.append("a traceback, or too late")
    return wrong + ["an unexpected error was caught: %s" % path.read_text() for path in site.state.glob("cjc-agent-unexpected.*")]


PROBING = {"OCF_RESKEY_CRM_meta_interval": "0"}
STEP_BY_STEP = [  # name, system call, what becomes of it, of how many steps one is played in CI (0: none)
    ("no file descriptor", "openat", "error=EMFILE", 40),
    ("no file descriptor from then on", "openat", "error=EMFILE+", 0),
    ("no memory for the kernel to list /proc", "getdents64", "error=ENOMEM", 12),
    ("no child", "clone", "error=EAGAIN", 0),
    ("no child from then on", "clone", "error=EAGAIN+", 0),
    ("no memory file", "memfd_create", "error=ENFILE", 0),
    ("no pidfd", "pidfd_open", "error=EMFILE", 0),
    ("no socket", "socket", "error=EMFILE", 4),
    ("no memory", "mmap", "error=ENOMEM", 0),
]


def _step_by_step() -> Iterator[Fault]:
    """The same at all steps, and for every run at some."""
    for name, call, what, some in STEP_BY_STEP:
        for every, title, quick in ((some, name + ", at some step of ", True), (1, name + ", at each step of ", False)):
            if every:
                yield Fault(NODE, title + "a start", refused(call, what, "start", is_stopped, (0,), every), {START: See(0)}, quick=quick)
                yield Fault(NODE, title + "a stop", refused(call, what, "stop", runs, (0,), every), {STOP: See(0)}, quick=quick)
                yield Fault(NODE, title + "a monitor", refused(call, what, "monitor", runs, (0,), every, OCF_CHECK_LEVEL="20"), {STOP: See(0)}, quick=quick)
                yield Fault(NODE, title + "a probe beside living daemons",
                            refused(call, what, "monitor", lost_its_disk, (1,), every, children=call == "openat", **PROBING), {STOP: See(0)}, quick=quick)


# -- limits and manners of the caller -------------------------------------------------------------------------------------------------

@contextlib.contextmanager
def no_place_in_output_files(site: Site) -> Iterator[None]:
    """RLIMIT_FSIZE 0: whatever is written to a file fails. Somebody who is none of ours must be looked at."""
    site.popen("sleep", "1000", start_new_session=True)
    with called_by(site, "prlimit", "--fsize=0"):
        yield


def killed_by_the_kernel(what: str) -> Injection:
    """cjcpw `what` is ended by the OOM killer: SIGKILL, whenever it is called."""
    return lambda site: given_faults(site, "%s=signal:9" % what)


@contextlib.contextmanager
def given_faults(site: Site, text: str) -> Iterator[None]:
    """The simulator fails on purpose when the agent calls it."""
    site.parameters.update(site.faults(text))
    try:
        yield
    finally:
        site.parameters.pop("environment")


def record_is_left(site: Site) -> None:
    """The record could not be removed."""
    assert record_of(site).exists()


CALLERS = [
    Fault(NODE, "a caller that leaves 12 descriptors", through("prlimit", "--nofile=12"), HEALTHY),
    Fault(NODE, "a caller that allows no file to grow", no_place_in_output_files, {
        PROBE: See(FAILED, ("look at processes exited 126", FEW)),
        START: See(FAILED, FEW),
        RUNNING: See(0),
        STOP: See(FAILED, ("look at processes exited 126", FEW), timeout=6),
    }),
    Fault(NODE, "a caller that ignores and blocks signals", through("/bin/bash", "-c", "trap '' HUP INT QUIT PIPE TERM CHLD USR1 XFSZ; exec \"$@\"", "caller"),
          HEALTHY),
    Fault(NODE, "a caller that has closed stdin, stdout and stderr", through_shell('exec "$@" <&- >&- 2>&-'), HEALTHY),
    Fault(NODE, "a caller whose stdout and stderr are full", through_shell('exec "$@" >/dev/full 2>/dev/full'), HEALTHY),
    Fault(NODE, "a caller whose stdout and stderr nobody reads", through_shell('{ "$@"; echo $? >&3; } 3>&1 >&- 2>&- | { read code; exit $code; }'), HEALTHY),
    Fault(NODE, "a caller with umask 777", through_shell('umask 777; exec "$@"'), HEALTHY),
    Fault(NODE, "a caller whose working directory was deleted", through_shell('mkdir /tmp/gone && cd /tmp/gone && rmdir /tmp/gone; exec "$@"'), HEALTHY),
    Fault(NODE, "a caller at the lowest priority", through("nice", "-n", "19"), HEALTHY),
    Fault(NODE, "cjcpw status is killed by the kernel for want of memory", killed_by_the_kernel("status"), {
        RUNNING: See(FAILED, "cjcpw status was ended by signal 9"),
        RUNNING_10: See(FAILED, "cjcpw status was ended by signal 9"),
        STOP: See(0),
    }),
    Fault(NODE, "cjcpw start is killed by the kernel for want of memory", killed_by_the_kernel("start"), {
        START: See(FAILED, "cjcpw start was ended by signal 9")}),
    Fault(NODE, "cjcpw stop is killed by the kernel for want of memory", killed_by_the_kernel("stop"), {STOP: See(0)}),
]


# -- what every node has ------------------------------------------------------------------------------------------------------------

@contextlib.contextmanager
def mounted_over(target: str, *words: str) -> Iterator[None]:
    """Something else is mounted there: words of mount(8)."""
    subprocess.run(["mount", *words, target], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", target], check=True)


def no_proc(site: Site) -> contextlib.AbstractContextManager[None]:
    """For the agent alone: in a mount namespace of its own, whose mounts are not seen outside."""
    return called_by(site, "unshare", "--mount", "--propagation", "unchanged", "/bin/sh", "-c", 'mount -t tmpfs none /proc && exec "$@"', "caller")


def somebody_else_s_proc(site: Site) -> contextlib.AbstractContextManager[None]:
    """The agent lives in a pid namespace of its own, but sees the node's /proc."""
    return called_by(site, "unshare", "--pid", "--fork")


@contextlib.contextmanager
def hidepid(site: Site) -> Iterator[None]:
    """Only root sees other users' processes."""
    subprocess.run(["mount", "-o", "remount,hidepid=2", "/proc"], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,hidepid=0", "/proc"], check=True)


def no_dev_null(site: Site) -> contextlib.AbstractContextManager[object]:
    """/dev/null is gone. Somebody who is none of ours must be looked at."""
    site.popen("sleep", "1000", start_new_session=True)
    return away(pathlib.Path("/dev/null"))


@contextlib.contextmanager
def read_only_root(site: Site) -> Iterator[None]:
    """The root file system has become read-only: the local spool of JobCenter, too."""
    subprocess.run(["mount", "-o", "remount,bind,ro", "/"], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,bind,rw", "/"], check=True)


NO_PROC = See(FAILED, ("agent: /proc of this pid namespace is not mounted", "mount -t proc proc /proc"))
NO_NULL = "'/dev/null'"
PLACES = [
    Fault(NODE, "/proc is not mounted", no_proc, {PROBE: NO_PROC, START: NO_PROC, RUNNING: NO_PROC, RUNNING_20: NO_PROC, STOP: NO_PROC}),
    Fault(NODE, "/proc is another pid namespace's", somebody_else_s_proc, {PROBE: NO_PROC, START: NO_PROC, RUNNING: NO_PROC, STOP: NO_PROC}),
    Fault(NODE, "/proc hides the processes of others (hidepid=2)", hidepid, HEALTHY),
    Fault(NODE, "/dev/null is missing", no_dev_null, {
        PROBE: See(FAILED, NO_NULL),
        START: See(FAILED, NO_NULL),
        RUNNING: See(FAILED, ("cjcpw status", NO_NULL)),
        STOP: See(FAILED, ("{directory} is still mounted", NO_NULL), timeout=5, then=still_mounted),
    }),
    Fault(NODE, "root file system read-only", read_only_root, {
        PROBE: See(NOT_RUNNING), START: See(FAILED, "cjcpw start exited"), RUNNING: See(0), RUNNING_20: See(0), STOP: See(0)}),
    Fault(NODE, "/tmp and /run full or gone", lambda site: mounted_over("/run", "-t", "tmpfs", "-o", "ro,size=4k", "none"), HEALTHY),
]


# -- the state folder -----------------------------------------------------------------------------------------------------------------

@contextlib.contextmanager
def state_on_tmpfs(site: Site, options: str) -> Iterator[None]:
    """The state folder is a small file system of its own; what is in it comes along, and goes back afterwards."""
    site.state.mkdir(exist_ok=True)
    kept = site.state.with_name("kept")
    shutil.copytree(site.state, kept)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(site.state)], check=True)
    shutil.copytree(kept, site.state, dirs_exist_ok=True)
    try:
        yield
    finally:
        shutil.rmtree(kept)
        shutil.copytree(site.state, kept)
        subprocess.run(["umount", str(site.state)], check=True)
        shutil.rmtree(site.state)
        kept.rename(site.state)


@contextlib.contextmanager
def state_full(site: Site) -> Iterator[None]:
    """No byte goes in any more; names do."""
    with state_on_tmpfs(site, "size=64k"):
        with (site.state / "fill").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"x" * 4096)
        yield
        (site.state / "fill").unlink()


@contextlib.contextmanager
def state_out_of_inodes(site: Site) -> Iterator[None]:
    """No name goes in any more."""
    with state_on_tmpfs(site, "nr_inodes=30"):
        with contextlib.suppress(OSError):
            for number in range(40):
                (site.state / ("fill%d" % number)).touch()
        yield
        for path in site.state.glob("fill*"):
            path.unlink()


@contextlib.contextmanager
def state_read_only(site: Site) -> Iterator[None]:
    """Nothing can be written or removed."""
    with state_on_tmpfs(site, "size=64k"):
        subprocess.run(["mount", "-o", "remount,ro", str(site.state)], check=True)
        yield
        subprocess.run(["mount", "-o", "remount,rw", str(site.state)], check=True)


@contextlib.contextmanager
def state_is(site: Site, make: Callable[[pathlib.Path], object]) -> Iterator[None]:
    """Something else stands where the state folder was."""
    site.state.mkdir(exist_ok=True)
    with away(site.state):
        make(site.state)
        yield
        if site.state.is_symlink() or site.state.is_file():
            site.state.unlink()
        else:
            shutil.rmtree(site.state, ignore_errors=True)


UNLOCKED = ("state folder: ", "correct it")
STATE = [
    Fault(NODE, "state folder full", state_full, HEALTHY),
    Fault(NODE, "state folder out of inodes", state_out_of_inodes, {
        PROBE: See(NOT_RUNNING), START: See(FAILED, (*UNLOCKED, "No space left")), RUNNING: See(0), STOP: See(0)}),
    Fault(NODE, "state folder read-only", state_read_only, {
        PROBE: See(NOT_RUNNING), START: See(FAILED, (*UNLOCKED, "Read-only file system")), RUNNING: See(0), STOP: See(0, then=record_is_left)}),
    Fault(NODE, "state folder missing", lambda site: state_is(site, lambda path: None), HEALTHY),
    Fault(NODE, "state folder is a file", lambda site: state_is(site, lambda path: path.write_text("x")), {
        PROBE: See(NOT_RUNNING), START: See(FAILED, (*UNLOCKED, "File exists")), RUNNING: See(0), STOP: See(0)}),
    Fault(NODE, "state folder is a link to nowhere", lambda site: state_is(site, lambda path: path.symlink_to("/no/such/folder")), {
        PROBE: See(NOT_RUNNING), START: See(FAILED, UNLOCKED), RUNNING: See(0), STOP: See(0)}),
]

FAULTS = [*PROCESSES, *CALLERS, *PLACES, *STATE, *_step_by_step()]
