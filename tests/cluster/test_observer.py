"""The observer sees what is there, double things above all, and raises no false alarm. Two tiny nodes: mounts, addresses, processes are real."""
from __future__ import annotations

import fcntl
import os
import pathlib
import platform
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Optional

import pytest

from cluster.observer import DAEMONS, Boot, Event, NodeState, Observer, State, Violation, namespace_of, processes_named, read_stat
from cluster.timeline import Timeline
from lab import ON_NODE, disk
from lab.site import wait_until

UNSHARE = ["unshare", "--fork", "--kill-child", "--pid", "--mount", "--net", "--mount-proc"]
VIPS = {"vip1": "10.0.2.50", "vip6": "fd00:2::50"}
NO_VIOLATION = {"double mount": 0, "double VIP": 0, "double site": 0}
FREEZE, THAW = 0xC0045877, 0xC0045878  # linux/fs.h
SYS_EXIT = {"x86_64": 60, "aarch64": 93}
DAEMON = """import ctypes, os, signal, sys, threading, time
role, way, argument = sys.argv[1:]
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
open("/proc/self/comm", "w").write("jcsim-" + role)
if way == "write":
    os.write(os.open(argument, os.O_CREAT | os.O_WRONLY), b"x")
if way == "leave a thread":
    threading.Thread(target=time.sleep, args=(1000,)).start()
    signal.sigwait([signal.SIGUSR1])
    ctypes.CDLL(None).syscall(int(argument), 0)
time.sleep(1000)
"""
on_node = pytest.mark.skipif(not ON_NODE, reason="needs the throwaway node: run `make test` as root on Debian")


class TinyNode:
    """Namespaces with a process 1 that does nothing, and a device of its own for the disk "share"."""

    def __init__(self, name: str, image: str, mount_point: pathlib.Path) -> None:
        self.name, self.mount_point = name, str(mount_point)
        self.disk = disk.Disk(image)
        self.kernel_names = {"share": os.path.basename(self.disk.path)}
        self.init_pid: Optional[int] = None
        self.unshare: Optional[subprocess.Popen[bytes]] = None

    def boot(self) -> None:
        self.unshare = subprocess.Popen([*UNSHARE, "sleep", "infinity"])
        children = pathlib.Path("/proc/%d/task/%d/children" % (self.unshare.pid, self.unshare.pid))
        wait_until(lambda: children.read_text() and getattr(read_stat(int(children.read_text())), "comm", "") == "sleep")
        pid = int(children.read_text())
        for words in ("link add v0 type veth peer name v1", "link set v0 up", "link set v1 up"):
            subprocess.run(["nsenter", "-t", str(pid), "-n", "ip", *words.split()], check=True)
        self.init_pid = pid

    def run(self, *words: str) -> None:
        subprocess.run(["nsenter", "-t", str(self.init_pid), "-m", "-p", "-n", *words], check=True, stdin=subprocess.DEVNULL)

    def mount(self) -> None:
        self.run("mount", self.disk.path, self.mount_point)

    def umount(self) -> None:
        self.run("umount", self.mount_point)

    def address(self, verb: str, label: str = "vip1") -> None:
        text = VIPS[label]
        self.run("ip", "addr", verb, text + ("/64" if ":" in text else "/24"), "dev", "v0", *(["nodad"] if ":" in text and verb == "add" else []))

    def daemon(self, role: str, site: str = "jobsiteA", way: str = "sleep", argument: str = "") -> int:
        """Start one; return its pid. When it dies, nobody reaps it: its parent is the node's process 1."""
        before = set(self.daemons())
        self.run("setsid", "-f", "env", "NQS_SITE=" + site, sys.executable, "-I", "-S", "-c", DAEMON, role, way, argument)
        wait_until(lambda: set(self.daemons()) - before)
        return (set(self.daemons()) - before).pop()

    def daemons(self) -> list[int]:
        ours = namespace_of(self.init_pid or 0)
        return [pid for pid, _ in processes_named("jcsim-") if namespace_of(pid) == ours]

    def start_site(self, site: str = "jobsiteA") -> None:
        for role in DAEMONS:
            self.daemon(role, site)

    def stop_site(self) -> None:
        pids = self.daemons()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not self.daemons())

    def die(self) -> None:
        assert self.init_pid
        os.kill(self.init_pid, signal.SIGKILL)

    def off(self) -> None:
        """Die, and see that nothing is left; only then is it off."""
        if self.unshare:
            self.unshare.kill()
            self.unshare.wait()
        wait_until(lambda: not self.init_pid or read_stat(self.init_pid) is None)
        self.init_pid = None
        device = os.path.basename(self.disk.path)
        wait_until(lambda: not os.path.exists("/sys/fs/ext4/" + device))


def is_attached(name: str, image: str) -> bool:
    """Whether that loop device still has that image; the next one who asks for a loop device may have got the same, with another image."""
    try:
        return image in pathlib.Path("/sys/block/%s/loop/backing_file" % name).read_text()
    except OSError:
        return False


@pytest.fixture
def nodes(tmp_path: pathlib.Path) -> Iterator[tuple[TinyNode, TinyNode]]:
    """Two, running, over one disk. Nothing of them is left afterwards."""
    image, mount_point = str(tmp_path / "disk.img"), tmp_path / "share"
    mount_point.mkdir()
    disk.make(image, 16).close()
    made = (TinyNode("node1", image, mount_point), TinyNode("node2", image, mount_point))
    try:
        for node in made:
            node.boot()
        yield made
    finally:
        for node in made:
            node.off()
            node.disk.close()
    wait_until(lambda: not any(is_attached(node.kernel_names["share"], image) for node in made))
    assert not processes_named("jcsim-") and str(mount_point) not in pathlib.Path("/proc/self/mountinfo").read_text()


@pytest.fixture
def observer(nodes: tuple[TinyNode, TinyNode]) -> Iterator[Observer]:
    """At work on the two."""
    with Observer(nodes, VIPS) as working:
        yield working


def told(observer: Observer, node: str = "", since: int = 0) -> list[str]:
    """The events as words."""
    return [" ".join(filter(None, (event.node, event.kind, event.what))) for event in observer.events[since:] if node in ("", event.node)]


def wait_for(observer: Observer, *events: str, since: int = 0) -> None:
    """Wait until all these have been told."""
    wait_until(lambda: set(events) <= set(told(observer, since=since)))


def wait_for_samples(observer: Observer, number: int = 2) -> None:
    """Wait until processes have been looked at so many times from now on."""
    end = observer.process_samples + number
    wait_until(lambda: observer.process_samples >= end)


# -- positive controls --------------------------------------------------------------------------------------------------------------

@on_node
@pytest.mark.parametrize("source", ["file system", "journal", "both"])
def test_double_mount_is_seen(nodes: tuple[TinyNode, TinyNode], observer: Observer, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal is open before the file system is in /sys, and still open when that is no longer there."""
    if source == "journal":
        monkeypatch.setattr("cluster.observer.MOUNT_FOLDERS", ())
    elif source == "file system":
        monkeypatch.setattr("cluster.observer.JOURNAL_FOLDER", "/proc/fs/none")
    nodes[0].mount()
    nodes[1].mount()
    wait_until(lambda: observer.violations)
    wait_for_samples(observer)
    assert observer.violations[0].until is None, "it goes on"
    nodes[0].umount()
    wait_until(lambda: observer.violations[0].until)
    assert observer.counts() == dict(NO_VIOLATION, **{"double mount": 1}), "one that lasts, not one per sample"
    assert (observer.violations[0].what, observer.violations[0].nodes) == ("share", ("node1", "node2"))
    nodes[0].mount()
    wait_until(lambda: observer.counts()["double mount"] == 2)


@on_node
def test_xfs_is_seen_too(nodes: tuple[TinyNode, TinyNode], observer: Observer, tmp_path: pathlib.Path) -> None:
    made = disk.make(str(tmp_path / "xfs.img"), 320, "xfs")
    nodes[0].kernel_names["second"] = os.path.basename(made.path)
    nodes[0].run("mount", made.path, nodes[0].mount_point)
    made.close()
    wait_for(observer, "node1 mounted second")
    nodes[0].umount()
    wait_for(observer, "node1 unmounted second")


@on_node
@pytest.mark.parametrize("label", ["vip1", "vip6"])
def test_double_vip_is_seen(nodes: tuple[TinyNode, TinyNode], observer: Observer, label: str) -> None:
    for node in nodes:
        node.address("add", label)
    wait_until(lambda: observer.violations)
    nodes[1].address("del", label)
    wait_until(lambda: observer.violations[0].until)
    assert observer.counts() == dict(NO_VIOLATION, **{"double VIP": 1})
    assert (observer.violations[0].what, observer.violations[0].nodes) == (label, ("node1", "node2"))


@on_node
def test_double_site_is_seen_from_the_first_daemon_on(nodes: tuple[TinyNode, TinyNode], observer: Observer) -> None:
    nodes[0].start_site()
    nodes[1].start_site("jobsiteB")
    wait_for(observer, "node1 site complete jobsiteA", "node2 site complete jobsiteB")
    wait_for_samples(observer)
    assert observer.counts() == NO_VIOLATION, "two sites"
    nodes[1].daemon("log", "jobsiteA")
    wait_until(lambda: observer.violations)
    nodes[1].stop_site()
    wait_until(lambda: observer.violations[0].until)
    assert observer.counts() == dict(NO_VIOLATION, **{"double site": 1})
    assert (observer.violations[0].what, observer.violations[0].nodes) == ("jobsiteA", ("node1", "node2"))


@on_node
@pytest.mark.parametrize("way", ["stopped", "first thread ended"])
def test_a_daemon_that_may_still_write_counts(nodes: tuple[TinyNode, TinyNode], observer: Observer, way: str) -> None:
    pid = nodes[0].daemon("sched", way="leave a thread", argument=str(SYS_EXIT[platform.machine()]))
    wait_for(observer, "node1 site started jobsiteA")
    os.kill(pid, signal.SIGSTOP if way == "stopped" else signal.SIGUSR1)
    wait_until(lambda: getattr(read_stat(pid), "state", "") == ("T" if way == "stopped" else "Z"))
    nodes[1].daemon("net")
    wait_until(lambda: observer.counts()["double site"] == 1)
    wait_for_samples(observer)
    assert observer.violations[0].until is None


@on_node
def test_what_a_dead_node_still_does_counts(nodes: tuple[TinyNode, TinyNode], observer: Observer) -> None:
    """Its daemon hangs in a write to a disk that does not answer: killed, not dead. The node is down, its processes are not gone."""
    nodes[0].mount()
    nodes[0].address("add")
    frozen = os.open("/proc/%s/root%s" % (nodes[0].init_pid, nodes[0].mount_point), os.O_RDONLY)
    try:
        fcntl.ioctl(frozen, FREEZE, 0)
        pid = nodes[0].daemon("sched", way="write", argument=nodes[0].mount_point + "/written")
        wait_until(lambda: getattr(read_stat(pid), "state", "") == "D")
        wait_for(observer, "node1 mounted share", "node1 vip here vip1", "node1 site started jobsiteA")
        nodes[0].die()
        wait_for(observer, "node1 down", "node1 vip gone vip1")
        nodes[1].mount()
        nodes[1].address("add")
        nodes[1].daemon("net")
        wait_until(lambda: observer.counts()["double site"] and observer.counts()["double mount"])
        wait_for_samples(observer)
        assert observer.counts() == {"double mount": 1, "double site": 1, "double VIP": 0}
        assert observer.state()["node1"] == NodeState(None, frozenset(["share"]), frozenset(), {"jobsiteA": frozenset(["sched"])})
    finally:
        fcntl.ioctl(frozen, THAW, 0)
        os.close(frozen)
    wait_for(observer, "node1 unmounted share", "node1 site gone jobsiteA")
    wait_until(lambda: all(violation.until for violation in observer.violations))


# -- no false alarms ----------------------------------------------------------------------------------------------------------------

@on_node
def test_clean_moves_are_no_violation(nodes: tuple[TinyNode, TinyNode], observer: Observer) -> None:
    for number in range(6):
        new, old = nodes[number % 2], nodes[1 - number % 2]
        since = len(observer.events)
        if number:
            old.stop_site()
            old.umount()
            old.address("del")
        new.address("add")
        new.mount()
        new.start_site()
        wait_for(observer, new.name + " site complete jobsiteA", new.name + " mounted share", new.name + " vip here vip1", since=since)
    wait_for_samples(observer)
    assert observer.counts() == NO_VIOLATION and observer.violations == []


@on_node
def test_zombies_do_not_count(nodes: tuple[TinyNode, TinyNode], observer: Observer) -> None:
    pid = nodes[0].daemon("net")
    wait_for(observer, "node1 site started jobsiteA")
    os.kill(pid, signal.SIGKILL)
    wait_for(observer, "node1 site gone jobsiteA")
    assert getattr(read_stat(pid), "state", "") == "Z", "still there, and nobody reaps it"
    nodes[1].daemon("net")
    wait_for(observer, "node2 site started jobsiteA")
    wait_for_samples(observer)
    assert observer.counts() == NO_VIOLATION


@on_node
def test_processes_of_no_node_do_not_count(nodes: tuple[TinyNode, TinyNode], observer: Observer) -> None:
    nodes[0].daemon("net")
    child = subprocess.Popen([sys.executable, "-I", "-S", "-c", DAEMON, "net", "sleep", ""], env={"NQS_SITE": "jobsiteA"})
    try:
        wait_until(lambda: child.pid in [pid for pid, _ in processes_named("jcsim-")])
        nodes[1].daemon("net", "other")
        wait_for(observer, "node1 site started jobsiteA", "node2 site started other")
        assert observer.counts() == NO_VIOLATION and not [words for words in told(observer) if "site gone" in words]
    finally:
        child.kill()
        child.wait()


class Script:
    """Stands for the reader: the next state at every look, the last one for ever."""

    def __init__(self, *states: State) -> None:
        self.states, self.looks = list(states), 0

    def read(self, before: State, with_processes: bool) -> State:
        self.looks += 1
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]


def scripted(*states: State, **more: object) -> tuple[Observer, Script]:
    """An observer that is not running, and looks at what it is given."""
    observer = Observer([], VIPS, **more)  # type: ignore[arg-type]
    observer._state = {"node1": NodeState(), "node2": NodeState()}
    script = Script(*states)
    observer._reader = script  # type: ignore[assignment]
    return observer, script


def shared(*names: str) -> State:
    """The disk is mounted on these."""
    return {name: NodeState(Boot(1, 1), frozenset(["share"] if name in names else [])) for name in ("node1", "node2")}


def test_what_moves_while_it_looks_is_looked_at_again() -> None:
    both, second = shared("node1", "node2"), shared("node2")
    observer, script = scripted(shared("node1"), both, second, second)
    for _ in range(3):
        observer._sample(False)
    assert observer.violations == [] and script.looks == 4 and told(observer)[-2:] == ["node1 unmounted share", "node2 mounted share"]


def test_what_is_still_double_at_the_second_look_counts_once_until_it_ends() -> None:
    alarms: list[Violation] = []
    both = shared("node1", "node2")
    observer, script = scripted(both, both, both, shared(), both, both, on_violation=alarms.append)
    for _ in range(4):
        observer._sample(False)
    assert script.looks == 6 and [violation.until is None for violation in observer.violations] == [False, True]
    assert [alarm.until for alarm in alarms] == [None, None] and observer.violations[0].t < (observer.violations[0].until or 0)


# -- events -------------------------------------------------------------------------------------------------------------------------

@on_node
def test_events_of_a_node_that_lives_dies_and_comes_back(nodes: tuple[TinyNode, TinyNode], observer: Observer) -> None:
    node = nodes[0]
    node.mount()
    node.address("add")
    node.daemon("net")
    wait_for(observer, "node1 site started jobsiteA")
    node.daemon("log")
    sched = node.daemon("sched")
    wait_for(observer, "node1 site complete jobsiteA")
    assert observer.state()["node1"] == NodeState(observer.state()["node1"].boot, frozenset(["share"]), frozenset(["vip1"]), {"jobsiteA": DAEMONS})
    os.kill(sched, signal.SIGKILL)
    wait_for(observer, "node1 site incomplete jobsiteA")
    assert observer.events[-1].detail == "net log"
    dying = len(observer.events)
    node.die()
    wait_for(observer, "node1 down", "node1 unmounted share", "node1 vip gone vip1", "node1 site gone jobsiteA", since=dying)
    assert told(observer, "node1")[:6] == ["node1 up", "node1 mounted share", "node1 vip here vip1", "node1 site started jobsiteA",
                                           "node1 site complete jobsiteA", "node1 site incomplete jobsiteA"]
    assert told(observer, "node1")[6] == "node1 down" and len(told(observer, "node1")) == 10 and told(observer, "node2") == ["node2 up"]
    first, dead = node.init_pid, len(observer.events)
    node.off()
    node.boot()
    assert node.init_pid != first
    node.daemon("net")
    node.mount()
    wait_for(observer, "node1 site started jobsiteA", "node1 mounted share", since=dead)
    assert sorted(told(observer, since=dead)) == ["node1 mounted share", "node1 site started jobsiteA", "node1 up"]
    assert observer.counts() == NO_VIOLATION and [event.t for event in observer.events] == sorted(event.t for event in observer.events)


def test_a_reboot_between_two_samples_is_seen() -> None:
    observer, _ = scripted({"node1": NodeState(Boot(7, 1)), "node2": NodeState()}, {"node1": NodeState(Boot(7, 2)), "node2": NodeState()})
    observer._sample(True)
    observer._sample(True)
    assert told(observer) == ["node1 up", "node1 down", "node1 up"]


@on_node
def test_how_well_it_watched(nodes: tuple[TinyNode, TinyNode]) -> None:
    with Observer(nodes, VIPS, every=0.01) as observer:
        wait_until(lambda: observer.samples > 20)
    assert observer.process_samples >= 4 and 0.01 <= observer.longest_gap <= observer.longest_process_gap < 10
    assert observer.samples > observer.process_samples
    samples, gap = observer.samples, observer.longest_gap
    time.sleep(0.03)
    assert (observer.samples, observer.longest_gap) == (samples, gap), "it has stopped"


def test_a_silent_gap_shows() -> None:
    observer, _ = scripted(shared())
    observer._sample(True)
    wait_until(lambda: observer.longest_gap > 0.05)


def test_an_observer_that_broke_down_says_so() -> None:
    """It saw nothing because it was blind: that must not pass for "no violation"."""
    def fail(event: Event) -> None:
        if event.kind == "mounted":
            raise BrokenPipeError

    observer, _ = scripted(shared(), shared("node1"), on_event=fail)
    observer.start()
    wait_until(lambda: not observer._thread.is_alive())
    for ask in (observer.counts, observer.state, observer.stop):
        with pytest.raises(RuntimeError, match="broke down"):
            ask()


# -- for people ---------------------------------------------------------------------------------------------------------------------

EVENTS = [Event(101.0, "node1", "up"), Event(102.5, "node1", "mounted", "share"), Event(102.54, "node2", "vip here", "vip1", "10.0.2.50"),
          Event(103.0, "node3", "site complete", "jobsiteA", "net sched log"), Event(110.0, "node1", "site incomplete", "jobsiteA", "net"),
          Event(123.0, "node1", "down")]


def test_the_timeline_in_a_pipe_is_plain(capsys: pytest.CaptureFixture[str]) -> None:
    timeline = Timeline(100.0)
    for event in EVENTS:
        timeline.event(event)
    timeline.violation(Violation(124.0, None, "double mount", "share", ("node1", "node2")))
    assert capsys.readouterr().out.splitlines() == [
        "   1.0 s  node1   power on", "   2.5 s  node1   disk share mounted", "   2.5 s  node2   VIP 10.0.2.50 is here",
        "   3.0 s  node3   JobCenter jobsiteA complete (net sched log)", "  10.0 s  node1   JobCenter jobsiteA INCOMPLETE: only net left",
        "  23.0 s  node1   power off", "  24.0 s  !!! DISK share IS MOUNTED ON node1 AND node2 AT ONCE"]


def test_the_timeline_has_words_for_all_events(capsys: pytest.CaptureFixture[str]) -> None:
    for kind in ("unmounted", "vip gone", "site started", "site gone"):
        Timeline(0.0).event(Event(1.0, "node1", kind, "thing", "detail"))
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_every_node_has_its_colour_unless_nobody_wants_any(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    for event in EVENTS:
        Timeline(100.0, colour=True).event(event)
    lines = capsys.readouterr().out
    assert len(set(re.findall(r"(\033\[\d+m)node\d", lines))) == 3 and "\033[32mJobCenter jobsiteA complete" in lines
    monkeypatch.setenv("NO_COLOR", "1")
    Timeline(100.0, colour=True).event(EVENTS[3])
    assert "\033" not in capsys.readouterr().out


def test_long_words_go_on_below(capsys: pytest.CaptureFixture[str]) -> None:
    Timeline(time.monotonic()).tell("        it says: " + "many words " * 20)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and max(map(len, lines)) < 100 and lines[1].startswith(" " * 18 + "words")


def test_a_table_is_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    Timeline(0.0).table([["planned move", "0.62 s"], ["node killed", "13.57 s"]], ["what happened", "median"])
    assert capsys.readouterr().out.splitlines() == ["what happened   median", "-------------  -------", "planned move    0.62 s",
                                                    "node killed    13.57 s"]
