"""Faults of the node: no processes, descriptors or memory left; /proc, /dev/null or the state folder not as they should be; odd callers."""
from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
from collections.abc import Iterator
from typing import Callable

from faults.engine import device_is_mounted, left_of
from faults.fault import FAILED, NOT_RUNNING, PROBE, RUNNING, RUNNING_10, RUNNING_20, START, STOP, Fault, Injection, See
from faults.steps import called_by, disturbed, points
from faults.ways import moved_away
from lab.site import AGENT, NQS_HOME, Answer, Site

NODE = "node"
HEALTHY = {PROBE: See(NOT_RUNNING), START: See(0), RUNNING: See(0), RUNNING_10: See(0), RUNNING_20: See(0), STOP: See(0)}


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


FEW = "too few processes, descriptors or too little memory"

PROCESSES = [
    Fault(NODE, "no more processes", at_most(0), {
        PROBE: See(NOT_RUNNING),
        START: See(FAILED, ("could not be started: Resource temporarily unavailable", FEW)),
        RUNNING: See(FAILED, ("cjcpw status could not be started: Resource temporarily unavailable", FEW)),
        STOP: See(FAILED, ("{directory} is still mounted", "umount could not be started", FEW), timeout=8, then=still_mounted),
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


def is_stopped(site: Site) -> None:
    """Nothing of the site is there."""
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
    os.unlink(site.state / ("cjc-%s.json" % site.name))


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
STEP_BY_STEP = [  # name, system call, what becomes of it, how many are left out in CI
    ("no file descriptor", "openat", "error=EMFILE", 40),
    ("no file descriptor from then on", "openat", "error=EMFILE+", 40),
    ("no memory for the kernel to list /proc", "getdents64", "error=ENOMEM", 12),
    ("no child", "clone", "error=EAGAIN", 4),
    ("no child from then on", "clone", "error=EAGAIN+", 4),
    ("no memory file", "memfd_create", "error=ENFILE", 4),
    ("no pidfd", "pidfd_open", "error=EMFILE", 8),
    ("no socket", "socket", "error=EMFILE", 4),
    ("no memory", "mmap", "error=ENOMEM", 4),
]


def _step_by_step(every: int) -> Iterator[Fault]:
    for name, call, what, some in STEP_BY_STEP:
        step = some if every else 1
        title = "%s, at %s step of " % (name, "some" if every else "each")
        yield Fault(NODE, title + "a start", refused(call, what, "start", is_stopped, (0,), step), {START: See(0)}, quick=every > 0)
        yield Fault(NODE, title + "a stop", refused(call, what, "stop", runs, (0,), step), {STOP: See(0)}, quick=every > 0)
        yield Fault(NODE, title + "a monitor", refused(call, what, "monitor", runs, (0,), step, OCF_CHECK_LEVEL="20"), {STOP: See(0)}, quick=every > 0)
        yield Fault(NODE, title + "a probe beside living daemons", refused(call, what, "monitor", lost_its_disk, (1,), step, call in ("openat",), **PROBING),
                    {STOP: See(0)}, quick=every > 0)


FAULTS = [*PROCESSES, *_step_by_step(1), *_step_by_step(0)]
