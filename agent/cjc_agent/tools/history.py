"""What became of the last starts and stops of a site on this node, and how long their steps took. It decides nothing, and costs nothing that
counts: what cannot be written is not written, what cannot be believed is not believed.

It lies beside the record in the state folder, which a reboot empties.
"""
from __future__ import annotations

import os
from time import monotonic, time

from cjc_agent.tools import light_json, statefile
from cjc_agent.tools.log import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Optional

START, STOP = "start", "stop"
GOOD = "good"  # an action's outcome (actions.py)
MOST = 20  # entries
LATEST = 1e11  # epoch seconds: far enough away, and still a date


class Entry:
    """One `action` (START, STOP): when it `began` (epoch seconds), its `seconds` in all, its `outcome` (actions.py) and `reason` (one line), and its
    `steps` in their order: (name, seconds). `idle`: it found the site as it should be, so that its seconds are no measure of what it needs."""

    __slots__ = ("action", "began", "seconds", "outcome", "reason", "steps", "idle")

    def __init__(self, action: str, began: float, seconds: float, outcome: str, reason: str, steps: list[tuple[str, float]], idle: bool = False) -> None:
        self.action, self.began, self.seconds, self.outcome, self.idle = action, began, seconds, outcome, idle
        self.reason, self.steps = reason, steps

    def as_json(self) -> dict[str, Any]:
        """Return its parts by name, as they are kept and as they are told to tools."""
        return {name: getattr(self, name) for name in self.__slots__}


class Clock:
    """Times an action: call `begin` with the name of each step. `step` is the one that is at work, `idle` as in Entry."""

    def __init__(self, action: str) -> None:
        self._action, self._began, self._since = action, time(), monotonic()
        self._first = self._since
        self._steps: list[tuple[str, float]] = []
        self.step = ""
        self.idle = False

    def begin(self, step: str) -> None:
        """The step before, if there is one, has ended, and another one begins."""
        now = monotonic()
        if self.step:
            self._steps.append((self.step, round(now - self._since, 3)))
        self.step, self._since = step, now

    def entry(self, outcome: str, reason: str) -> Entry:
        """The action has ended."""
        self.begin("")
        return Entry(self._action, round(self._began, 3), round(monotonic() - self._first, 3), outcome, one_line(reason), self._steps, self.idle)


def path(folder: str, site: str) -> str:
    """Return where the history of a site lies. Not *.json: those are records."""
    return os.path.join(folder, "cjc-%s.history" % site)


def add(folder: str, site: str, entry: Entry) -> str:
    """Note an action; return words for why it could not be noted, "" when it was.

    Two that end in the same instant may leave one entry; whoever holds the site's lock is alone. There is no fsync: a reboot takes it anyway.
    """
    entries = [*_read(folder, site)[0], entry]
    lines = [light_json.dumps(one.as_json()) for one in _kept(entries)]
    try:
        statefile.write(path(folder, site), ("[\n %s\n]\n" % ",\n ".join(lines)).encode())
        return ""
    except OSError as error:
        return "%s: %s" % (path(folder, site), error.strerror)


def _kept(entries: list[Entry]) -> list[Entry]:
    """The newest of them. The last start, and stop, that tells what one needs stays also when as many have failed since."""
    measures = [_last_good(entries, action) for action in (START, STOP)]
    kept = list(entries)
    while len(kept) > MOST:
        kept.remove(next(entry for entry in kept if entry not in measures))
    return kept


def load(folder: str, site: str) -> list[Entry]:
    """Return the last actions, the newest last; none where nothing was noted, or what was cannot be believed."""
    return _read(folder, site)[0]


def doubt(folder: str, site: str) -> str:
    """Return why a site's history cannot be believed, "" when it can, or there is none."""
    return _read(folder, site)[1]


def last_good(folder: str, site: str, action: str) -> Optional[Entry]:
    """Return the newest START or STOP that went well and was not idle: what one needs here. None where none is known."""
    return _last_good(load(folder, site), action)


def _last_good(entries: Iterable[Entry], action: str) -> Optional[Entry]:
    found = [entry for entry in entries if entry.action == action and entry.outcome == GOOD and not entry.idle]
    return found[-1] if found else None


def _read(folder: str, site: str) -> tuple[list[Entry], str]:
    """Return the entries, and why they cannot be believed, "" when they can."""
    where = path(folder, site)
    try:
        data = statefile.read(where)
        return ([] if data is None else [_understood(value) for value in light_json.loads(data.decode("utf-8"))][-MOST:]), ""
    except statefile.Untrusted as error:
        return [], str(error)
    except OSError as error:
        return [], "%s: %s" % (where, error.strerror)
    except (ValueError, TypeError, KeyError, RecursionError):
        return [], "%s: not a history of site %s: remove it" % (where, site)


def _understood(value: Any) -> Entry:
    """Given what JSON has made of an entry, return it. Raise ValueError, TypeError or KeyError when it is not of the form that `add` writes."""
    texts = {name: value[name] for name in ("action", "outcome", "reason")}
    steps = [(name, seconds) for name, seconds in value["steps"]]
    if texts["action"] not in (START, STOP) or not all(type(text) is str for text in (*texts.values(), *(name for name, _ in steps))):
        raise ValueError("not an action's name, words, steps")
    if type(value["idle"]) is not bool:
        raise ValueError("not a truth value")
    for number in (value["began"], value["seconds"], *(seconds for _, seconds in steps)):
        if type(number) not in (int, float) or not 0 <= number < LATEST:  # nor is NaN
            raise ValueError("not a time: %r" % number)
    return Entry(began=value["began"], seconds=value["seconds"], steps=steps, idle=value["idle"], **texts)
