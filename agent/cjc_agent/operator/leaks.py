"""Files that fill the environments of many processes at once, and the lines in them that put NQS_SITE there.

It belongs to single commands (seed): before one command, `NQS_SITE=siteA cjcpw status`, it is no leak, wherever that stands. These functions read
files: call them in a child that may be abandoned.
"""
from __future__ import annotations

import glob
import os
import re
import shlex
from collections.abc import Iterator

from cjc_agent.tools import procfs

NAME = "NQS_SITE"
LARGEST = 1 << 20  # bytes
NO_LONGER = ("~", ".bak", ".rpmsave", ".rpmorig", ".rpmnew", ".dpkg-old", ".dpkg-dist", ".dpkg-new")  # left by editors and packages, read by nobody

ASSIGNMENTS = ("/etc/environment", "/etc/crontab", "/etc/anacrontab", "/etc/cron.d/*", "/var/spool/cron/*",
               "/var/spool/cron/crontabs/*", "/var/spool/cron/tabs/*")
PROFILES = ("/etc/profile", "/etc/profile.d/*.sh", "/etc/profile.d/*.csh", "/etc/bash.bashrc", "/etc/bashrc")
OWN_PROFILES = ("/root/.profile", "/root/.bashrc", "/root/.bash_profile")
UNITS = tuple(folder + name for folder in ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib") for name in (
    "/systemd/system/*.service", "/systemd/system/*.socket", "/systemd/system/*.mount", "/systemd/system/*.swap", "/systemd/system/*.d/*.conf",
    "/systemd/system.conf", "/systemd/system.conf.d/*.conf"))  # systemd.unit(5), systemd-system.conf(5)


def find(patterns: tuple[str, ...]) -> dict[str, int]:
    """Given one of the four tuples above, return file -> the first line in it that sets NQS_SITE."""
    judge = {ASSIGNMENTS: _assigned, UNITS: _by_systemd}.get(patterns, _exported)
    found: dict[str, int] = {}
    for path in dict.fromkeys(os.path.realpath(path) for pattern in patterns for path in sorted(glob.glob(pattern)) if not path.endswith(NO_LONGER)):
        for place, line in judge(path, _text(path)):
            found.setdefault(os.fsencode(place).decode("utf-8", "replace"), line)
    return found


def _text(path: str) -> str:
    """The text of a plain file, whatever its encoding; "" of all else."""
    try:
        data = procfs.read(path) if os.path.isfile(path) and os.path.getsize(path) <= LARGEST else b""
    except OSError:
        return ""
    return data.decode("utf-8", "replace")


def _assigned(path: str, text: str) -> Iterator[tuple[str, int]]:
    """Lines `NAME=value`, as crontabs (crontab(5): also quoted, and with spaces), /etc/environment and a service's EnvironmentFile have them."""
    for number, line in enumerate(text.split("\n"), 1) if NAME in text else ():
        if re.match(r"""\s*(export\s+)?(["']?)%s\2\s*=(?!\s*(""|'')?\s*$)""" % NAME, line):
            yield path, number


# -- shells --------------------------------------------------------------------------------------------------------------------------------

FIRST_WORDS = {"then", "do", "else", "elif", "if", "while", "until", "{", "}", "!", "time"}  # a command follows


def _exported(path: str, text: str) -> Iterator[tuple[str, int]]:
    """Commands of a shell that set it for what follows."""
    for number, line in _lines(text) if NAME in text else ():
        if NAME in line and exports(line):
            yield path, number


def exports(line: str) -> bool:
    """Whether a line of shell commands sets NQS_SITE for more than one of them: an assignment of its own, or an `export` (csh: setenv)."""
    words = shlex.shlex(line, posix=True, punctuation_chars=True)
    words.whitespace_split = True
    try:
        listed = list(words)
    except ValueError:  # a quotation that goes on in the next line
        listed = line.split()
    command, assigned = "", False
    for word in [*listed, ";"]:
        if not word.strip(";&|()<>"):
            if assigned and not command:
                return True
            command, assigned = "", False
        elif not command and re.match(r"[A-Za-z_]\w*=", word):
            assigned = assigned or (word.startswith(NAME + "=") and word != NAME + "=")
        elif not command and word not in FIRST_WORDS:
            command = word
        elif command in ("declare", "typeset") and re.match(r"-\w*x", word):
            command = "export"
        elif command in ("export", "setenv") and word.split("=")[0] == NAME and word != NAME + "=" and "-n" not in listed:
            return True
    return False


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines that a backslash joins are one; its number is that of the part with NQS_SITE, else of the last. Comments are left out."""
    at, joined = 0, ""
    for number, line in enumerate(text.split("\n"), 1):
        if line.lstrip()[:1] in ("#", ";"):
            continue
        at = number if NAME in line or NAME not in joined else at
        joined += line[:-1] + " " if line.endswith("\\") else line
        if not line.endswith("\\"):
            yield at, joined
            joined = ""
    if joined:
        yield at, joined


# -- systemd -------------------------------------------------------------------------------------------------------------------------------


def _by_systemd(path: str, text: str) -> Iterator[tuple[str, int]]:
    """Settings of a unit, a drop-in or of systemd itself (systemd.exec(5)), and what stands in the files that they name."""
    for number, line in _lines(text) if NAME in text or "EnvironmentFile" in text else ():
        key, _, value = line.partition("=")
        key, value = key.strip(), value.strip()
        if key in ("Environment", "DefaultEnvironment", "PassEnvironment"):
            if any(word.split("=")[0] == NAME and word != NAME + "=" for word in _words(value)):
                yield path, number
        elif key == "EnvironmentFile":
            for file in sorted(glob.glob(value.lstrip("-"))):
                yield from _assigned(file, _text(file))


def _words(value: str) -> list[str]:
    try:
        return shlex.split(value)
    except ValueError:
        return value.split()
