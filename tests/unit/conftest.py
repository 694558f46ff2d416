"""Fixtures for all unit tests. Children are ended by pid, whatever became of the test."""
from __future__ import annotations

import os
import subprocess
import sys

import pytest

from cjc_agent.tools import processes
from cjc_agent.tools.command import Runner
from unit.helpers import AGENT, IS_ROOT, Words


def pytest_configure(config):
    config.addinivalue_line("markers", "root: needs root")


def pytest_runtest_setup(item):
    if item.get_closest_marker("root") and not IS_ROOT:
        pytest.skip("needs root: it changes owners, users or namespaces")


@pytest.fixture
def start():
    """Start real processes: `start(arguments, **popen)`; all of them are killed and reaped at the end."""
    begun = []

    def _start(arguments, **more):
        child = subprocess.Popen([str(word) for word in arguments], **{"cwd": "/", "stdin": subprocess.DEVNULL, **more})
        begun.append(child)
        return child
    yield _start
    for child in begun:
        child.kill()
        child.wait()
        for stream in (child.stdin, child.stdout, child.stderr):
            if stream:
                stream.close()


@pytest.fixture
def start_python(start):
    """Start a Python child that can import the core and prints `ready` when it is: returns the process once it has said so."""
    def _start(code, *arguments, **more):
        child = start([sys.executable, "-I", "-S", "-c", "import sys; sys.path.insert(0, %r)\n%s" % (str(AGENT), code), *arguments],
                      **{"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, **more})
        assert child.stdout.readline().strip() == b"ready", "the child ended with %s" % child.wait(10)
        return child
    return _start


@pytest.fixture
def sleeper(start):
    """Start a child that does nothing for a minute and return it as a Process."""
    def _start(**more):
        child = start(["/bin/sleep", "60"], **more)
        return processes.read(child.pid)
    return _start


@pytest.fixture
def end_later():
    """Give pids of processes that the test made without a parent who waits: they are killed, and reaped if they are ours."""
    given = []
    yield given.append
    for pid in given:
        for act in (lambda: os.kill(pid, 9), lambda: os.waitpid(pid, 0)):  # noqa: B023 - called at once
            try:
                act()
            except (ProcessLookupError, ChildProcessError):
                pass


@pytest.fixture
def state_folder(tmp_path):
    folder = tmp_path / "state"
    folder.mkdir(mode=0o755)
    return folder


@pytest.fixture
def runner(state_folder):
    """A real runner with its notes in a folder of the test's own."""
    return Runner(str(state_folder), "cjc-unit", lambda text: None)


@pytest.fixture
def log():
    return Words()


@pytest.fixture
def unsettled(monkeypatch):
    """Front ends call settle(): put the working directory and the umask back afterwards, and hand over a clean environment."""
    for name in list(os.environ):
        if name.startswith(("OCF_", "HA_", "LD_", "CLP_", "CJC_")) or name == "NQS_SITE":
            monkeypatch.delenv(name)
    folder, mask = os.getcwd(), os.umask(0o022)
    yield
    os.chdir(folder)
    os.umask(mask)


@pytest.fixture
def product(tmp_path):
    """A product folder with a licence for the CJC Option and a command."""
    home = tmp_path / "nqs"
    (home / "license").mkdir(parents=True)
    (home / "license" / "jobcenter_key.dat").write_text("CJC Option")
    (home / "cjcpw").write_text("#!/bin/sh\n")
    (home / "cjcpw").chmod(0o755)
    return home
