"""Jobs that testify independently of the site's own ledger, and the account of what became of them.

A folder (the witness) on a tmpfs outside of the nodes is bind-mounted into every node. Each job holds a lock there for as long as any of
its processes lives, on whichever node, and appends a line to one log when it starts and when it ends.
"""
from __future__ import annotations

import collections
import dataclasses
import pathlib
import re
import shlex
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple

KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # it goes into a shell command line and into a file name
TWICE_CODE = 99  # the exit code of a job that found itself running already
BROKEN_CODE = 98  # ... of one that could not lock at all
NAMED = 5  # so many keys are named in one line of words

# Reading /proc with the shell's own `read` spares the forks of uname and date: a job costs two, flock(1) and sleep(1). The lock belongs to
# the open file, which all processes of the job inherit as descriptor 9: the kernel frees it with the last of them.
SCRIPT = """\
read n </proc/sys/kernel/hostname
say() { read t _ </proc/uptime; echo "$1 %(key)s $n $t" >>%(folder)s/log; }
exec 9>>%(folder)s/%(key)s.lock
flock -n -E %(twice)d 9
case $? in
0) say start && sleep %(seconds)s && say end;;
%(twice)d) say TWICE; exit %(twice)d;;
*) exit %(broken)d;;
esac"""


class Word(NamedTuple):
    """One line of the witness's log: what happened to which job on which node, `time` in seconds of /proc/uptime (to 0.01 s)."""

    what: str  # start, end or TWICE
    key: str
    node: str
    time: float


@dataclasses.dataclass(frozen=True)
class Testimony:
    """What the jobs said: how often each started, which ended, and every attempt to run one while it was running."""

    started: collections.Counter[str]
    ended: frozenset[str]
    twice: list[Word]


@dataclasses.dataclass(frozen=True)
class Account:
    """What became of the acknowledged jobs (sets of keys). `run_again` is allowed after a crash; `lost` and `twice` never are.

    `lost`: not in the listing, or failed, or called done although nobody saw its end. `run_again` (started more than once) and `twice` (at the
    same time) count jobs whose acknowledgement never came, too.
    """

    acknowledged: frozenset[str]
    done: frozenset[str]
    lost: frozenset[str]
    waiting: frozenset[str]
    run_again: frozenset[str]
    twice: frozenset[str]

    def words(self) -> str:
        """All counts in one line; the first of the lost and of the twice ones are named."""
        line = "%d jobs acknowledged: %d done, %d waiting, %d run again, %d lost, %d twice at the same time" % tuple(
            len(keys) for keys in (self.acknowledged, self.done, self.waiting, self.run_again, self.lost, self.twice))
        for name, keys in (("lost", self.lost), ("twice", self.twice)):
            if keys:
                line += "; %s: %s%s" % (name, " ".join(sorted(keys)[:NAMED]), " ..." if len(keys) > NAMED else "")
        return line


def command(key: str, seconds: float, folder: str = "/witness") -> str:
    """Given a job's key and how long it lasts in seconds, return its shell command line (POSIX sh, util-linux flock).

    Raise ValueError for a key that could not be a file name and a word.
    """
    if not KEY.fullmatch(key):
        raise ValueError("no key for a job: %r" % key)
    return SCRIPT % {"key": key, "seconds": "%.3f" % seconds, "folder": shlex.quote(folder), "twice": TWICE_CODE, "broken": BROKEN_CODE}


def words(folder: str | pathlib.Path) -> list[Word]:
    """All that was said so far, oldest first. A line that is not yet complete was not yet said; raise ValueError for nonsense."""
    log = pathlib.Path(folder, "log")
    if not log.exists():
        return []
    complete = log.read_text(encoding="ascii").rpartition("\n")[0]
    return [_word(line) for line in complete.splitlines()]


def _word(line: str) -> Word:
    what, key, node, time = line.split(" ")
    if what not in ("start", "end", "TWICE"):
        raise ValueError("no testimony: %r" % line)
    return Word(what, key, node, float(time))


def read(folder: str | pathlib.Path) -> Testimony:
    """The testimony of all jobs whose witness is `folder`. Raise ValueError for nonsense in it (a full tmpfs cuts lines off)."""
    said = words(folder)
    return Testimony(
        started=collections.Counter(word.key for word in said if word.what == "start"),
        ended=frozenset(word.key for word in said if word.what == "end"),
        twice=[word for word in said if word.what == "TWICE"])


def account(acknowledged: AbstractSet[str], listing: list[dict[str, Any]], testimony: Testimony) -> Account:
    """Given the acknowledged keys, the rows of the site's LIST and the jobs' testimony, return what became of the jobs.

    Take the acknowledged keys first, the listing next and the testimony last: so each knows what the one before it can mention.
    """
    states = {row["client_key"]: row["state"] for row in listing}
    done = frozenset(key for key in acknowledged if states.get(key) == "done" and key in testimony.ended)
    waiting = frozenset(key for key in acknowledged if states.get(key) in ("queued", "running"))
    return Account(
        acknowledged=frozenset(acknowledged), done=done, waiting=waiting, lost=frozenset(acknowledged) - done - waiting,
        run_again=frozenset(key for key, times in testimony.started.items() if times > 1),
        twice=frozenset(word.key for word in testimony.twice))
