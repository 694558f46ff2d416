"""Which package a file is from. dpkg is this machine's own; rpm, which it has not, answers as rpm 4 does."""
from __future__ import annotations

import subprocess

import pytest

from cjc_agent.tools import packages
from cjc_agent.tools.command import EXITED, NOT_FOUND, TIMED_OUT, Result
from cjc_agent.tools.deadline import Deadline
from unit.helpers import Script

PATH = "/usr/lib/nqs/cjcpw"


def answered(output, code=0):
    return Result("x", EXITED, code, output)


@pytest.mark.parametrize("output, code, found", [
    ("NECJCsv 16.1-1\n", 0, ("NECJCsv", "16.1-1")), ("NECJCsv 16.1-1\nother 1-1\n", 0, ("NECJCsv", "16.1-1")),
    ("file %s is not owned by any package\n" % PATH, 1, ("", "")), ("error: file %s: No such file or directory\n" % PATH, 1, ("", "")),
    ("", 0, ("", "")), ("warning: Found bdb_ro Packages database while attempting sqlite backend\nNECJCsv 16.1-1\n", 0, ("NECJCsv", "16.1-1")),
    ("error: rpmdb\n", 0, ("", "")),
])
def test_rpm(output, code, found):
    script = Script(rpm=answered(output, code))
    script.answers["dpkg-query"] = answered("x: no such command", NOT_FOUND)
    assert packages.owner(PATH, script, Deadline(5)) == found
    assert script.asked[0] == "rpm -qf --queryformat %{NAME} %{VERSION}-%{RELEASE}\\n " + PATH


@pytest.mark.skipif(subprocess.run(["sh", "-c", "command -v dpkg-query"], capture_output=True).returncode != 0, reason="no dpkg on this machine")
@pytest.mark.parametrize("path, name", [("/usr/bin/dpkg-query", "dpkg"), ("/no/such/file", ""), ("/etc/hostname", "")])
def test_dpkg(runner, path, name):
    found = packages.owner(path, runner, Deadline(20))
    assert found[0] == name and bool(found[1]) is bool(name)


def test_a_warning_of_dpkg_is_no_version():
    warned = "dpkg-query: warning: parsing file '/var/lib/dpkg/status' near line 7 package 'x':\n 'Version' field value 'y': invalid character\n"

    class Dpkg:
        def tool(self, words, deadline):
            return answered("", NOT_FOUND) if words[0] == "rpm" else answered(warned + ("necjcsv:amd64: %s\n" % PATH if words[1] == "-S" else "16.1-1\n"))
    assert packages.owner(PATH, Dpkg(), Deadline(5)) == ("necjcsv", "16.1-1")


@pytest.mark.parametrize("silent", ["rpm", "dpkg-query"])
def test_who_does_not_answer_says_nothing_of_the_package(silent):
    script = Script(rpm=answered("", NOT_FOUND))
    script.answers["dpkg-query"] = answered("", 1)
    script.answers[silent] = Result(silent, TIMED_OUT)
    with pytest.raises(TimeoutError, match=silent):
        packages.owner(PATH, script, Deadline(5))
