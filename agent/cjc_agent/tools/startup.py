"""The first thing a front end does: become independent of how it was called."""
from __future__ import annotations

import os

try:  # the C half, as in command.py
    import _signal as signals
except ImportError:
    import signal as signals  # type: ignore[no-redef]


def blind() -> str:
    """Return words for why nothing of this node can be seen, "" when it can: /proc is missing, or tells of another pid namespace than ours,
    in which a pid is somebody else's."""
    try:
        if os.readlink("/proc/self") == str(os.getpid()):
            return ""
    except OSError:
        pass
    return "/proc of this pid namespace is not mounted: mount -t proc proc /proc"


def open_descriptors() -> None:
    """Open descriptors 0-2 where they are closed."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open("/dev/null", os.O_RDWR)  # takes the lowest free number: this one


def settle() -> None:
    """Open descriptors 0-2 where they are closed, leave a working directory that may be unreadable, set the umask, drop what must not leak.

    What the dynamic linker made of LD_* before we ran cannot be undone here; the wrapper removes it before the interpreter starts.
    """
    open_descriptors()
    signals.signal(signals.SIGCHLD, signals.SIG_DFL)  # ignored by the caller, and left so by bash: then no child can be waited for
    os.chdir("/")
    os.umask(0o022)  # files that matter are made 0600 all the same
    for name in [name for name in os.environ if name == "NQS_SITE" or name.startswith("LD_")]:
        del os.environ[name]
