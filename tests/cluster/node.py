"""One computer of the cluster: namespaces of its own, a local disk that survives its power, a cable, and its own way to the shared disks."""
from __future__ import annotations

import ctypes
import fcntl
import os
import pathlib
import select
import signal
import subprocess
import sys
import threading
import time
from typing import Optional

from cluster import network
from cluster.observer import mounted_devices
from lab import disk, mmp
from lab.run_in_node import UNSHARE
from lab.site import just_forked

INIT = pathlib.Path(__file__).with_name("init.py")
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8", "TERM": os.environ.get("TERM", "dumb")}
EXT4_IOC_SHUTDOWN, NO_LOG_FLUSH = 0x8004587D, 2  # linux/ext4.h: from here on nothing more reaches the disk
OFF_SECONDS = READY_SECONDS = 30.0


class NotOff(Exception):
    """A node that should be off is not seen to be off."""


class Node:
    """A node, off until power_on(). `init_pid` is its process 1 as the room sees it, None while it is off."""

    def __init__(self, name: str, number: int, room: pathlib.Path, lower: str, images: dict[str, pathlib.Path]) -> None:
        self.name, self.number = name, number
        self.init_pid: Optional[int] = None
        self.is_cut_off = False
        self.kernel_names: dict[str, str] = {}  # shared disk -> "loop3p1", as in /sys/fs/ext4
        self._stage, self._lower = room / name, lower
        self._stage.mkdir()
        self._disks: dict[str, disk.Disk] = {}
        self._numbers: dict[str, int] = {}
        self._unshare: Optional[subprocess.Popen[bytes]] = None
        self._power = threading.RLock()
        for share, image in images.items():
            self._disks[share] = disk.Disk(str(image))
            self.kernel_names[share], self._numbers[share] = self._disks[share].add_partition()

    # -- power --------------------------------------------------------------------------------------------------------------------

    def power_on(self) -> None:
        """Start the node; it boots by itself. Nothing happens when it is on already. Raise RuntimeError when it does not come up."""
        with self._power:
            if self._unshare is not None and self._unshare.poll() is not None:
                self.power_cut()  # it has ended by itself (reboot -f): see that it is off
            if self._unshare is not None:
                return
            disks = ["%s=%d:%d" % (share, os.major(number), os.minor(number)) for share, number in self._numbers.items()]
            command = [sys.executable, "-I", str(INIT), self.name, str(self._stage), self._lower, *disks]
            with open(str(self._stage) + ".console", "ab") as console:
                self._unshare = subprocess.Popen([*UNSHARE, "--", *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=console,
                                                 start_new_session=True)
            try:
                self.init_pid = _init_of(self._unshare)
                network.plug_in(self.name, self.number, self.init_pid, self.is_cut_off)
            except (RuntimeError, OSError, subprocess.SubprocessError) as error:
                self.power_cut()
                raise RuntimeError("%s does not come up: %s" % (self.name, error)) from error

    def power_cut(self) -> None:
        """Cut the power: what was not synced is lost. Returns when the node is seen to be off; raises NotOff after 30 s, and can be tried again.

        The kernel unmounts in an orderly way what a dying namespace had mounted, and writes it all: so first nothing may reach the disks.
        ext4's mmp block is written even so: what was in it is put back.
        """
        with self._power:
            if self._unshare is None:
                return
            marks = {self._disks[share].image: mmp.read(self._disks[share].image) for share in self.mounted()}
            if self._unshare.poll() is None:
                for point in self._shared_mounts():
                    _shut_down(point)
                if self.init_pid is not None:
                    os.kill(self.init_pid, signal.SIGKILL)
                else:
                    self._unshare.kill()  # --kill-child takes the other one with it
            self._confirm_off()
            for image, mark in marks.items():
                if mark:
                    mmp.write(image, mark)
            network.unplug(self.name)
            self.init_pid = self._unshare = None

    @property
    def is_on(self) -> bool:
        """Whether the node is on, or not yet seen to be off."""
        return self._unshare is not None

    def cut_cable(self) -> None:
        """Cut the node off: its cable carries nothing, also after a reboot, until mend_cable()."""
        with self._power:
            self.is_cut_off = True
            if self.is_on:
                network.cut(self.name)

    def mend_cable(self) -> None:
        """Undo cut_cable()."""
        with self._power:
            self.is_cut_off = False
            if self.is_on:
                network.mend(self.name)

    def _confirm_off(self) -> None:
        assert self._unshare is not None
        end = time.monotonic() + OFF_SECONDS
        try:
            self._unshare.wait(OFF_SECONDS)
        except subprocess.TimeoutExpired:
            raise NotOff("%s: its processes do not end" % self.name) from None
        while self.mounted():
            if time.monotonic() > end:
                raise NotOff("%s: the kernel still has %s mounted" % (self.name, ", ".join(self.mounted())))
            time.sleep(0.005)

    def close(self) -> None:
        """Let go of the shared disks."""
        for attached in self._disks.values():
            attached.close()

    def mounted(self) -> list[str]:
        """The shared disks that the kernel has mounted for this node, in whatever mount namespace, also while it dies."""
        busy = mounted_devices()
        return [share for share, name in self.kernel_names.items() if name in busy]

    def _shared_mounts(self) -> list[str]:
        """Paths, as the room sees them, of the mounts of shared disks, in whatever mount namespace of the node."""
        numbers = {"%d:%d" % (os.major(number), os.minor(number)) for number in self._numbers.values()}
        found = {}
        for pid in self.processes():
            try:
                namespace = os.readlink("/proc/%d/ns/mnt" % pid)
                rows = [line.split() for line in pathlib.Path("/proc/%d/mountinfo" % pid).read_text().splitlines()]
            except OSError:
                continue  # ended meanwhile
            found.update({(namespace, row[4]): "/proc/%d/root%s" % (pid, row[4]) for row in rows if row[2] in numbers})
        return list(found.values())

    # -- commands -----------------------------------------------------------------------------------------------------------------

    def enter(self) -> list[str]:
        """The words in front of a command that make it run on the node."""
        if self.init_pid is None:
            raise RuntimeError("%s is off" % self.name)
        environment = ["%s=%s" % pair for pair in ENVIRONMENT.items()]
        return ["nsenter", "--target", str(self.init_pid), "--all", "env", "-i", *environment]

    def run(self, *command: str, check: bool = True, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a command on the node; return its exit code and output. Raise CalledProcessError with `check`."""
        done = subprocess.run([*self.enter(), *command], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=timeout)
        if check and done.returncode:
            raise CommandFailed("%s: %s -> %d\n%s%s" % (self.name, " ".join(command), done.returncode, done.stdout, done.stderr))
        return done

    def sh(self, script: str, check: bool = True, timeout: float = 120) -> str:
        """Run a line of shell on the node; return what it printed."""
        return self.run("/bin/sh", "-c", script, check=check, timeout=timeout).stdout

    def answers(self) -> bool:
        """Whether a command can be run on it."""
        try:
            return self.run("/bin/true", check=False, timeout=10).returncode == 0
        except (RuntimeError, subprocess.SubprocessError):
            return False

    def path(self, path: str) -> pathlib.Path:
        """A file of the node as the room sees it."""
        return pathlib.Path("/proc/%s/root%s" % (self.init_pid, path))

    def processes(self) -> list[int]:
        """All processes of the node, as the room sees them."""
        found: list[int] = []
        try:
            ours = os.readlink("/proc/%s/ns/pid" % self.init_pid)
        except OSError:
            return found  # off
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.readlink("/proc/%s/ns/pid" % name) == ours:
                    found.append(int(name))
            except OSError:
                continue
        return found

    def pids(self, name: str) -> list[int]:
        """Processes of that name on the node, as the room sees them; without the children that will have another one in a moment."""
        found = []
        for pid in self.processes():
            try:
                if pathlib.Path("/proc/%d/comm" % pid).read_text().strip() == name and not just_forked(pid, name):
                    found.append(pid)
            except OSError:
                continue
        return found

    def kill(self, name: str) -> int:
        """SIGKILL all processes of that name on the node; return how many there were."""
        pids = self.pids(name)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        return len(pids)


class CommandFailed(Exception):
    """A command on a node failed; the text tells which, and what it said."""


def _init_of(unshare: subprocess.Popen[bytes]) -> int:
    """Wait until the node says that it is ready for its cable; return its process 1. Raise RuntimeError."""
    assert unshare.stdout is not None
    with unshare.stdout:
        if not select.select([unshare.stdout], [], [], READY_SECONDS)[0] or unshare.stdout.readline() != b"ready\n":
            raise RuntimeError("see its .console in the room")
    children = pathlib.Path("/proc/%d/task/%d/children" % (unshare.pid, unshare.pid))
    return int(children.read_text().split()[0])


def _shut_down(point: str) -> None:
    try:
        descriptor = os.open(point, os.O_RDONLY)
    except (FileNotFoundError, ProcessLookupError):
        return  # unmounted a moment ago
    try:
        fcntl.ioctl(descriptor, EXT4_IOC_SHUTDOWN, ctypes.c_uint32(NO_LOG_FLUSH))
    finally:
        os.close(descriptor)
