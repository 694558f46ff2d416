"""What a fault is: a small record. The lists are in disk.py, holders.py, ...; engine.py runs them."""
from __future__ import annotations

import contextlib
import pathlib
from dataclasses import dataclass, field
from typing import Callable

from lab.site import Site

# When the fault is there, and which call meets it. A fault names those that make sense for it.
PROBE = "probe"  # the site is stopped; the cluster asks whether it runs
START = "start"  # the site is stopped
RUNNING, RUNNING_10, RUNNING_20 = "running", "running, level 10", "running, level 20"  # the site was started, then it breaks; a recurring monitor
STOP = "stop"  # the site was started, then it breaks
MOMENTS = (PROBE, START, RUNNING, RUNNING_10, RUNNING_20, STOP)

RUNS, FAILED, NOT_RUNNING, DEGRADED = 0, 1, 7, 190
NOT_INSTALLED, NOT_PERMITTED, MISCONFIGURED, BAD_DIRECTORY = 5, 4, 6, 2


@dataclass(frozen=True)
class See:
    """What the call must answer: exit `code` (a tuple where the kernel's timing decides), `says`: texts that its reason must contain:
    object, what is wrong, what to do; `never`: texts that no word of the agent may contain; `timeout`: the cluster's, in seconds, before
    which the call must have returned; `then`: a further check of the site."""

    code: int | tuple[int, ...]
    says: str | tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    timeout: float = 30.0
    then: Callable[[Site], None] = lambda site: None

    @property
    def codes(self) -> tuple[int, ...]:
        """The exit codes that will do."""
        return self.code if isinstance(self.code, tuple) else (self.code,)

    @property
    def words(self) -> tuple[str, ...]:
        """The texts that the reason must contain; {site}, {directory}, {device}, {site_db}, {vip} stand for the site's own."""
        return self.says if isinstance(self.says, tuple) else (self.says,)


Injection = Callable[[Site], contextlib.AbstractContextManager[None]]


@dataclass(frozen=True)
class Fault:
    """One row. `layer`: disk, address, jobcenter, node. `inject`: a context manager of the site: it breaks something, its end heals it.

    `see`: moment -> what the agent must answer; a list of them: call after call. `site`: makes the site. `quick`: also in every CI run.
    `recovers`: once healed, the site can be started again just so.
    """

    layer: str
    name: str
    inject: Injection
    see: dict[str, See] = field(default_factory=dict)
    site: Callable[[pathlib.Path], Site] = Site
    quick: bool = True
    recovers: bool = True
    parameters: dict[str, str] = field(default_factory=dict)  # of the agent, besides the usual ones, in every call

    @property
    def title(self) -> str:
        """As in tables and test names."""
        return "%s: %s" % (self.layer, self.name)
