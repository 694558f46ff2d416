"""An action disturbed at one of its steps: strace(1) kills the agent, or lets a system call of it fail, at the N-th call of that name.

Only the agent itself is traced, not its children, unless `children`: then each of them meets the fault at its own N-th call.
"""
from __future__ import annotations

import collections
import contextlib
import pathlib
import re
from collections.abc import Iterator

from lab.site import Answer, Site

BEGIN = 'readlink("/proc/self"'  # the agent's first act: what comes before is the shell's and Python's own
Point = tuple[str, int]  # a system call's name, and which call of that name


@contextlib.contextmanager
def called_by(site: Site, *words: str) -> Iterator[None]:
    """The agent is called through another command."""
    site.caller = list(words)
    try:
        yield
    finally:
        site.caller = []


def points(site: Site, folder: pathlib.Path, action: str, names: tuple[str, ...], every: int = 1, **environment: str) -> tuple[Answer, list[Point]]:
    """Call an action undisturbed; return its answer and every `every`-th of its steps: calls of `names` that the agent made, in order."""
    path = folder / "trace"
    with called_by(site, "strace", "-o", str(path)):
        answer = site.call(action, **environment)
    counted: collections.Counter[str] = collections.Counter()
    found, begun = [], False
    for line in path.read_text(errors="replace").splitlines():
        name = re.match(r"\w+", line)
        begun = begun or line.startswith(BEGIN)
        if name:
            counted[name.group()] += 1
            if begun and name.group() in names:
                found.append((name.group(), counted[name.group()]))
    assert found, "nothing to disturb in %s" % action
    return answer, found[every // 2::every]


def disturbed(site: Site, point: Point, what: str, action: str, children: bool = False, **environment: str) -> Answer:
    """Call an action that meets `what` (`signal=KILL`, `error=EMFILE` ...) at one step; a `+` in `what` is for all later ones, too."""
    name, number = point
    words = ["strace", *(["-f"] if children else []), "-o", "/dev/null", "-e", "trace=" + name,
             "-e", "inject=%s:%s:when=%d%s" % (name, what.rstrip("+"), number, "+" if what.endswith("+") else "")]
    with called_by(site, *words):
        return site.call(action, **environment)
