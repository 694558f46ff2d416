"""The cluster comes up, again and again, and leaves nothing behind: after success, failure, Ctrl-C and SIGKILL. The demo is what it says."""
from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from cluster import room
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


def make(*words: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """`make ...`, as a user runs it in a pipe; all of it is killed when it takes too long."""
    with started(*words, stderr=subprocess.PIPE) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        finally:
            kill(process)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def started(*words: str, stderr: int = subprocess.STDOUT) -> subprocess.Popen[str]:
    """`make ...`, in a process group of its own."""
    return subprocess.Popen(["make", "-s", "-C", str(PROJECT), *words], stdout=subprocess.PIPE, stderr=stderr, text=True, start_new_session=True)


def kill(process: subprocess.Popen[str]) -> None:
    """SIGKILL whatever is left of its group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def test_the_demo_tells_its_story() -> None:
    before = left()
    done = make("demo", timeout=280)
    text = done.stdout + done.stderr
    assert done.returncode == 0, text
    for words in ("SIMULATOR", "[7]", "Nothing was lost.", "power cut", "cable cut", "jobs acknowledged"):
        assert words in text, text
    assert "\033" not in text, "no colours in a pipe"
    assert max(map(len, text.splitlines())) <= 140
    wait_until(lambda: left()[2] <= before[2] and not loops())


@pytest.fixture
def demo() -> Iterator[subprocess.Popen[str]]:
    """A demo in the middle of its story, in a process group of its own; killed after two minutes."""
    process = started("demo")
    watchdog = threading.Timer(120, kill, [process])
    watchdog.start()
    assert process.stdout
    assert any("[3]" in line for line in process.stdout), "the demo does not get to [3]"
    yield process
    watchdog.cancel()
    kill(process)
    process.wait()
    process.stdout.close()


@pytest.mark.parametrize("how", ["SIGINT", "SIGKILL", "nobody reads"])
def test_an_interrupted_demo_leaves_nothing(how: str, request: pytest.FixtureRequest) -> None:
    before = left()
    process: subprocess.Popen[str] = request.getfixturevalue("demo")
    assert loops() and process.stdout
    if how.startswith("SIG"):
        os.killpg(process.pid, signal.Signals[how])
        said = process.stdout.read()
        assert ("demo: interrupted" in said) == (how == "SIGINT") and "Traceback" not in said, said
    else:
        process.stdout.close()
    process.wait(timeout=30)
    wait_until(lambda: left() == before and not loops())


def test_a_cluster_to_play_with_stays_until_it_is_taken_down() -> None:
    before = left()
    up = make("cluster-up", "NODES=3")
    try:
        assert up.returncode == 0 and "jobsiteA runs on node" in up.stdout, up.stdout + up.stderr
        again = make("cluster-up")
        assert again.returncode == 2 and "up already" in again.stderr
        shell = make("cluster-shell", "NODE=node3", "RUN=echo \"[$HOME] '$(uname -n)'\"; crm_mon -1 | grep Online")
        assert shell.stdout.startswith("[/root] 'node3'\n") and "node1 node2 node3" in shell.stdout, shell.stdout + shell.stderr
        assert "no node 'node9'" in make("cluster-shell", "NODE=node9").stderr
        assert make("cluster-fault", "DO=off node3").stdout == "OK\n"
        assert "unknown request" in make("cluster-fault", "DO=frobnicate $HOME").stdout
    finally:
        down = make("cluster-down")
    assert down.returncode == 0, down.stderr
    assert "no cluster of this checkout is up" in make("cluster-down").stderr
    wait_until(lambda: left() == before)


@pytest.mark.parametrize("words, wrong", [(["cluster-up", "NODES=5"], "NODES is 2 or 3, not 5"), (["cluster-up", "NODES="], "NODES is 2 or 3"),
                                          (["cluster-fault"], "DO says what happens"), (["cluster-shell", "NODE="], "NODE is the name")])
def test_wrong_use_is_told_in_the_words_of_make(words: list[str], wrong: str) -> None:
    lines = make(*words).stderr.splitlines()
    assert lines[0].startswith("cluster: " + wrong), lines
    assert sum(line.startswith("  make cluster-") for line in lines) >= 4


# -- rooms, without a cluster in them -------------------------------------------------------------------------------------------------------

STAYS = "import sys; sys.path.insert(0, 'tests'); from cluster import room; print('ready'); room.stay(int(sys.argv[2]), 0)"


@pytest.fixture
def own_state(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rooms of the test, not of the checkout."""
    monkeypatch.setattr(room, "STATE", tmp_path / "state")
    monkeypatch.setattr(room, "LOCK", tmp_path / "lock")
    monkeypatch.setattr(room, "END_SECONDS", 5.0)


@pytest.mark.usefixtures("own_state")
def test_of_two_rooms_opened_at_once_there_is_one() -> None:
    before = left()
    with ThreadPoolExecutor() as pool:
        opened = [pool.submit(room.open_room, ["-c", STAYS]) for _ in range(2)]
    (error,) = filter(None, (one.exception() for one in opened))
    assert isinstance(error, room.NoRoom) and "up already" in str(error)
    with pytest.raises(room.NoRoom, match="still coming up"):
        room.ask_power("list")
    room.close_room()
    assert room.find() is None and not room.STATE.exists()
    wait_until(lambda: left()[2] <= before[2])


@pytest.mark.usefixtures("own_state")
def test_a_room_that_does_not_come_up_ends_with_its_own_code() -> None:
    assert room.open_room(["-c", "raise SystemExit(7)"]) == 7
    assert not room.STATE.exists()
    with pytest.raises(room.NoRoom, match="no cluster of this checkout is up"):
        room.close_room()


@pytest.mark.usefixtures("own_state")
def test_ctrl_c_takes_down_what_is_half_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> bytes:
        raise KeyboardInterrupt
    monkeypatch.setattr(room, "_pass_on", interrupt)
    with pytest.raises(KeyboardInterrupt):
        room.open_room(["-c", STAYS])
    assert room.find() is None and not room.STATE.exists()


@pytest.mark.usefixtures("own_state")
def test_a_room_that_does_not_end_is_killed_and_known_until_it_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "END_SECONDS", 0.3)
    deaf = [sys.executable, "-c", "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"]
    with subprocess.Popen(deaf, stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline()
        room.STATE.write_text(json.dumps({"pid": process.pid, "started": psutil.Process(process.pid).create_time()}))
        with monkeypatch.context() as patch:
            patch.setattr(psutil.Process, "kill", lambda _: None)
            with pytest.raises(room.NoRoom, match="still there: process %d" % process.pid):
                room.close_room()
        assert room.find() is not None
        room.close_room()
        assert process.wait(5) == -signal.SIGKILL and not room.STATE.exists()
