"""/proc/self/mountinfo (proc_pid_mountinfo(5)): what is mounted here, without touching any file system."""
from __future__ import annotations

from cjc_agent.tools import procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_TRIES = 10
NETWORK = ("nfs", "nfs4", "cifs", "smb3", "ceph", "lustre", "fuse")  # types of file systems that wait for a server
# Superblock options of a file system that takes no writes: a mount(8) that fell back to read-only (its exit code is 0), and what ext4
# shows since Linux 6.14 after an error with errors=remount-ro or a forced shutdown.
READ_ONLY = frozenset(("ro", "emergency_ro", "shutdown"))


class Mount:
    """One line: mount `id`, `parent` id, `device` ("major:minor"), `root` within the file system, mount `point`, `fstype`, `source`, `read_only`, and
    the superblock's `options`."""

    __slots__ = ("id", "parent", "device", "root", "point", "fstype", "source", "read_only", "options")

    def __init__(self, id: int, parent: int, device: str, root: str, point: str, fstype: str, source: str, read_only: bool,
                 options: Sequence[str] = ()) -> None:
        self.id, self.parent, self.device, self.root, self.point = id, parent, device, root, point
        self.fstype, self.source, self.read_only, self.options = fstype, source, read_only, options

    def words(self) -> str:
        """One clause for people."""
        return "%s (%s) on %s" % (self.source, self.fstype, self.point)


def parse(text: str) -> list[Mount]:
    """Given mountinfo's text, return its mounts in order; a line that is not understood is left out."""
    mounts = []
    for line in text.split("\n"):
        words = line.split(" ")
        try:
            dash = words.index("-", 6)
            fstype, source, superblock = words[dash + 1], words[dash + 2], words[dash + 3]
            options = superblock.split(",")
            read_only = "ro" in words[5].split(",") or not READ_ONLY.isdisjoint(options)
            mounts.append(Mount(int(words[0]), int(words[1]), words[2], plain(words[3]), plain(words[4]), fstype, plain(source), read_only, options))
        except (ValueError, IndexError):
            continue
    return mounts


def plain(word: str) -> str:
    """Undo the kernel's octal escapes (space, tab, newline, backslash, #)."""
    if "\\" not in word:
        return word
    first, *rest = word.split("\\")
    for part in rest:
        code = part[:3]
        if len(code) == 3 and all(c in "01234567" for c in code) and 0 < int(code, 8) < 256:
            first += chr(int(code, 8)) + part[3:]
        else:
            first += "\\" + part
    return first


def read(process: str = "self") -> list[Mount]:
    """Return the mounts of a process's mount namespace. Raise OSError when they cannot be read.

    The kernel makes the file anew piece by piece, and a mount that comes or goes meanwhile can hide another one; so read it until two
    readings agree.
    """
    before = None
    text = b""
    for _ in range(MOST_TRIES):
        text = procfs.read("/proc/%s/mountinfo" % process)
        if text == before:
            break
        before = text
    return parse(text.decode("utf-8", "surrogateescape"))


def containing(mounts: list[Mount], path: str) -> Mount | None:
    """Return the mount on which `path` lies, as a path walk would find it: what a later mount on a parent folder hides does not count."""
    listed = {mount.id for mount in mounts}
    # where a walk begins: at the root mount; in a chroot, which lists no root mount, at every mount whose parent is not listed
    here, waiting = None, [mount for mount in mounts if mount.parent not in listed or mount.parent == mount.id]
    rest = [mount for mount in mounts if mount not in waiting]
    while True:
        on_the_way = [mount for mount in waiting if is_below(path, mount.point)]
        if not on_the_way:
            return here
        here = min(on_the_way, key=lambda mount: len(mount.point))
        waiting = [mount for mount in rest if mount.parent == here.id]
        rest = [mount for mount in rest if mount.parent != here.id]  # each is walked once, also in a torn table


def top_at(mounts: list[Mount], point: str) -> Mount | None:
    """Return the mount that is seen at `point`, or None when nothing is mounted there."""
    mount = containing(mounts, point)
    return mount if mount is not None and mount.point == point else None


def to_unmount(mounts: list[Mount], wanted: list[Mount]) -> list[Mount]:
    """Return what must be unmounted to be rid of the `wanted`: themselves and all that is mounted on them, what lies on top first.

    What a mount hides is not among it, whatever its name.
    """
    above = {mount.id: mount for mount in wanted}
    while True:
        more = {mount.id: mount for mount in mounts if mount.parent in above and mount.id not in above}
        if not more:
            break
        above.update(more)
    listed = {mount.id: mount for mount in mounts}

    def depth(mount: Mount) -> int:
        steps = 0
        while mount.parent in listed and steps < len(listed):  # a torn table may have a circle
            mount, steps = listed[mount.parent], steps + 1
        return steps

    return sorted((mount for mount in reversed(mounts) if mount.id in above), key=depth, reverse=True)


def on_network(path: str) -> bool:
    """Whether a path lies on what may wait for a server, judged by its name: nothing of it is touched."""
    try:
        mount = containing(read(), path)
    except OSError:
        return False
    return mount is not None and mount.fstype.split(".")[0] in NETWORK


def is_below(path: str, folder: str) -> bool:
    """Whether `path` is `folder` or lies below it, judged by the names alone."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")
