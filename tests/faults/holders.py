"""Holders: who keeps the mount in use when stop comes, and does not disturb before. Stop ends them, or says 1 and names them."""
from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
from collections.abc import Iterator
from typing import Callable

from faults.fault import FAILED, RUNNING, RUNNING_10, STOP, Fault, See
from faults.ways import ended, hung
from lab.neighbours import AtTerminal, end_crowd, python, shell
from lab.site import Site, all_processes, wait_until

HOLDER = "holder"
WAIT = "print('ready', flush=True); time.sleep(1000)"
PRIVATE = ("unshare", "--mount", "--propagation", "private")


def process(script: str, **more: object) -> Callable[[Site], contextlib.AbstractContextManager[None]]:
    """A Python process that holds something; {db} stands for the site DB."""
    def inject(site: Site) -> contextlib.AbstractContextManager[None]:
        options = {name: str(value).format(db=site.site_db) if isinstance(value, str) else value for name, value in more.items()}
        (site.site_db / "held").write_bytes(bytes(8192))
        return ended(python(site, "import mmap, os, signal, socket, sys, time; " + script.replace("{db}", str(site.site_db)) + "; " + WAIT, **options))
    return inject


def stop_of(code: int, *says: str, **more: object) -> dict[str, See]:
    """Only stop minds a holder; it answers so."""
    return {STOP: See(code, says, timeout=8.0, **more)}  # type: ignore[arg-type]


def also_running(see: dict[str, See]) -> dict[str, See]:
    """And a monitor does not mind it."""
    return {RUNNING: See(0), RUNNING_10: See(0), **see}


MAPPED = ("import ctypes; c = ctypes.CDLL(None); c.mmap.restype = ctypes.c_void_p; f = os.open('{db}/held', os.O_RDWR); "  # mmap keeps a descriptor
          "assert c.mmap(None, 4096, 1, 1, f, ctypes.c_long(0)); os.close(f)")
DELETED = "f = open('{db}/held'); os.unlink('{db}/held')"
INOTIFY = "import ctypes; c = ctypes.CDLL(None); assert c.inotify_add_watch(c.inotify_init(), b'{db}', 0x100) > 0"
IN_FLIGHT = ("a, b = socket.socketpair(); f = open('{db}/held'); socket.send_fds(a, [b'x'], [f.fileno()]); f.close()")


def program(site: Site) -> contextlib.AbstractContextManager[None]:
    """A program that lies on the disk runs."""
    shutil.copy("/bin/sleep", site.site_db / "program")
    child = site.popen(str(site.site_db / "program"), "1000", cwd="/", start_new_session=True)
    wait_until(lambda: os.readlink("/proc/%d/exe" % child.pid) == str(site.site_db / "program"))
    return ended(child)


def chrooted(site: Site) -> contextlib.AbstractContextManager[None]:
    """A process has the mount as its root."""
    return process("os.chroot('%s')" % site.directory)(site)


@contextlib.contextmanager
def loop_device(site: Site) -> Iterator[None]:
    """A loop device over a file on the disk: the kernel holds it, no process does."""
    from lab import disk
    inner = disk.make(str(site.site_db / "inner.img"), 4)
    try:
        yield
    finally:
        inner.close()


@contextlib.contextmanager
def overlay(site: Site) -> Iterator[None]:
    """An overlay mount somewhere else uses a folder of the disk as its lower layer: a container's storage driver."""
    lower, point = site.site_db / "lower", pathlib.Path("/srv/overlay-" + site.name)
    lower.mkdir()
    point.mkdir()
    subprocess.run(["mount", "-t", "overlay", "-o", "lowerdir=%s:/usr/lib/nqs" % lower, "overlay", str(point)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(point)], check=True)
        point.rmdir()


@contextlib.contextmanager
def swap_file(site: Site) -> Iterator[None]:
    """A swap file on the disk is in use."""
    path = site.site_db / "swap"
    path.write_bytes(bytes(4 << 20))
    path.chmod(0o600)
    subprocess.run(["mkswap", "-q", str(path)], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["swapon", str(path)], check=True)
    try:
        yield
    finally:
        subprocess.run(["swapoff", str(path)], check=True)


def namespace(site: Site) -> contextlib.AbstractContextManager[None]:
    """A service with PrivateMounts, or a container, copied the mount table while the disk was mounted."""
    return ended(shell(site, "echo ready; exec sleep 1000", *PRIVATE, cwd="/"))


def holder_in_namespace(site: Site) -> contextlib.AbstractContextManager[None]:
    """And stands in its copy of the mount."""
    return ended(shell(site, "cd %s; echo ready; exec sleep 1000" % site.site_db, *PRIVATE, cwd="/"))


def pid_namespace(site: Site) -> contextlib.AbstractContextManager[None]:
    """In a container with pids of its own; seen from here it is a process like others."""
    return ended(shell(site, "cd %s; echo ready; exec sleep 1000" % site.site_db, "unshare", "--pid", "--fork", "--kill-child", cwd="/"))


def of_another_user(site: Site) -> contextlib.AbstractContextManager[None]:
    """A user's editor."""
    site.site_db.chmod(0o755)
    return process("os.chdir('{db}')", user=65534, group=65534)(site)


@contextlib.contextmanager
def at_terminal(site: Site) -> Iterator[None]:
    """An operator's shell stands in the site DB."""
    with AtTerminal("/bin/sh", "-i", cwd=str(site.site_db)):
        yield


RESPAWN = """import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
child = subprocess.Popen(["sleep", "1000"], cwd=sys.argv[1])
print("ready", flush=True)
while True:
    child.wait()
    time.sleep(float(sys.argv[2]))
    try:
        child = subprocess.Popen(["sleep", "1000"], cwd=sys.argv[1])
    except OSError:
        child = subprocess.Popen(["sleep", "1000"], cwd="/")
"""


def respawned(pause: float) -> Callable[[Site], contextlib.AbstractContextManager[None]]:
    """A supervisor, itself nowhere on the disk, starts the holder anew each time."""
    @contextlib.contextmanager
    def inject(site: Site) -> Iterator[None]:
        parent = python(site, RESPAWN, str(site.site_db), str(pause), env={"PATH": "/usr/bin:/bin"})
        try:
            yield
        finally:
            parent.send_signal(signal.SIGSTOP)
            end_crowd(parent)
    return inject


RELAY = """import os, sys, time
os.chdir(sys.argv[1])
print("ready", flush=True)
end = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    time.sleep(0.2)
    if os.fork():
        os._exit(0)
    os.setsid()
time.sleep(1000)
"""


@contextlib.contextmanager
def relay(site: Site) -> Iterator[None]:
    """The holder changes all the time: each hands over to a child and ends."""
    begun = python(site, RELAY, str(site.site_db), "4")
    try:
        yield
    finally:
        begun.wait()
        for pid, name in all_processes().items():
            if name == "python3" and RELAY.encode() in pathlib.Path("/proc/%d/cmdline" % pid).read_bytes():
                os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def undying(site: Site) -> Iterator[None]:
    """It stands in the site DB and waits for a dead NFS server: not even SIGKILL ends it."""
    folder = pathlib.Path("/srv/dead-" + site.name)
    with hung(folder) as dead:
        child = site.popen("/usr/bin/stat", "-f", str(folder), cwd=str(site.site_db), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                           start_new_session=True)
        wait_until(lambda: dead.requests > 0)
        yield
    child.wait()
    folder.rmdir()


def socket_on_disk(site: Site) -> contextlib.AbstractContextManager[None]:
    """A Unix socket bound on the disk; no file of the disk is open in the usual way."""
    return process("s = socket.socket(socket.AF_UNIX); s.bind('{db}/socket'); s.listen()")(site)


def still_mounted(site: Site) -> None:
    """What stop said is left is left."""
    assert site.mounted()


def unmounted(site: Site) -> None:
    """For us; the device is in use all the same."""
    assert not site.mounted()


def by(how: str) -> tuple[str, ...]:
    """The words of a stop that could not end a holder."""
    return ("{device} (ext4) on {directory} is still mounted", how)


FAULTS = [
    Fault(HOLDER, "working directory", process("os.chdir('{db}')"), also_running(stop_of(0))),
    Fault(HOLDER, "file open for reading", process("f = open('{db}/held')"), stop_of(0)),
    Fault(HOLDER, "file open for writing", process("f = open('{db}/held', 'r+b'); f.write(b'x' * 4096)"), stop_of(0)),
    Fault(HOLDER, "folder open", process("f = os.open('{db}', os.O_PATH)"), stop_of(0)),
    Fault(HOLDER, "mapped file, closed after mapping", process(MAPPED), stop_of(0)),
    Fault(HOLDER, "deleted file, still mapped", process(MAPPED + "; os.unlink('{db}/held')"), stop_of(0)),
    Fault(HOLDER, "deleted file, still open", process(DELETED), stop_of(0)),
    Fault(HOLDER, "chroot", chrooted, stop_of(0)),
    Fault(HOLDER, "program on the disk", program, also_running(stop_of(0))),
    Fault(HOLDER, "process of another user", of_another_user, stop_of(0)),
    Fault(HOLDER, "operator's shell at a terminal", at_terminal, stop_of(0)),
    Fault(HOLDER, "in another pid namespace", pid_namespace, stop_of(0)),
    Fault(HOLDER, "Unix socket bound on the disk", socket_on_disk, stop_of(0)),
    Fault(HOLDER, "inotify watch", process(INOTIFY), stop_of(0)),
    Fault(HOLDER, "open file in flight between two sockets", process(IN_FLIGHT),
          stop_of(FAILED, *by("held by no process: look for NFS exports"), then=still_mounted)),
    Fault(HOLDER, "loop device over a file on the disk", loop_device,
          stop_of(FAILED, *by("lies on it: losetup -d /dev/loop"), then=still_mounted), quick=False),
    Fault(HOLDER, "overlay mount over a folder of the disk", overlay,
          stop_of(FAILED, "{device} is in use on this node", "an overlay lies on it: umount /srv/overlay-{site}", then=unmounted), quick=False),
    Fault(HOLDER, "swap file on the disk", swap_file, stop_of(FAILED, *by("swap lies on it: swapoff {site_db}/swap"), then=still_mounted), quick=False),
    Fault(HOLDER, "copy of the mount table", namespace,
          also_running(stop_of(FAILED, "{device} is in use on this node", "by sleep[", then=unmounted)), quick=False),
    Fault(HOLDER, "working directory in a copy of the mount table", holder_in_namespace, stop_of(0)),
    Fault(HOLDER, "ignores TERM", process("signal.signal(signal.SIGTERM, signal.SIG_IGN); os.chdir('{db}')"), stop_of(0)),
    Fault(HOLDER, "started again half a second after its end", respawned(0.5), stop_of(0)),
    Fault(HOLDER, "started again at once", respawned(0), stop_of(FAILED, *by("sleep["), then=still_mounted), quick=False),
    Fault(HOLDER, "hands over to a child all the time", relay, stop_of(0)),
    Fault(HOLDER, "waits for a dead server and cannot be ended", undying,
          also_running(stop_of(FAILED, "stat[", "restart this node", then=still_mounted)), quick=False),
]
