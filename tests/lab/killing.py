"""A command killed at each of its steps, one after the other: what is found afterwards, and what the same command makes of it when it is called again."""
from __future__ import annotations

import os
import pathlib
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator

KILLER = pathlib.Path(__file__).with_name("killed_at.py")


def killed(number: int, command: list[str], environment: dict[str, str], whole: str = "") -> str:
    """Kill the command with all that it started at its n-th change; return what it was about to do, "" when it had ended before. Then it must
    have ended well."""
    done = subprocess.run([sys.executable, "-I", "-S", str(KILLER), str(number), whole, *command], env=environment, capture_output=True, text=True,
                          errors="replace", timeout=120, check=True)
    said = done.stdout.strip()
    assert said == "ended 0" or said.startswith("killed at "), said + done.stderr
    return said[len("killed at "):] if said != "ended 0" else ""


def each_step(command: list[str], environment: dict[str, str], reset: Callable[[], None], whole: str = "") -> Iterator[str]:
    """Kill at the first change, the second, ... until the command comes through; yield what it was about to do each time. `reset` goes before.
    `whole`: a program whose work counts as one step."""
    number = 0
    while True:
        number += 1
        reset()
        where = killed(number, command, environment, whole)
        if not where:
            return
        yield where


def tree(folder: pathlib.Path, without: tuple[str, ...] = ()) -> dict[str, tuple[object, ...]]:
    """What lies in a folder: path -> (mode, uid, gid, attributes, contents), but for names that begin with one of `without`."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(folder.rglob("*")):
        if without and any(part.startswith(without) for part in path.relative_to(folder).parts):
            continue
        facts = path.lstat()
        attributes = {name: os.getxattr(path, name, follow_symlinks=False) for name in os.listxattr(path, follow_symlinks=False)}
        contents = os.readlink(path) if path.is_symlink() else path.read_bytes() if stat.S_ISREG(facts.st_mode) else None
        found[str(path.relative_to(folder))] = (oct(facts.st_mode), facts.st_uid, facts.st_gid, attributes, contents)
    return found
