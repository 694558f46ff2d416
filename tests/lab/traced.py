"""What a call of the agent really executes: every execve(2) of the whole tree, as strace sees it at the kernel's door."""
from __future__ import annotations

import os
import pathlib
import re

from lab.site import AGENT, Site, wait_until


class Exec:
    """One successful execve: the `program`'s path, its argument `words` (the first is its own name) and its `environment`."""

    def __init__(self, program: str, words: list[str], environment: list[str]) -> None:
        self.program, self.words, self.environment = program, words, environment

    @property
    def name(self) -> str:
        """The program's bare name."""
        return self.program.rsplit("/", 1)[-1]

    @property
    def line(self) -> str:
        """Path and arguments, for comparing."""
        return " ".join([self.program, *self.words[1:]])


def main_ended(log: pathlib.Path) -> int | None:
    """The exit code of the first process in strace's log, once it has ended."""
    text = log.read_text(errors="replace") if log.exists() else ""
    match = re.search(r"^%s +\+\+\+ exited with (\d+) \+\+\+$" % text.split(" ", 1)[0], text, re.MULTILINE) if text else None
    return int(match.group(1)) if match else None


def trace(site: Site, action: str, calls: str, /, code: int = 0, command: tuple[str, ...] = (), **changes: str) -> str:
    """Run an action under strace, which notes the system `calls`; return its log. `command`: instead of the agent and its action."""
    log = site.state.parent / ("strace-" + action)
    log.unlink(missing_ok=True)
    words = ["/usr/bin/strace", "-I2", "-f", "-v", "-s", "100000", "-e", "trace=" + calls, "-o", str(log), *(command or (AGENT, action))]
    tracer = site.popen(*words, env=site.call_environment(**changes), stdout=-3, stderr=-3)
    wait_until(lambda: main_ended(log) is not None, 60)
    tracer.terminate()  # strace would wait for the daemons: let it go of them
    tracer.wait(timeout=10)
    text = log.read_text(errors="replace")
    assert main_ended(log) == code, text[-2000:]
    return text


def execs_of(site: Site, action: str, /, code: int = 0, command: tuple[str, ...] = (), **changes: str) -> list[Exec]:
    """Run an action under strace; return every successful execve in the whole tree, in order. The first is strace's own."""
    found = []
    for line in trace(site, action, "execve,execveat", code=code, command=command, **changes).split("\n"):
        match = re.match(r'\d+ +execve\("((?:[^"\\]|\\.)*)", \[(.*?)\], \[(.*)\](?:\) += 0| <unfinished \.\.\.>)$', line)
        if match:
            words, environment = ([_plain(word) for word in re.findall(r'"((?:[^"\\]|\\.)*)"', match.group(part))] for part in (2, 3))
            found.append(Exec(_plain(match.group(1)), words, environment))
        else:
            assert " execve" not in line or "= -1 E" in line, "strace's line was not understood: " + line
    return found


def _plain(text: str) -> str:
    """Undo strace's escapes, which are C's."""
    return os.fsdecode(text.encode().decode("unicode_escape").encode("latin-1"))
