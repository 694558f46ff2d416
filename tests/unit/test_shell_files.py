"""Every shell file of the project is POSIX sh, and clean in the eyes of shellcheck and checkbashisms."""
from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from unit.helpers import ROOT


def shell_files():
    """Whatever begins as a script of a shell, and what `sh` is told to run."""
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=False).stdout.split("\0")
    paths = [ROOT / name for name in listed if name] or [path for path in ROOT.rglob("*") if ".venv" not in path.parts]  # an archive has no git
    found = []
    for path in paths:
        if path.is_file() and not path.is_symlink():
            first = path.open("rb").readline()
            if re.match(rb"#! ?/(usr/)?bin/(env )?(sh|bash|dash)\b", first) or path.suffix in (".sh", ".pcs"):
                found.append(path)
    return found


def test_they_are_found():
    names = {str(path.relative_to(ROOT)) for path in shell_files()}
    assert {"ocf/jobcenter", "packaging/cjc-agent", "clusterpro/start.sh", "clusterpro/stop.sh", "clusterpro/genw.sh", ".ci/run", "tests/run", "tests/setup",
            "docs/pacemaker/one-site.pcs"} <= names


@pytest.mark.parametrize("command", [["shellcheck", "-s", "sh"], ["checkbashisms", "--posix", "--force"]], ids=lambda command: command[0])
def test_they_are_clean(command):
    if shutil.which(command[0]) is None:
        pytest.skip("%s is not installed" % command[0])
    done = subprocess.run([*command, *map(str, shell_files())], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("path", [path for path in shell_files() if path.read_bytes().startswith(b"#!")], ids=lambda path: str(path.relative_to(ROOT)))
def test_they_are_for_sh(path):
    assert path.open("rb").readline() == b"#!/bin/sh\n"
