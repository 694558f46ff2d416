"""Actions of one site that meet: start and stop take turns, a monitor in between is honest, a lock that cannot be had is said."""
from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import subprocess
import threading
from collections.abc import Iterator
from typing import Callable

from faults.engine import device_is_mounted
from faults.fault import FAILED, NOT_RUNNING, PROBE, RUNNING, START, STOP, Fault, Injection, See
from lab.site import AGENT, Answer, Site, wait_until

NODE = "node"
SLOW = {"environment": "JCSIM_FAULTS=start=slow:1,stop=slow:1"}


def lock_of(site: Site) -> pathlib.Path:
    """The file of the site's lock."""
    return site.state / ("cjc-%s.lock" % site.name)


def begun(site: Site, action: str) -> subprocess.Popen[bytes]:
    """Begin an action that takes a second; return once it has the lock."""
    child = site.popen(AGENT, action, env=site.call_environment(**SLOW), stderr=subprocess.PIPE, start_new_session=True)
    wait_until(lambda: lock_of(site).exists() and lock_of(site).read_text().startswith("%d %s" % (child.pid, action)))
    return child


def during(*actions: str) -> Injection:
    """Other actions are at work; each must end well."""
    @contextlib.contextmanager
    def inject(site: Site) -> Iterator[None]:
        if actions[0] == "start":
            assert site.call("stop").code == 0
        first = begun(site, actions[0])
        others = [site.popen(AGENT, action, env=site.call_environment(**SLOW), start_new_session=True) for action in actions[1:]]
        yield
        assert [child.wait(timeout=40) for child in (first, *others)] == [0] * len(actions)
    return inject


def one_set(site: Site) -> None:
    """The site runs, once."""
    assert sorted(site.processes().values()) == ["jcsim-log", "jcsim-net", "jcsim-sched"], site.processes()
    assert site.monitor(10) == 0


@contextlib.contextmanager
def a_start_that_hangs(site: Site) -> Iterator[None]:
    """Somebody has stopped it (SIGSTOP) in the middle; later it goes on."""
    child = begun(site, "start")
    wait_until(site.mounted)
    os.kill(child.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(child.pid, signal.SIGCONT)
        child.wait(timeout=40)


@contextlib.contextmanager
def watched(site: Site) -> Iterator[None]:
    """A site is started and stopped while monitors ask all the time: 7 never beside something that was there before and after the question."""
    wrong: list[str] = []
    codes: list[int] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            before = _signs(site)
            answer: Answer = site.call("monitor")
            codes.append(answer.code)
            if (answer.code == NOT_RUNNING and before & _signs(site)) or answer.code not in (0, FAILED, NOT_RUNNING) or "Traceback" in answer.said:
                wrong.append("%r beside %s" % (answer, before))

    watcher = threading.Thread(target=ask)
    watcher.start()
    try:
        for action in ("start", "stop", "start", "stop"):
            answer = site.call(action, **SLOW)
            assert answer.code == 0, answer
    finally:
        done.set()
        watcher.join()
    assert not wrong, wrong
    assert {0, FAILED} <= set(codes), codes
    yield


def _signs(site: Site) -> set[str]:
    """What of the site is there now."""
    return set(map(str, site.daemons().values())) | ({"mounted"} if device_is_mounted(site) else set())


@contextlib.contextmanager
def reloaded_meanwhile(site: Site) -> Iterator[None]:
    """A reload comes in the middle of a start: it waits for it."""
    child = begun(site, "start")
    answer = site.call("reload-agent")
    assert answer.code == 0 and child.wait(timeout=1) == 0, answer
    yield


def lock_is(make: Callable[[pathlib.Path], object]) -> Injection:
    """Something else stands where the lock's file was."""
    @contextlib.contextmanager
    def inject(site: Site) -> Iterator[None]:
        site.state.mkdir(exist_ok=True)
        lock_of(site).unlink(missing_ok=True)
        make(lock_of(site))
        yield
        if lock_of(site).is_dir():
            lock_of(site).rmdir()
        else:
            lock_of(site).unlink()
    return inject


def _of_another_owner(path: pathlib.Path) -> None:
    path.touch(0o600)
    os.chown(path, 65534, 65534)


def _second_name(path: pathlib.Path) -> None:
    path.touch(0o600)
    os.link(path, path.with_suffix(".second"))


HANGS = See(FAILED, ("lock: start (pid", "works on this site", "wait for it"), timeout=4)
NO_LOCK = {PROBE: See(NOT_RUNNING), START: See(FAILED, ("state folder: ", "cjc-{site}.lock", "correct it")), RUNNING: See(0), STOP: See(0)}

FAULTS = [
    Fault(NODE, "another start at once", during("start"), {START: See(0, then=one_set)}),
    Fault(NODE, "three other starts at once", during("start", "start", "start"), {START: See(0, then=one_set)}),
    Fault(NODE, "a start while a stop is at work", during("stop"), {START: See(0, then=one_set)}),
    Fault(NODE, "a stop while a start is at work", during("start"), {STOP: See(0)}),
    Fault(NODE, "another stop at once", during("stop"), {STOP: See(0)}),
    Fault(NODE, "monitors all the time, during starts and stops", watched, {START: See(0)}, quick=False),
    Fault(NODE, "a reload during a start", reloaded_meanwhile, {START: See(0, then=one_set)}),
    Fault(NODE, "a start that hangs holds the lock", a_start_that_hangs, {PROBE: See(FAILED, "stop the "), START: HANGS}),
    Fault(NODE, "lock file is a symbolic link", lock_is(lambda path: path.symlink_to("/etc/passwd")), NO_LOCK),
    Fault(NODE, "lock file is a FIFO", lock_is(os.mkfifo), NO_LOCK),
    Fault(NODE, "lock file is a folder", lock_is(os.mkdir), NO_LOCK),
    Fault(NODE, "lock file of another owner", lock_is(_of_another_owner), NO_LOCK),
    Fault(NODE, "lock file has a second name", lock_is(_second_name), NO_LOCK),
]
