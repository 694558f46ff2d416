"""Who keeps a mount busy: found from /proc's own words, so that no file on the mount, which may hang, is touched."""
from __future__ import annotations

import os

from cjc_agent.tools import mountinfo, processes, procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from cjc_agent.tools.command import Runner
    from cjc_agent.tools.deadline import Deadline

LAYERS = ("lowerdir=", "lowerdir+=", "datadir+=", "upperdir=", "workdir=")  # of an overlay


def find(folder: str, device: str, pids: Iterable[int], runner: Runner, deadline: Deadline) -> dict[int, str]:
    """Given a folder and the "major:minor" of the file system it is on, return pid -> how it holds something below.

    Seen are cwd, root (chroot), the program, open files, bound Unix sockets and mapped files. A process in another mount namespace may see
    something else under the same name: it counts only when that namespace has the file system mounted. Raise TimeoutError when there was no
    time for all.
    """
    ours = processes.link(os.getpid(), "ns/mnt")
    known = {ours: True}
    bound = _bound_sockets(folder)

    def how(pid: int) -> str:
        through = processes.through(pid)
        namespace = processes.link(pid, through + "ns/mnt")
        words = _by_links(pid, through, folder, bound) or _by_maps(pid, through, folder)
        if words and namespace not in known:
            known[namespace] = _mounted_for(pid, device)
        return words if words and known[namespace] else ""

    texts = runner.each("look for holders", [pid for pid in pids if pid != os.getpid()], how, deadline)
    return {pid: text for pid, text in texts.items() if text}


def in_other_namespaces(device: str, pids: Iterable[int]) -> list[int]:
    """Return the pids that live in another mount namespace in which `device` is mounted: they keep it in use, but no umount of ours busy."""
    ours = processes.link(os.getpid(), "ns/mnt")
    known = {ours: False, "": False}
    found = []
    for pid in pids:
        namespace = processes.link(pid, processes.through(pid) + "ns/mnt")
        if namespace not in known:
            known[namespace] = _mounted_for(pid, device)
        if known[namespace]:
            found.append(pid)
    return found


def by_kernel(folder: str) -> list[str]:
    """Return what, without any process, keeps a file system busy that is mounted on `folder`, each with what to do; as far as that can be seen."""
    words = []
    for name in sorted(os.listdir("/sys/block")):
        file = _line("/sys/block/%s/loop/backing_file" % name)
        if mountinfo.is_below(file, folder):
            words.append("/dev/%s lies on it: losetup -d /dev/%s" % (name, name))
    for line in _line("/proc/swaps").split("\n")[1:]:
        file = mountinfo.plain(line.split(" ")[0].split("\t")[0])
        if mountinfo.is_below(file, folder):
            words.append("swap lies on it: swapoff %s" % file)
    for mount in mountinfo.read():
        layers = (layer for option in mount.options if option.startswith(LAYERS) for layer in option.split("=", 1)[1].split(":"))
        if mount.fstype == "overlay" and any(mountinfo.is_below(mountinfo.plain(layer), folder) for layer in layers):
            words.append("an overlay lies on it: umount %s" % mount.point)
    return words


def _line(path: str) -> str:
    try:
        return procfs.read(path).decode("utf-8", "surrogateescape").rstrip("\n")
    except OSError:
        return ""


def _bound_sockets(folder: str) -> set[str]:
    """Return what /proc/PID/fd shows for the Unix sockets that are bound to a path below (proc_pid_net(5): ... inode path)."""
    lines = (line.split(None, 7) for line in _line("/proc/net/unix").split("\n"))
    return {"socket:[%s]" % words[6] for words in lines if len(words) == 8 and mountinfo.is_below(words[7], folder)}


def _by_links(pid: int, through: str, folder: str, bound: set[str]) -> str:
    for name, how in (("cwd", "working directory"), ("root", "root directory"), ("exe", "program")):
        if mountinfo.is_below(processes.link(pid, through + name), folder):
            return how
    for name in processes.descriptors(pid, through):
        target = processes.link(pid, "%sfd/%s" % (through, name))
        if mountinfo.is_below(target, folder):
            return "open file"
        if target in bound:
            return "socket"
    return ""


def _by_maps(pid: int, through: str, folder: str) -> str:
    """/proc/PID/maps: address perms offset major:minor inode path."""
    text = processes.contents(pid, through + "maps").decode("utf-8", "surrogateescape")
    for line in text.split("\n"):
        words = line.split(None, 5)
        if len(words) == 6 and mountinfo.is_below(words[5], folder):
            return "mapped file"
    return ""


def _mounted_for(pid: int, device: str) -> bool:
    try:
        return any(mount.device == device for mount in mountinfo.read(str(pid)))
    except OSError as error:
        return processes.unless_lacking(error, False)
