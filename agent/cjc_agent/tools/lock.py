"""One start or stop per site at a time. A POSIX record lock: it dies with its holder, and a forked child does not inherit it (fcntl(2))."""
from __future__ import annotations

import errno
import fcntl
import os
import struct
import time

from cjc_agent.tools import processes, statefile
from cjc_agent.tools.deadline import Deadline


class Busy(Exception):
    """Somebody else has the lock; the text names who, what for and since when."""


class Holder:
    """Who has a lock: `pid` (0: of a pid namespace that we do not see), `what` for ("" when it has not said so yet), `seconds` since it began.

    It began with its process: what it waited for the lock counts, as it does for a cluster's timeout.
    """

    __slots__ = ("pid", "what", "seconds")

    def __init__(self, pid: int, words: list[bytes]) -> None:
        signed = len(words) == 3 and words[2].isdigit() and (pid <= 0 or words[0] == b"%d" % pid)
        self.pid, self.what = max(pid, 0), words[1].decode("utf-8", "replace") if signed else ""
        process = processes.read(pid) if pid > 0 else None
        if process:  # by the boot's clock (proc(5), starttime), which nobody sets
            self.seconds = max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - process.start / os.sysconf("SC_CLK_TCK"))
        else:
            self.seconds = max(0.0, time.time() - int(words[2])) if signed else 0.0


class Lock:
    """The lock of one site; `path` is its file in the state folder, which stays (removing it would race)."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor = -1

    def take(self, what: str, deadline: Deadline) -> None:
        """Take the lock for `what` (an action's name), waiting until the deadline. Raise Busy, or OSError when there can be no lock."""
        statefile.make_folder(os.path.dirname(self._path))
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
        words = statefile.complaint(os.fstat(self._descriptor))
        if words:
            self.release()
            raise OSError(errno.EPERM, words, self._path)
        for _ in deadline.polls(first=0.02):
            try:
                fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                continue
            self._sign(what)
            return
        holder = os.pread(self._descriptor, 200, 0).decode("utf-8", "replace").split()
        self.release()
        raise Busy("%s (pid %s) works on this site" % (holder[1], holder[0]) if len(holder) == 3 else "another action works on this site")

    def _sign(self, what: str) -> None:
        """Say in the file who has the lock. That the state folder is full takes nothing from the lock."""
        try:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, ("%d %s %d\n" % (os.getpid(), what, time.time())).encode(), 0)
        except OSError:
            pass

    def is_held(self) -> bool:
        """Whether somebody else has the lock now."""
        return self.holder() is not None

    def holder(self) -> Holder | None:
        """Return who else has the lock now. It is only looked at, not taken; where there is no lock file nobody has it.

        Never for a lock that this process holds: closing any descriptor of the file gives a POSIX lock back (fcntl(2)).
        """
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return None
        try:
            # struct flock: type, whence, start, length, pid
            asked = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            kind, _, _, _, pid = struct.unpack("hhqqi", fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
            return None if kind == fcntl.F_UNLCK else Holder(pid, os.pread(descriptor, 200, 0).split())
        finally:
            os.close(descriptor)

    def signature(self) -> bytes:
        """Return what the last one who took the lock wrote into it: it differs from taking to taking. b"" where nobody ever did.

        As `holder`, never for a lock that this process holds.
        """
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return b""
        try:
            return os.pread(descriptor, 200, 0)
        except OSError:  # a folder of that name
            return b""
        finally:
            os.close(descriptor)

    def release(self) -> None:
        """Give the lock back."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
