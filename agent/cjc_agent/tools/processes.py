"""Processes as the kernel tells them (proc(5)). A process is its pid *and* its start time: pids are used again."""
from __future__ import annotations

import os

from cjc_agent.tools import procfs
from cjc_agent.tools.deadline import Deadline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, TypeVar

    T = TypeVar("T")


class Process:
    """One line of /proc/PID/stat: `pid`, `ppid`, `session`, `tty` (0: no controlling terminal), `start` (ticks after boot), `state`, `comm`."""

    __slots__ = ("pid", "ppid", "session", "tty", "start", "state", "comm")

    def __init__(self, pid: int, ppid: int, session: int, tty: int, start: int, state: str, comm: str) -> None:
        self.pid, self.ppid, self.session, self.tty = pid, ppid, session, tty
        self.start, self.state, self.comm = start, state, comm

    @property
    def identity(self) -> tuple[int, int]:
        """What tells it from every other process of this boot."""
        return self.pid, self.start

    @property
    def dead(self) -> bool:
        """A zombie: it only waits for its parent to ask for its exit code."""
        return self.state in ("Z", "X")

    def words(self) -> str:
        """Its name and pid, for people."""
        return "%s[%d]" % (self.comm, self.pid)


def parse_stat(text: str) -> Process | None:
    """Given the text of /proc/PID/stat, return the process, or None when the text is not understood."""
    try:
        head, tail = text.rsplit(")", 1)  # the name may hold anything, also ")"
        pid, comm = head.split(" (", 1)
        words = tail.split()
        # a first thread that has ended looks like a zombie while others work on, or still die: the process is gone when they are
        state = "S" if words[0] == "Z" and int(words[17]) > 1 else words[0]
        return Process(int(pid), int(words[1]), int(words[3]), int(words[4]), int(words[19]), state, comm)
    except (ValueError, IndexError):
        return None


def read(pid: int) -> Process | None:
    """Given a pid, return its process, or None when there is none."""
    return parse_stat(contents(pid, "stat").decode("utf-8", "replace"))


def contents(pid: int, name: str) -> bytes:
    """Return the bytes of /proc/PID/name; nothing when the process has gone or may not be read. Raise OSError when we lack what reading needs."""
    try:
        return procfs.read("/proc/%d/%s" % (pid, name))
    except OSError as error:
        return unless_lacking(error, b"")


def unless_lacking(error: OSError, value: T) -> T:
    """Return `value` for a process that has gone or may not be looked at; one that only we could not look at is not gone: raise."""
    if error.errno in procfs.LACKING:
        raise error
    return value


def link(pid: int, name: str) -> str:
    """Return where /proc/PID/name points, as text (the target itself is not touched); "" when there is nothing."""
    try:
        return os.readlink("/proc/%d/%s" % (pid, name))
    except OSError as error:
        return unless_lacking(error, "")


def descriptors(pid: int, through: str = "") -> list[str]:
    """Return the names below /proc/PID/fd (see `through`); none when the process has gone or may not be looked at."""
    try:
        return os.listdir("/proc/%d/%sfd" % (pid, through))
    except OSError as error:
        return unless_lacking(error, [])


def environment(pid: int, through: str = "") -> list[bytes]:
    """Return the NAME=value entries a process was started with, as it has left them (see `through`); empty for kernel threads and zombies."""
    return contents(pid, through + "environ").split(b"\0")


def through(pid: int) -> str:
    """Return what to put before a name below /proc/PID: "", or "task/TID/" where the first thread has ended and others have not: what all
    threads share (memory, files, folders) the kernel shows only there."""
    if link(pid, "cwd"):
        return ""
    try:
        others = os.listdir("/proc/%d/task" % pid)
    except OSError:
        return ""
    return next(("task/%s/" % other for other in others if link(pid, "task/%s/cwd" % other)), "")


def table() -> dict[int, Process]:
    """Return all processes, pid -> Process."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            process = read(int(name))
            if process:
                found[process.pid] = process
    return found


def alive(process: Process) -> bool:
    """Whether this very process still runs."""
    now = read(process.pid)
    return now is not None and now.start == process.start and not now.dead


def ancestors(processes: dict[int, Process], pid: int) -> set[int]:
    """Return the pid itself and those of all its parents."""
    found: set[int] = set()
    while pid in processes and pid not in found:
        found.add(pid)
        pid = processes[pid].ppid
    return found


def descendants(processes: dict[int, Process], roots: Iterable[int]) -> set[int]:
    """Return the pids of all children, grandchildren ... of `roots`, without the roots."""
    children: dict[int, list[int]] = {}
    for process in processes.values():
        children.setdefault(process.ppid, []).append(process.pid)
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        for child in children.get(waiting.pop(), []):
            if child not in found:
                found.add(child)
                waiting.append(child)
    return found


def is_ancestor(pid: int) -> bool:
    """Whether a pid is ours or that of a parent, grandparent ... of ours."""
    here = os.getpid()
    for _ in range(1000):  # a chain that changes under our eyes must not become a circle
        if here == pid:
            return True
        process = read(here)
        if process is None or process.ppid <= 0:
            return False
        here = process.ppid
    return True


def send(process: Process, number: int) -> bool:
    """Send a signal to this very process; return whether it was sent. Never to a namesake, to us, to a parent of ours or to init."""
    if process.pid <= 1 or is_ancestor(process.pid):
        return False
    descriptor = None
    try:
        try:
            descriptor = os.pidfd_open(process.pid)
        except AttributeError:
            pass
        except OSError:
            if read(process.pid) is None:
                return False
        if not alive(process):
            return False
        if descriptor is None:
            os.kill(process.pid, number)
        else:
            import signal
            signal.pidfd_send_signal(descriptor, number)  # type: ignore[attr-defined]
        return True
    except (ProcessLookupError, PermissionError):
        return False
    finally:
        if descriptor is not None:
            os.close(descriptor)


def wait_gone(processes: Iterable[Process], deadline: Deadline) -> list[Process]:
    """Wait until none of `processes` runs any more or the deadline passes; return those that still do."""
    left = list(processes)
    for _ in deadline.polls():
        left = [process for process in left if alive(process)]
        if not left:
            break
    return left


def boot_id() -> str:
    """Return what names this boot of the kernel (random(4))."""
    return procfs.read("/proc/sys/kernel/random/boot_id").decode("ascii").strip()


def describe(processes: Iterable[Process], most: int = 5) -> str:
    """Name processes for people: name, pid and uid (unless it is root's), at most `most` of them."""
    listed = list(processes)
    words = [process.words() + _owner(process) for process in listed[:most]]
    if len(listed) > most:
        words.append("%d more" % (len(listed) - most))
    return ", ".join(words)


def _owner(process: Process) -> str:
    try:
        psutil = load_psutil()
        uid = psutil.Process(process.pid).uids().real if psutil else 0
        return " (uid %d)" % uid if uid else ""  # the name could hang in a dead LDAP
    except Exception:  # psutil has its own errors, and words must never change a judgement
        return ""


def has_psutil() -> bool:
    """Whether psutil is installed for this Python: its package lies in a site folder, with a C half that this Python can load.

    To import it would cost a start 25 ms, for words that a healthy one does not say. What is not found this way may still be importable.
    """
    import site
    from importlib.machinery import PathFinder
    package = PathFinder.find_spec("psutil", site.getsitepackages())
    folders = package.submodule_search_locations if package else None
    return bool(folders and PathFinder.find_spec("psutil._psutil_linux", folders)) or load_psutil() is not None


def load_psutil() -> Any:
    """Return psutil, or None where it is not installed. It lies in the site folders, which `-S` left out of the search path."""
    import io
    import site
    import sys
    if set(sys.path).isdisjoint(site.getsitepackages()):
        site.main()
    kept, sys.stderr = sys.stderr, io.StringIO()  # where /proc/stat cannot be read it prints a traceback, and can be used all the same
    try:
        import psutil
    except ImportError:
        return None
    finally:
        sys.stderr = kept
    return psutil
