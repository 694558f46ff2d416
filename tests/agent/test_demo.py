"""`make demo-single`, as a user runs it, on a node inside the node; and what is left when it is interrupted."""
from __future__ import annotations

import os
import pathlib
import signal
import subprocess

from lab.site import PROJECT, all_processes, wait_until


def loops() -> set[str]:
    """Backing files of the demo's disks that are attached to a loop device of this machine."""
    files = {path.read_text().strip() for path in pathlib.Path("/sys/block").glob("loop*/loop/backing_file")}
    return {file for file in files if "/demo-" in file}


def test_the_demo_tells_its_story() -> None:
    before = loops()
    done = subprocess.run(["make", "-s", "-C", str(PROJECT), "demo-single"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SIMULATOR" in done.stdout and "jobs acknowledged 8, done 8, lost 0" in done.stdout
    assert "\033" not in done.stdout, "no colours in a pipe"
    wait_until(lambda: loops() <= before)


def test_an_interrupted_demo_leaves_nothing() -> None:
    before_loops, before_mounts = loops(), pathlib.Path("/proc/self/mountinfo").read_text()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        before = set(all_processes())
        demo = subprocess.Popen(["make", "-s", "-C", str(PROJECT), "demo-single"], stdout=subprocess.PIPE, text=True, start_new_session=True)
        assert demo.stdout
        for line in demo.stdout:
            if "[3]" in line:
                break
        os.killpg(demo.pid, number)
        demo.wait(timeout=20)
        wait_until(lambda before=before: set(all_processes()) <= before)
        wait_until(lambda: loops() <= before_loops)
        assert pathlib.Path("/proc/self/mountinfo").read_text() == before_mounts
