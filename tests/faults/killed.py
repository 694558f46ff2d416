"""An agent that is killed -9 in the middle of its work, at one step after the other, and called again."""
from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Callable

from faults.engine import agents_left, device_is_mounted, left_of
from faults.fault import START, STOP, Fault, Injection, See
from faults.steps import disturbed, points
from lab.site import Site, wait_until

NODE = "node"
# Before a child is made; when it has just been; while it works; when it has ended; and what changes a file in the state folder.
STEPS = ("memfd_create", "clone", "pidfd_open", "poll", "wait4", "mkdir", "pread64", "ftruncate", "pwrite64", "openat", "write", "rename", "unlink",
         "fcntl", "kill", "pidfd_send_signal")
DAEMONS = ["jcsim-log", "jcsim-net", "jcsim-sched"]


def killed(action: str, every: int, then: Callable[[Site], None]) -> Injection:
    """Kill the action at every `every`-th of its steps, and see what the calls after it make of that."""
    @contextlib.contextmanager
    def inject(site: Site) -> Iterator[None]:
        if action == "start":
            site.call("stop")
        _, found = points(site, site.log.parent, action, STEPS, every)
        for number, point in enumerate(found):
            _bring_to(site, action)
            disturbed(site, point, "signal=KILL", action)
            try:
                then(site)
            except AssertionError as error:
                raise AssertionError("%s killed at %s %d (%d of %d): %s" % (action, *point, number + 1, len(found), error)) from error
        print("%s was killed at %d steps" % (action, len(found)))
        _bring_to(site, "stop")
        yield
    return inject


def _bring_to(site: Site, action: str) -> None:
    """Make what an action begins with: a site that is stopped for a start, one that runs for a stop."""
    answer = site.call("stop" if action == "start" else "start")
    assert answer.code == 0, answer


def up_again(site: Site) -> None:
    """A monitor is honest; a start works and makes one set of daemons; a stop leaves nothing."""
    _honest_monitor(site)
    answer = site.call("start")
    assert answer.code == 0, answer
    assert sorted(site.processes().values()) == DAEMONS, site.processes()
    assert site.monitor() == 0 and site.monitor(10) == 0
    down_again(site)


def down_again(site: Site) -> None:
    """A stop works at once, nothing is left, and nothing of the killed action comes true later."""
    answer = site.call("stop")
    assert answer.code == 0, answer
    assert not left_of(site), left_of(site)
    wait_until(lambda: not agents_left())
    assert not left_of(site), "came true after the stop: %s" % left_of(site)
    assert site.monitor() == 7


def _honest_monitor(site: Site) -> None:
    """Whatever was left in the middle: never 7 beside something of the site."""
    answer = site.call("monitor")
    wait_until(lambda: not agents_left())
    assert answer.code != 7 or not (device_is_mounted(site) or site.processes()), answer
    assert answer.code != 0 or len(site.daemons()) == 3, answer


FAULTS = [
    Fault(NODE, "killed -9 at some steps of a start, then started", killed("start", 60, up_again), {START: See(0)}),
    Fault(NODE, "killed -9 at some steps of a start, then stopped", killed("start", 60, down_again), {START: See(0)}),
    Fault(NODE, "killed -9 at some steps of a stop, then started", killed("stop", 60, up_again), {STOP: See(0)}),
    Fault(NODE, "killed -9 at some steps of a stop, then stopped", killed("stop", 60, down_again), {STOP: See(0)}),
    Fault(NODE, "killed -9 at each step of a start, then started", killed("start", 1, up_again), {START: See(0)}, quick=False),
    Fault(NODE, "killed -9 at each step of a start, then stopped", killed("start", 1, down_again), {START: See(0)}, quick=False),
    Fault(NODE, "killed -9 at each step of a stop, then started", killed("stop", 1, up_again), {STOP: See(0)}, quick=False),
    Fault(NODE, "killed -9 at each step of a stop, then stopped", killed("stop", 1, down_again), {STOP: See(0)}, quick=False),
]
