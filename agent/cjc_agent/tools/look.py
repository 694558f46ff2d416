"""Looking at files that may lie on a file system that hangs: many at once, in a child that may be abandoned."""
from __future__ import annotations

import errno
import json
import os
import stat

from cjc_agent.tools import procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Optional

    from cjc_agent.tools.command import Runner
    from cjc_agent.tools.deadline import Deadline

MOST_CONTENT = 1 << 20  # bytes
_numbers: dict[str, int] = {}


class Seen:
    """What was seen of a path: `error` ("" or the system's words, or "does not answer"), `errno`, `mode`, `uid`, `gid`, `size`, `data` of a plain file
    (None: not read) and `real`, the path without links."""

    __slots__ = ("path", "error", "errno", "mode", "uid", "gid", "size", "data", "real")

    def __init__(self, path: str, facts: dict[str, Any]) -> None:
        self.path = path
        self.error, self.errno = str(facts.get("error", "")), int(facts.get("errno", 0))
        self.mode, self.uid, self.gid, self.size = (int(facts.get(name, 0)) for name in ("mode", "uid", "gid", "size"))
        text = facts.get("data")
        self.data: Optional[bytes] = None if text is None else bytes.fromhex(text)
        self.real = str(facts.get("real", path))

    @property
    def missing(self) -> bool:
        """Whether there is nothing of that name."""
        return self.errno in (2, 20)  # ENOENT, ENOTDIR

    @property
    def silent(self) -> bool:
        """Whether it hangs, and nothing of it was seen."""
        return self.errno == errno.ETIMEDOUT

    @property
    def is_file(self) -> bool:
        """Whether it is a plain file."""
        return stat.S_ISREG(self.mode)

    @property
    def is_folder(self) -> bool:
        """Whether it is a directory."""
        return stat.S_ISDIR(self.mode)

    @property
    def others_write(self) -> bool:
        """Whether its group or everybody can write it, or it is neither root's nor ours."""
        return bool(self.mode & 0o022) or self.uid not in (0, os.geteuid())


def at(paths: Sequence[str], runner: Runner, deadline: Deadline, contents: bool = True) -> dict[str, Seen]:
    """Look at paths (links are followed); return path -> what was seen. One that hangs is told as not answering."""
    numbers = {number(path): path for path in paths}
    try:
        answers = runner.each("look at files", list(numbers), lambda item: json.dumps(_facts(numbers[item], contents)), deadline)
    except TimeoutError as error:
        answers = dict.fromkeys(numbers)
        hung = str(error.strerror)
    else:
        hung = "its file system does not answer"
    return {path: Seen(path, json.loads(answers[item] or "null") or {"error": hung, "errno": errno.ETIMEDOUT}) for item, path in numbers.items()}


def number(name: str) -> int:
    """Return a number for something that Runner.each is to look at: one of its own, for what hung is remembered by it, and no process's."""
    return _numbers.setdefault(name, -1 - len(_numbers))


def _facts(path: str, contents: bool) -> dict[str, Any]:
    try:
        facts = os.stat(path)
        found = {"mode": facts.st_mode, "uid": facts.st_uid, "gid": facts.st_gid, "size": facts.st_size, "real": os.path.realpath(path)}
    except OSError as error:
        return {"error": error.strerror, "errno": error.errno}
    except ValueError:
        return {"error": "no name that a file can have", "errno": 22}
    if contents and stat.S_ISREG(facts.st_mode):
        try:
            found["data"] = procfs.read(path)[:MOST_CONTENT].hex() if facts.st_size <= MOST_CONTENT else None
        except OSError as error:
            found.update(error=error.strerror, errno=error.errno)
    return found
