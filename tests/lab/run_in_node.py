#!/usr/bin/python3
"""Run a command as root in a throwaway node: namespaces, root file system, /dev, /run and network of its own.

    run_in_node.py COMMAND [ARGUMENT ...]

The node sees this machine's files through an overlay: whatever the command installs, mounts or writes is gone when it ends. When the
command, or whoever called us, ends in whatever way, the kernel kills all processes of the node with its pid 1, and its mounts,
addresses and loop devices go with them: there is nothing to clean up, and so nothing that a test can forget.

MACHINE in the node is this machine's own root file system, read-only: the cluster (tests/cluster) makes its nodes over it, because
the kernel stacks no more than two overlays.
"""
from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys

UNSHARE = ["unshare", "--fork", "--kill-child", "--pid", "--mount", "--propagation", "private", "--uts", "--ipc", "--net"]
DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0), "loop-control": (10, 237),
           "fuse": (10, 229)}
STAGE = "/mnt"  # where the node's root file system is put together, in a mount namespace of its own
MACHINE = "/run/machine"
MOST_LOOPS = 64


def main(arguments: list[str]) -> int:
    """Outside: make the namespaces and run ourselves in them. Return the command's exit code."""
    os.environ["PATH"] = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"  # su without "-" leaves them out
    if os.geteuid() != 0:
        print("run_in_node: needs root (namespaces, mounts and loop devices): run it with sudo", file=sys.stderr)
        return 2
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the command decides, we pass its exit code on
    inside = [sys.executable, "-I", os.path.abspath(__file__), "--inside", *arguments]
    unshare = subprocess.Popen([*UNSHARE, "--", *inside], preexec_fn=die_with_parent, close_fds=False)  # descriptors are the caller's to pass
    signal.signal(signal.SIGTERM, lambda *_: unshare.kill())  # --kill-child takes the node with it
    return unshare.wait() & 0xFF


def die_with_parent() -> None:
    """In a child: be killed when the thread that made us ends, however that ends."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def inside(arguments: list[str]) -> int:
    """As pid 1 of the new pid namespace: set the node up, run the command, reap what is left to us."""
    folder = os.getcwd()
    mount("tmpfs", "tmpfs", STAGE, "mode=755")
    make_root(STAGE, "/", {"/": MACHINE, **_checkout_in_tmp()})
    make_read_only(MACHINE)
    os.chdir(folder)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    command = subprocess.Popen(arguments, close_fds=False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        pid, status = os.wait()
        if pid == command.pid:
            return os.waitstatus_to_exitcode(status) & 0xFF


def make_root(stage: str, lower: str, binds: dict[str, str]) -> None:
    """An overlay over `lower` with its own /proc, /sys, /dev, /run and /tmp and the folders bound into it; then pivot_root(2) into it.

    What is written lands in `stage`/upper, which may be used again: it is the node's local disk.
    """
    for name in ("upper", "work", "root"):
        os.makedirs(stage + "/" + name, exist_ok=True)
    root = stage + "/root"
    mount("overlay", "overlay", root, "lowerdir=%s,upperdir=%s/upper,workdir=%s/work" % (lower, stage, stage))
    _make_proc(root + "/proc")
    mount("sysfs", "sysfs", root + "/sys")
    for name in ("run", "tmp", "mnt"):
        mount("tmpfs", "tmpfs", "%s/%s" % (root, name), "mode=%s" % ("1777" if name == "tmp" else "755"))
    _make_dev(root + "/dev")
    for source, target in binds.items():
        os.makedirs(root + target, exist_ok=True)
        bind(source, root + target)
    os.mkdir(root + "/run/old-root")
    subprocess.run(["pivot_root", root, root + "/run/old-root"], check=True)
    os.chdir("/")
    subprocess.run(["umount", "-l", "/run/old-root"], check=True)
    os.rmdir("/run/old-root")


def _make_proc(proc: str) -> None:
    """Of the node's own processes. What reaches the whole machine's kernel is out of reach; sys/net and the host name are the node's own."""
    mount("proc", "proc", proc)
    if os.path.exists(proc + "/sysrq-trigger"):
        bind("/dev/null", proc + "/sysrq-trigger")
    machines = (proc + "/sys/kernel", proc + "/sys/vm")
    for path in (*machines, proc + "/sys/kernel/hostname"):
        bind(path, path)
    for path in machines:
        make_read_only(path)


def _checkout_in_tmp() -> dict[str, str]:
    """A checkout below /tmp would be hidden by the node's own /tmp: bind it."""
    here = os.path.dirname(os.path.abspath(__file__)).split("/tests/")[0]
    return {here: here} if here.startswith("/tmp/") else {}


def _make_dev(dev: str) -> None:
    mount("tmpfs", "tmpfs", dev, "mode=755")
    os.umask(0)
    for name, (major, minor) in DEVICES.items():
        os.mknod("%s/%s" % (dev, name), 0o20666, os.makedev(major, minor))
    for number in range(MOST_LOOPS):
        os.mknod("%s/loop%d" % (dev, number), 0o60660, os.makedev(7, number))
    os.umask(0o022)
    os.mkdir(dev + "/pts")
    os.mkdir(dev + "/shm")
    mount("devpts", "devpts", dev + "/pts", "newinstance,ptmxmode=0666,mode=620")
    mount("tmpfs", "tmpfs", dev + "/shm", "mode=1777")
    for name, target in (("ptmx", "pts/ptmx"), ("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"),
                         ("stderr", "/proc/self/fd/2")):
        os.symlink(target, dev + "/" + name)


def mount(kind: str, source: str, target: str, options: str = "") -> None:
    """mount(8) with its own words when it fails."""
    subprocess.run(["mount", "-t", kind, *(["-o", options] if options else []), source, target], check=True)


def bind(source: str, target: str) -> None:
    """The same file or folder in a second place."""
    subprocess.run(["mount", "--bind", source, target], check=True)


def make_read_only(point: str) -> None:
    """Of what was bound there; in its first place, and in mounts on top of it, it can be written as before."""
    subprocess.run(["mount", "-o", "remount,bind,ro", point], check=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        sys.exit(inside(sys.argv[2:]))
    sys.exit(main(sys.argv[1:]))
