"""What the system's package manager says of an installed file: rpm(8) where it knows the file, else dpkg-query(1)."""
from __future__ import annotations

from cjc_agent.tools.command import Runner
from cjc_agent.tools.deadline import Deadline


def owner(path: str, runner: Runner, deadline: Deadline) -> tuple[str, str]:
    """Given a file's path, return the (name, version) of the package that it was installed with, ("", "") when none is known.

    rpm's version is VERSION-RELEASE; dpkg's is as it prints it. A manager that does not answer in time knows nothing.
    """
    said = runner.tool(["rpm", "-qf", "--queryformat", "%{NAME} %{VERSION}-%{RELEASE}\\n", path], deadline)
    words = said.output.strip().split("\n")[0].split(" ")
    if said.ok and len(words) == 2:
        return words[0], words[1]
    said = runner.tool(["dpkg-query", "-S", path], deadline)
    name = said.output.partition(": ")[0].split(",")[0].strip() if said.ok else ""
    if not name or " " in name:
        return "", ""
    said = runner.tool(["dpkg-query", "-W", "-f", "${Version}\\n", name], deadline)
    return (name.partition(":")[0], said.output.strip().split("\n")[0]) if said.ok and said.output.strip() else ("", "")
