"""The cluster comes up, again and again, and leaves nothing behind: after success, failure, Ctrl-C and SIGKILL. The demo is what it says."""
from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator

import pytest

from cluster.cluster import ROOM, Cluster, WaitedInVain
from lab.site import PROJECT, all_processes, wait_until

OURS = "-of-%s" % uuid.uuid4().hex  # in the names of our disks: other clusters on this machine have loop devices, too


@pytest.fixture(autouse=True)
def name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Name the disks of the clusters that are made here, by whichever program."""
    monkeypatch.setenv("CJC_LAB_NAME", OURS)


def loops() -> list[str]:
    """Loop devices of this machine behind which our disks are."""
    found = []
    for path in pathlib.Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            if path.read_text().strip().endswith(OURS):
                found.append(path.parts[3])
        except OSError:
            continue
    return found


def left() -> tuple[list[str], str, set[int]]:
    """What a cluster could leave here: links, mounts, processes."""
    return os.listdir("/sys/class/net"), pathlib.Path("/proc/self/mountinfo").read_text(), set(all_processes())


def test_up_and_down_five_times_in_a_row() -> None:
    before = left()
    for _ in range(5):
        cluster = Cluster(2)
        cluster.up()
        assert all(node.run("crm_node", "-q").stdout.strip() == "1" for node in cluster.nodes), "both have quorum"
        cluster.down()
        wait_until(lambda: left() == before and not loops())
        assert not ROOM.exists()


def test_what_was_waited_for_in_vain_is_told_with_the_state_of_the_cluster() -> None:
    cluster = Cluster(2)
    try:
        cluster.up()
        with pytest.raises(WaitedInVain, match="(?s)until pigs fly.*== node1.*Online: .*node2"):
            cluster.wait(lambda: False, "pigs fly", 0.1)
    finally:
        cluster.down()


def story() -> tuple[int, str]:
    """`make demo`, as a user runs it in a pipe."""
    done = subprocess.run(["make", "-s", "-C", str(PROJECT), "demo"], capture_output=True, text=True, timeout=280)
    return done.returncode, done.stdout + done.stderr


def test_the_demo_tells_its_story() -> None:
    before = left()
    code, text = story()
    assert code == 0, text
    for words in ("SIMULATOR", "[7]", "Nothing was lost.", "power cut", "cable cut", "jobs acknowledged"):
        assert words in text, text
    assert "\033" not in text, "no colours in a pipe"
    assert max(map(len, text.splitlines())) <= 140
    wait_until(lambda: left()[2] <= before[2] and not loops())


@pytest.fixture
def demo() -> Iterator[subprocess.Popen[str]]:
    """A demo in the middle of its story, in a process group of its own."""
    process = subprocess.Popen(["make", "-s", "-C", str(PROJECT), "demo"], stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout
    for line in process.stdout:
        if "[3]" in line:
            break
    yield process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_demo_leaves_nothing(number: int, request: pytest.FixtureRequest) -> None:
    before = left()
    process: subprocess.Popen[str] = request.getfixturevalue("demo")
    assert loops()
    os.killpg(process.pid, number)
    process.wait(timeout=30)
    wait_until(lambda: left() == before and not loops())


def test_a_cluster_to_play_with_stays_until_it_is_taken_down() -> None:
    before = left()

    def cluster(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, str(PROJECT / "tests/cluster"), *words], capture_output=True, text=True, timeout=120)

    up = cluster("up", "--nodes", "3")
    try:
        assert up.returncode == 0 and "jobsiteA runs on node" in up.stdout, up.stdout + up.stderr
        again = cluster("up")
        assert again.returncode == 1 and "up already" in again.stderr
        shell = cluster("shell", "node3", "uname -n; crm_mon -1 | grep Online")
        assert shell.stdout.startswith("node3\n") and "node1 node2 node3" in shell.stdout, shell.stdout + shell.stderr
        assert "no node 'node9'" in cluster("shell", "node9").stderr
        assert cluster("fault", "off", "node3").stdout == "OK\n"
        assert "unknown request" in cluster("fault", "frobnicate", "node3").stdout
    finally:
        down = cluster("down")
    assert down.returncode == 0, down.stderr
    assert "no cluster of this checkout is up" in cluster("down").stderr
    wait_until(lambda: left() == before)
