"""Lines that set NQS_SITE for more than one command, and those that only look so."""
from __future__ import annotations

import os

import pytest

from cjc_agent.operator import leaks


@pytest.mark.parametrize("line", [
    "NQS_SITE=a", "export NQS_SITE=a", "export NQS_SITE", "NQS_SITE=a; export NQS_SITE", "A=b NQS_SITE=a", "export A=b NQS_SITE='a b'", "NQS_SITE=\"a\"",
    "[ -d /x ] && export NQS_SITE=a", "if true; then NQS_SITE=a; fi", "f() { export NQS_SITE=a; }", "declare -x NQS_SITE=a", "typeset -gx NQS_SITE",
    "setenv NQS_SITE a", "  NQS_SITE=a # comment", "cjcpw status; NQS_SITE=a", "{ NQS_SITE=a; }", "NQS_SITE=a && cjcpw status", "(export NQS_SITE=a)",
    "set -a; NQS_SITE=a", "export NQS_SITE=\"a",
])
def test_it_is_set_for_what_follows(line):
    assert leaks.exports(line)


@pytest.mark.parametrize("line", [
    "NQS_SITE=a cjcpw status", "A=b NQS_SITE=a cjcpw status", "env NQS_SITE=a cjcpw", "sudo NQS_SITE=a cjcpw", "unset NQS_SITE", "# export NQS_SITE=a",
    "alias c='NQS_SITE=a cjcpw'", "echo export NQS_SITE=a", "f() { NQS_SITE=$1 cjcpw status; }", "if [ -n \"$NQS_SITE\" ]; then echo $NQS_SITE; fi",
    "NQS_SITE=", "export NQS_SITE=", "export -n NQS_SITE", "MY_NQS_SITE=a", "export MY_NQS_SITE=a NQS_SITES=b", "A=NQS_SITE=a", "export A=NQS_SITE",
    "! NQS_SITE=a cjcpw status", "while NQS_SITE=a cjcpw status; do sleep 1; done", "declare NQS_SITES=a", "echo 'NQS_SITE=a", "NQS_SITE=a cjcpw > /dev/null",
    "x=$(NQS_SITE=a cjcpw status)", "", ";", "case $NQS_SITE in a) echo;; esac",
])
def test_it_is_set_for_one_command_at_most(line):
    assert not leaks.exports(line)


@pytest.mark.parametrize("text, line", [
    ("A=b\nNQS_SITE=a\n", 2), ("NQS_SITE = a", 1), ("\"NQS_SITE\"=a", 1), ("export NQS_SITE=a", 1), ("\n\n  NQS_SITE='a'", 3),
    ("#NQS_SITE=a", 0), ("NQS_SITE=\n", 0), ("MY_NQS_SITE=a", 0), ("NQS_SITES=a", 0), ("* * * * * root NQS_SITE=a cjcpw", 0), ("\"NQS_SITE'=a", 0), ("", 0),
    ("NQS_SITE=\"\"\r\n", 0), ("NQS_SITE = ''", 0), ("NQS_SITE=\"a\"", 1), ("NQS_SITE=''a", 1),
])
def test_assignments(text, line):
    assert list(leaks._assigned("file", text)) == ([("file", line)] if line else [])


@pytest.mark.parametrize("text, line", [
    ("[Service]\nEnvironment=NQS_SITE=a\n", 2), ("Environment=A=b \"NQS_SITE=a b\"", 1), ("Environment = A=b \\\n# comment\n\\\n 'NQS_SITE=a'\nB=c", 4),
    ("PassEnvironment=LANG NQS_SITE", 1), ("DefaultEnvironment=NQS_SITE=a", 1), ("Environment=\"NQS_SITE=a", 0), ("Environment=NQS_SITE=\"a", 1),
    ("#Environment=NQS_SITE=a", 0), (";Environment=NQS_SITE=a", 0), ("ExecStart=/usr/bin/env NQS_SITE=a x", 0), ("Environment=A=NQS_SITE=a", 0),
    ("UnsetEnvironment=NQS_SITE", 0), ("Environment=MY_NQS_SITE=a", 0), ("EnvironmentFile=-/nowhere/NQS_SITE", 0), ("# x \\\nEnvironment=NQS_SITE=a", 2),
    ("Environment=NQS_SITE=", 0), ("Environment=A=b \"NQS_SITE=\"", 0),
])
def test_units(text, line):
    assert list(leaks._by_systemd("unit", text)) == ([("unit", line)] if line else [])


def test_a_unit_s_environment_files(tmp_path):
    for name, text in (("a.env", "X=y\nNQS_SITE=a\n"), ("b.env", "X=y\n"), ("c.env", "NQS_SITE=c\n")):
        (tmp_path / name).write_text(text)
    assert list(leaks._by_systemd("unit", "EnvironmentFile=-%s/*.env\n" % tmp_path)) == [(str(tmp_path / "a.env"), 2), (str(tmp_path / "c.env"), 1)]


def test_files_are_told_once_and_only_plain_ones_are_read(tmp_path):
    (tmp_path / "one.sh").write_bytes(b"# \x83\x65\xff\nexport NQS_SITE=a\nexport NQS_SITE=b\n")
    (tmp_path / "two.sh").symlink_to("one.sh")
    (tmp_path / "three.sh~").write_text("export NQS_SITE=a")
    (tmp_path / "four.sh").mkdir()
    os.mkfifo(tmp_path / "five.sh")
    (tmp_path / "six.sh").symlink_to("nowhere")
    (tmp_path / "seven.sh").write_text("export NQS_SITE=a\n" + " " * leaks.LARGEST)
    (tmp_path / os.fsdecode(b"\xff.sh")).write_text("export NQS_SITE=a\n")
    assert leaks.find((str(tmp_path / "*"),)) == {str(tmp_path / "one.sh"): 2, str(tmp_path / "\ufffd.sh"): 1}


@pytest.mark.parametrize("source", [leaks.ASSIGNMENTS, leaks.PROFILES, leaks.OWN_PROFILES, leaks.UNITS])
def test_each_source_has_its_own_reader(source, monkeypatch):
    monkeypatch.setattr(leaks.glob, "glob", lambda pattern: [pattern] if "*" not in pattern else [])
    monkeypatch.setattr(leaks.os.path, "realpath", lambda path: path)
    monkeypatch.setattr(leaks, "_text", lambda path: "Environment=NQS_SITE=a\nexport NQS_SITE=a\n\n\"NQS_SITE\"=a")
    assert set(leaks.find(source).values()) == {1 if source == leaks.UNITS else 2}
