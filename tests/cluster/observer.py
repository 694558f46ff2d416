"""Watches a cluster from outside its nodes: who has which disk mounted, which VIP, which daemons; and whether ever two at once.

It asks nobody in the nodes: all it reads is the lab's own /proc and /sys, so it sees what a node that hangs or dies still does.
What it can miss: anything shorter than the time between two samples (`longest_gap`, `longest_process_gap` say how long that was).
"""
from __future__ import annotations

import contextlib
import ipaddress
import itertools
import os
import re
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Callable, NamedTuple, Optional, Protocol

ROLES = ("net", "sched", "log")  # the daemons of a JobCenter site, as the simulator calls them
DAEMONS = frozenset(ROLES)
DAEMON_PREFIX = "jcsim-"
SAMPLES_PER_PROCESS_SAMPLE = 5
EXITING = 0x4  # PF_EXITING, linux/sched.h
MOUNT_FOLDERS = ("/sys/fs/ext4", "/sys/fs/xfs")
JOURNAL_FOLDER = "/proc/fs/jbd2"  # ext4: an entry "loop3p1-8" while the journal is open
DOUBLE_MOUNT, DOUBLE_VIP, DOUBLE_SITE = "double mount", "double VIP", "double site"
LOCAL_IPV4 = re.compile(rb"\|-- ([\d.]+)\n +/32 host LOCAL")


class Watched(Protocol):
    """A node, as the observer needs it. `init_pid` is as seen in the lab, None while the node is off; both may change at any moment.

    `kernel_names`: shared disk -> this node's device for it, e.g. "share" -> "loop3p1". A name must stay until that mount is gone.
    """

    name: str
    init_pid: Optional[int]
    kernel_names: dict[str, str]


@dataclass(frozen=True)
class Event:
    """Something changed on a node at `t` (time.monotonic(), seconds). `what` is the disk, the label of the VIP, or the site.

    kind: "up", "down", "mounted", "unmounted", "vip here", "vip gone",
    "site started" (its first daemon), "site complete" (net, sched, log), "site incomplete" (no longer complete), "site gone".
    `detail`: the VIP's address, or the site's daemons that are there ("net sched log").
    """

    t: float
    node: str
    kind: str
    what: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Violation:
    """Two nodes (or more) had at once what only one may have, from `t` until `until` (time.monotonic(); None: it has not ended).

    kind: "double mount", "double VIP", "double site"; `what` is the disk, the label of the VIP, or the site.
    """

    t: float
    until: Optional[float]
    kind: str
    what: str
    nodes: tuple[str, ...]


class Boot(NamedTuple):
    """One life of a node: its init's pid as seen in the lab, and that process's start time in clock ticks."""

    pid: int
    started: int


@dataclass(frozen=True)
class NodeState:
    """What one sample saw of a node. `sites`: site -> its daemons that are there, of net, sched and log."""

    boot: Optional[Boot] = None
    disks: frozenset[str] = frozenset()
    vips: frozenset[str] = frozenset()
    sites: dict[str, frozenset[str]] = field(default_factory=dict)

    @property
    def up(self) -> bool:
        """Whether the node's init lives and has not begun to end."""
        return self.boot is not None


State = dict[str, NodeState]  # by node
Doubles = dict[tuple[str, str], frozenset[str]]  # (kind of violation, what) -> the nodes


class Observer:
    """Samples mounts and addresses `every` 20 ms and processes every fifth time, in a daemon thread, between start() and stop().

    mounted: the kernel has the node's device in use as a file system, in whatever mount namespace. That is from opening the journal,
    which is before a replay, until the journal is closed (/sys/fs/ext4 alone misses both ends). What follows is the last write of the
    superblock, about 1 ms. A mount that fails after opening the journal is seen too: it may have written.
    VIP here: the address is assigned, on a link that is up, in the network namespace of the node's init.
    A daemon is there until it is dead: also while it is stopped, hangs in the kernel after SIGKILL, or is a zombie of which only the
    first thread has ended. (One that is first seen while it dies is not recognised: its environment is gone.)
    So the daemons and mounts of a node that is down count until they are really gone; its VIPs do not.

    No sample is atomic: what moves from one node to another in the middle of it looks double. Therefore a violation counts only when
    a second look, at once, shows it again. True overlaps that are shorter than these two looks (a few ms with processes, less than
    1 ms without) are beyond our resolution.

    `events` and `violations` grow while it runs; `on_event` and `on_violation` are called in its thread: a slow one makes it miss
    samples. An error in the thread ends the watch, and stop(), counts() and state() raise it: nothing seen is not taken for nothing done.
    """

    def __init__(self, nodes: Sequence[Watched], vips: dict[str, str], on_event: Optional[Callable[[Event], None]] = None,
                 every: float = 0.02, on_violation: Optional[Callable[[Violation], None]] = None) -> None:
        self.events: list[Event] = []
        self.violations: list[Violation] = []
        self._addresses = vips
        self._on_event, self._on_violation, self._every = on_event, on_violation, every
        self._reader = Reader(nodes, vips)
        self._state: State = {node.name: NodeState() for node in nodes}
        self._open: dict[tuple[str, str], int] = {}  # (kind, what) -> index in `violations`
        self._pace, self._process_pace = Pace(), Pace()
        self._error: Optional[BaseException] = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="observer", daemon=True)

    # -- its life -----------------------------------------------------------------------------------------------------------------

    def start(self) -> Observer:
        """Take the first sample now, then go on in the background. What is there already is told as events."""
        self._sample(True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Take a last sample and end. Raise what went wrong in the background, if anything. May be called twice."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._raise_error()

    def __enter__(self) -> Observer:
        return self.start()

    def __exit__(self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        self.stop()

    # -- what it saw --------------------------------------------------------------------------------------------------------------

    def counts(self) -> dict[str, int]:
        """How many violations of each kind there were, 0 included."""
        self._raise_error()
        kinds = [violation.kind for violation in list(self.violations)]
        return {kind: kinds.count(kind) for kind in (DOUBLE_MOUNT, DOUBLE_VIP, DOUBLE_SITE)}

    def state(self) -> State:
        """node -> what the last sample saw there."""
        self._raise_error()
        return dict(self._state)

    @property
    def samples(self) -> int:
        """How many samples of mounts and addresses were taken."""
        return self._pace.count

    @property
    def longest_gap(self) -> float:
        """The longest time between two of these, in seconds; while it runs, also between the last one and now."""
        return self._pace.longest_gap(running=not self._stop.is_set())

    @property
    def process_samples(self) -> int:
        """How many samples of processes were taken."""
        return self._process_pace.count

    @property
    def longest_process_gap(self) -> float:
        """The longest time between two of these, in seconds; while it runs, also between the last one and now."""
        return self._process_pace.longest_gap(running=not self._stop.is_set())

    # -- in the thread ------------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            due = time.monotonic()
            for number in itertools.count(1):
                due = max(due + self._every, time.monotonic())
                last = self._stop.wait(max(0.0, due - time.monotonic()))
                self._sample(last or number % SAMPLES_PER_PROCESS_SAMPLE == 0)
                if last:
                    return
        except BaseException as error:  # kept for the main thread
            self._error = error

    def _raise_error(self) -> None:
        if self._error is not None:
            raise RuntimeError("the observer broke down: what it says it saw is not complete") from self._error

    def _sample(self, with_processes: bool) -> None:
        t = time.monotonic()
        seen = self._reader.read(self._state, with_processes)
        double = doubles(seen)
        if double.keys() - self._open.keys():
            with_processes = True
            seen = self._reader.read(seen, True)
            double = confirmed(double, doubles(seen))
        self._pace.tick(t)
        if with_processes:
            self._process_pace.tick(t)
        before, self._state = self._state, seen
        self._note_violations(t, double)
        for event in changes(t, before, seen, self._addresses):
            self.events.append(event)
            if self._on_event:
                self._on_event(event)

    def _note_violations(self, t: float, double: Doubles) -> None:
        for key in self._open.keys() - double.keys():
            index = self._open.pop(key)
            self.violations[index] = replace(self.violations[index], until=t)
        for key, nodes in double.items():
            if key in self._open:
                old = self.violations[self._open[key]]
                self.violations[self._open[key]] = replace(old, nodes=tuple(sorted(nodes.union(old.nodes))))
                continue
            self._open[key] = len(self.violations)
            self.violations.append(Violation(t, None, *key, tuple(sorted(nodes))))
            if self._on_violation:
                self._on_violation(self.violations[-1])


class Pace:
    """Counts samples and keeps the longest time between two."""

    def __init__(self) -> None:
        self.count, self._last, self._longest = 0, 0.0, 0.0

    def tick(self, t: float) -> None:
        """A sample was taken at `t` (time.monotonic())."""
        if self.count:
            self._longest = max(self._longest, t - self._last)
        self.count, self._last = self.count + 1, t

    def longest_gap(self, running: bool) -> float:
        """In seconds; while `running`, the time since the last sample is a gap too."""
        return max(self._longest, time.monotonic() - self._last if running and self.count else 0.0)


# -- what samples mean --------------------------------------------------------------------------------------------------------------

def doubles(state: State) -> Doubles:
    """What is on two nodes or more."""
    nodes: dict[tuple[str, str], set[str]] = {}
    for name, node in state.items():
        for kind, things in ((DOUBLE_MOUNT, node.disks), (DOUBLE_VIP, node.vips), (DOUBLE_SITE, node.sites)):
            for what in things:
                nodes.setdefault((kind, what), set()).add(name)
    return {key: frozenset(names) for key, names in nodes.items() if len(names) > 1}


def confirmed(first: Doubles, second: Doubles) -> Doubles:
    """What both looks saw on the same two nodes or more."""
    both = {key: nodes & second.get(key, frozenset()) for key, nodes in first.items()}
    return {key: nodes for key, nodes in both.items() if len(nodes) > 1}


def changes(t: float, before: State, after: State, addresses: dict[str, str]) -> list[Event]:
    """The events between two samples, node by node, power first."""
    found = []
    for name, new in after.items():
        old = before[name]
        if old.boot != new.boot:  # both when the node was rebooted between the two samples
            found += [Event(t, name, kind) for boot, kind in ((old.boot, "down"), (new.boot, "up")) if boot]
        for kind, gone, here in (("unmounted", old.disks, new.disks), ("mounted", new.disks, old.disks)):
            found += [Event(t, name, kind, disk) for disk in sorted(gone - here)]
        for kind, gone, here in (("vip gone", old.vips, new.vips), ("vip here", new.vips, old.vips)):
            found += [Event(t, name, kind, label, addresses[label]) for label in sorted(gone - here)]
        for site in sorted({*old.sites, *new.sites}):
            there = new.sites.get(site, frozenset())
            found += [Event(t, name, kind, site, in_order(there)) for kind in _site_changes(old.sites.get(site, frozenset()), there)]
    return found


def _site_changes(old: frozenset[str], new: frozenset[str]) -> Iterable[str]:
    if new and not old:
        yield "site started"
    if old and not new:
        yield "site gone"
    elif old >= DAEMONS and not new >= DAEMONS:
        yield "site incomplete"
    elif new >= DAEMONS and not old >= DAEMONS:
        yield "site complete"


def in_order(daemons: Iterable[str]) -> str:
    """The daemons' names as people read them, net sched log, whatever of it is there."""
    return " ".join(sorted(sorted(daemons), key=lambda name: (*ROLES, name).index(name)))


# -- reading ------------------------------------------------------------------------------------------------------------------------

class Stat(NamedTuple):
    """What /proc/PID/stat says of a process."""

    comm: str
    state: str
    flags: int
    threads: int
    started: int

    @property
    def dead(self) -> bool:
        """Nothing of it runs or will run. A zombie with more than one thread still does: its first thread alone has ended."""
        return self.state in "ZXx" and self.threads <= 1


class Reader:
    """Reads the nodes; remembers of a daemon what no longer can be read once it is dying."""

    def __init__(self, nodes: Sequence[Watched], vips: dict[str, str]) -> None:
        self._nodes = list(nodes)
        self._ipv4 = {str(ipaddress.ip_address(text)).encode(): label for label, text in vips.items() if ":" not in text}
        self._ipv6 = {ipaddress.ip_address(text).packed.hex().encode(): label for label, text in vips.items() if ":" in text}
        self._names: dict[str, str] = {}  # link of a pid namespace -> node, of all its boots: daemons of the last one may still be dying
        self._boots: dict[str, Boot] = {}  # node -> the boot whose link is in there last
        self._known: dict[tuple[int, int, str], tuple[str, str]] = {}  # (pid, start time, comm) of a daemon -> (that link, site)

    def read(self, before: State, with_processes: bool) -> State:
        """All nodes as they are now; without processes, the daemons are those of `before`."""
        boots = {node.name: self._boot(node.name, node.init_pid) for node in self._nodes}
        mounted = mounted_devices()
        sites = self._sites() if with_processes else {name: state.sites for name, state in before.items()}
        found = {}
        for node in self._nodes:
            boot = boots[node.name]
            disks = frozenset(disk for disk, device in dict(node.kernel_names).items() if device in mounted)
            found[node.name] = NodeState(boot, disks, self._vips(boot.pid) if boot else frozenset(), sites.get(node.name, {}))
        return found

    def _boot(self, name: str, pid: Optional[int]) -> Optional[Boot]:
        stat = read_stat(pid) if pid else None
        if not pid or stat is None:
            return None
        boot = Boot(pid, stat.started)
        if self._boots.get(name) != boot:
            link = namespace_of(pid)
            if link:
                self._names[link], self._boots[name] = name, boot
        return None if stat.dead or stat.flags & EXITING else boot

    def _vips(self, pid: int) -> frozenset[str]:
        found: set[str] = set()
        if self._ipv4:
            found.update(self._ipv4.get(address, "") for address in LOCAL_IPV4.findall(read_bytes("/proc/%d/net/fib_trie" % pid)))
        if self._ipv6:
            found.update(self._ipv6.get(line[:32], "") for line in read_bytes("/proc/%d/net/if_inet6" % pid).split(b"\n"))
        return frozenset(found - {""})

    def _sites(self) -> dict[str, dict[str, frozenset[str]]]:
        """node -> site -> its daemons."""
        found: dict[str, dict[str, set[str]]] = {}
        known = {}
        for pid, stat in processes_named(DAEMON_PREFIX):
            key = (pid, stat.started, stat.comm)
            link, site = self._known.get(key) or (namespace_of(pid), site_of(pid))
            if link and site:
                known[key] = (link, site)
                if link in self._names:
                    found.setdefault(self._names[link], {}).setdefault(site, set()).add(stat.comm[len(DAEMON_PREFIX):])
        self._known = known
        return {name: {site: frozenset(daemons) for site, daemons in sites.items()} for name, sites in found.items()}


def mounted_devices() -> set[str]:
    """Kernel names of the devices that the kernel has in use as ext4 or xfs, among other entries."""
    found: set[str] = set()
    for folder in MOUNT_FOLDERS:
        found.update(list_folder(folder))
    found.update(name.rpartition("-")[0] for name in list_folder(JOURNAL_FOLDER))
    return found


def processes_named(prefix: str) -> list[tuple[int, Stat]]:
    """All processes of the lab and its nodes that are not dead and whose name begins so."""
    beginning, found = b"(" + prefix.encode(), []
    for name in os.listdir("/proc"):
        if "0" <= name[0] <= "9":
            text = read_bytes("/proc/" + name + "/stat")
            if text.find(beginning, 0, 16) >= 0:
                stat = parse_stat(text)
                if not stat.dead:
                    found.append((int(name), stat))
    return found


def read_stat(pid: int) -> Optional[Stat]:
    """None when there is no such process."""
    text = read_bytes("/proc/%d/stat" % pid)
    return parse_stat(text) if text else None


def parse_stat(text: bytes) -> Stat:
    """proc(5): "pid (comm) state ..."; the name may contain anything."""
    head, _, tail = text.decode(errors="replace").rpartition(")")
    fields = tail.split()
    return Stat(head.partition("(")[2], fields[0], int(fields[6]), int(fields[17]), int(fields[19]))


def namespace_of(pid: int) -> str:
    """The pid namespace of a process, "pid:[4026532201]"; empty when it is gone."""
    try:
        return os.readlink("/proc/%d/ns/pid" % pid)
    except OSError:
        return ""


def site_of(pid: int) -> str:
    """NQS_SITE in the environment that the process was started with; empty when there is none, or the process is dying."""
    for entry in read_bytes("/proc/%d/environ" % pid).split(b"\0"):
        if entry.startswith(b"NQS_SITE="):
            return entry[len(b"NQS_SITE="):].decode(errors="replace")
    return ""


def read_bytes(path: str) -> bytes:
    """All of a file of /proc; empty when it, or its process, is gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        text = part = os.read(descriptor, 65536)
        while part:  # the kernel hands out what fits in a page, whatever we ask for
            part = os.read(descriptor, 65536)
            text += part
        return text
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def list_folder(path: str) -> list[str]:
    """Its entries; none when it does not exist."""
    with contextlib.suppress(FileNotFoundError):
        return os.listdir(path)
    return []
