"""What the system's package manager says of an installed file: rpm(8) where it knows the file, else dpkg-query(1)."""
from __future__ import annotations

from cjc_agent.tools.command import Result, Runner
from cjc_agent.tools.deadline import Deadline

WARNINGS = ("warning: ", "error: ", "dpkg-query: ", " ")  # how lines begin that are no answer


def owner(path: str, runner: Runner, deadline: Deadline) -> tuple[str, str]:
    """Given a file's path, return the (name, version) of the package that it was installed with, ("", "") when none is known.

    rpm's version is VERSION-RELEASE; dpkg's is as it prints it. Raise TimeoutError when a manager does not answer: then nothing is known.
    """
    said = _ask(runner, deadline, "rpm", "-qf", "--queryformat", "%{NAME} %{VERSION}-%{RELEASE}\\n", path)
    words = _answer(said.output).split(" ")
    if said.ok and len(words) == 2:
        return words[0], words[1]
    said = _ask(runner, deadline, "dpkg-query", "-S", path)
    name = _answer(said.output).partition(": ")[0].split(",")[0].strip() if said.ok else ""
    if not name or " " in name:
        return "", ""
    said = _ask(runner, deadline, "dpkg-query", "-W", "-f", "${Version}\\n", name)
    answer = _answer(said.output)
    return (name.partition(":")[0], answer) if said.ok and answer else ("", "")


def _ask(runner: Runner, deadline: Deadline, *words: str) -> Result:
    said = runner.tool(list(words), deadline)
    if said.exit_code is None:
        raise TimeoutError(said.words())
    return said


def _answer(output: str) -> str:
    """The first line that is no warning (dpkg's go on in lines with a space in front): both managers carry on after one, about an old database say,
    and what it says, taken for a version, would refuse a start."""
    return next((line.rstrip() for line in output.split("\n") if line.strip() and not line.startswith(WARNINGS)), "")
