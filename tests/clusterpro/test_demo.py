"""`make demo-clusterpro`, as a user runs it, on a node inside the node; and what is left when it is interrupted."""
from __future__ import annotations

import os
import pathlib
import signal
import subprocess

import pytest

from lab.site import PROJECT, all_processes, wait_until

COMMAND = ["make", "-s", "-C", str(PROJECT), "demo-clusterpro"]


@pytest.fixture(autouse=True)
def name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Name the disks of the demo: other labs on this machine have loop devices, too."""
    monkeypatch.setenv("CJC_LAB_NAME", "-of-demo-clusterpro-%d" % os.getpid())


def loops() -> list[str]:
    """The demo's disks that are attached to a loop device of this machine."""
    found = []
    for path in pathlib.Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            found += [path.parts[3]] if path.read_text().strip().endswith(os.environ["CJC_LAB_NAME"]) else []
        except OSError:
            continue
    return found


def test_the_demo_tells_its_story_and_what_became_of_the_jobs() -> None:
    done = subprocess.run(COMMAND, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    for words in ("CLUSTERPRO is a SIMULATOR", "JobCenter is a SIMULATOR", "cjc-agent render clusterpro", "(FAILOVER): exit 0", "(START): exit 1",
                  "move to where it fails  node2 -> node2", "jobs acknowledged", "Nothing was lost."):
        assert words in done.stdout, words
    assert done.stdout.index("jobs lost") < done.stdout.index("double mounts") and "\033" not in done.stdout
    wait_until(lambda: not loops())


def test_an_interrupted_demo_leaves_nothing() -> None:
    links, mounts = os.listdir("/sys/class/net"), pathlib.Path("/proc/self/mountinfo").read_text()
    for number in (signal.SIGINT, signal.SIGKILL):
        before = set(all_processes())
        with subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True) as demo:
            assert demo.stdout
            assert any("[3]" in line for line in demo.stdout)
            assert loops()
            os.killpg(demo.pid, number)
            rest = demo.stdout.read()
            demo.wait(timeout=20)
        assert demo.returncode != 0 and "Traceback" not in rest and "Nothing was lost" not in rest, rest
        wait_until(lambda before=before: set(all_processes()) <= before)  # type: ignore[misc]
        wait_until(lambda: not loops())
        assert os.listdir("/sys/class/net") == links and pathlib.Path("/proc/self/mountinfo").read_text() == mounts
