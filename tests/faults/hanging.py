"""What hangs: a dead NFS server, dead storage below a disk, product files, log and state folder on either; and what others hang at."""
from __future__ import annotations

import contextlib
import pathlib
import socket
import subprocess
from collections.abc import Iterator
from typing import Callable

from faults.fault import FAILED, NOT_RUNNING, PROBE, RUNNING, RUNNING_10, RUNNING_20, START, STOP, Fault, See
from faults.ways import environment, given, hung
from lab import server
from lab.neighbours import STUCK_IN_MMAP, python
from lab.served import ClusterShareSite, ShareSite, StorageSite
from lab.server import EVERYTHING, FileServer
from lab.site import NQS_HOME, NQS_SPOOL, Site, wait_until

HANG = "hang"
WRITES = frozenset((server.WRITE, server.FSYNC))
LOOKS = frozenset((server.LOOKUP, server.GETATTR))
DEAD = "hangs despite SIGKILL"
Injection = Callable[[Site], contextlib.AbstractContextManager[None]]


def silent(operations: frozenset[int] = EVERYTHING, read: bool = True) -> Injection:
    """The server of the site's disk does not answer any more; later it answers again, also what it was asked meanwhile."""
    @contextlib.contextmanager
    def inject(site: Site) -> Iterator[None]:
        assert isinstance(site, (StorageSite, ShareSite))
        site.server.hang(operations, read)
        try:
            yield
        finally:
            site.server.answer()
    return inject


def silent_with(**parameters: str) -> Injection:
    """The same, and the agent is called with other parameters."""
    @contextlib.contextmanager
    def inject(site: Site) -> Iterator[None]:
        with given(site, **parameters), silent()(site):
            yield
    return inject


def dead(path: str) -> Injection:
    """A folder of this node is on a dead server."""
    @contextlib.contextmanager
    def inject(site: Site) -> Iterator[None]:
        with hung(pathlib.Path(path)):
            yield
    return inject


def cjcpw(read: bool) -> Injection:
    """cjcpw lies on a dead server."""
    @contextlib.contextmanager
    def inject(site: Site) -> Iterator[None]:
        with file_server(site) as (served, point), given(site, cjcpw=str(point / "cjcpw")):
            served.hang(read=read)
            yield
            served.answer()
    return inject


@contextlib.contextmanager
def file_server(site: Site) -> Iterator[tuple[FileServer, pathlib.Path]]:
    """A server of something else than the site's disk, mounted."""
    point = pathlib.Path("/srv/served-" + site.name)
    point.mkdir()
    served = FileServer(site.log.parent / "else")
    served.mount(point)
    try:
        yield served, point
    finally:
        served.close()
        point.rmdir()


@contextlib.contextmanager
def log_file(site: Site) -> Iterator[None]:
    """The cluster's log file lies on a dead server."""
    folder = pathlib.Path("/srv/log-" + site.name)
    with hung(folder), environment(site, HA_LOGFILE=str(folder / "ha.log"), HA_debug="1"):
        yield
    folder.rmdir()


@contextlib.contextmanager
def trace_file(site: Site) -> Iterator[None]:
    """The trace file shall lie on a dead server."""
    folder = pathlib.Path("/srv/trace-" + site.name)
    with hung(folder), environment(site, OCF_TRACE_RA="1", OCF_TRACE_FILE=str(folder / "trace")):
        yield
    folder.rmdir()


@contextlib.contextmanager
def syslog(site: Site) -> Iterator[None]:
    """The syslog daemon hangs, and its queue is full: every syslog(3) of the node waits."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listening.bind("/dev/log")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as full:
        full.connect("/dev/log")
        full.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                full.send(b"x")
        try:
            with environment(site, HA_LOGFACILITY="daemon", HA_debug="1"):
                yield
        finally:
            listening.close()
            pathlib.Path("/dev/log").unlink()


@contextlib.contextmanager
def state_folder(site: Site) -> Iterator[None]:
    """The state folder that the cluster names lies on a dead server."""
    folder = pathlib.Path("/srv/state-" + site.name)
    with hung(folder), environment(site, HA_RSCTMP=str(folder)):
        yield
        assert site.call("stop").code == 0  # while it is known where the record is
    folder.rmdir()


@contextlib.contextmanager
def unrelated(site: Site) -> Iterator[None]:
    """Something else on this node is dead, and somebody waits for it."""
    folder = pathlib.Path("/srv/dead-" + site.name)
    with hung(folder) as file_system:
        waiting = site.popen("/usr/bin/stat", "-f", str(folder), stderr=subprocess.DEVNULL, start_new_session=True)
        wait_until(lambda: file_system.requests > 0)
        yield
    waiting.wait()
    folder.rmdir()


@contextlib.contextmanager
def above(site: Site) -> Iterator[None]:
    """A dead file system was mounted over the parent folder of our mount point."""
    with hung(site.directory.parent):
        yield


@contextlib.contextmanager
def locked_map(site: Site) -> Iterator[None]:
    """A process hangs in munmap() and keeps the lock of its memory map: to read its environ, cmdline or maps is to wait for it."""
    folder = pathlib.Path("/srv/dead-" + site.name)
    with hung(folder, has_file=True):
        child = python(site, STUCK_IN_MMAP, str(folder / "file"), env={"A": "B"})
        wait_until(lambda: pathlib.Path("/proc/%d/stat" % child.pid).read_text().rsplit(")", 1)[1].split()[0] == "D")
        yield
        child.kill()
    child.wait()
    folder.rmdir()


@contextlib.contextmanager
def job(site: Site) -> Iterator[None]:
    """A job of the site waits for a dead server: not even SIGKILL ends it."""
    folder = pathlib.Path("/srv/dead-" + site.name)
    with hung(folder) as file_system:
        site.simulator("qsub", "-s", site.name, "--", "exec stat -f %s" % folder)
        wait_until(lambda: file_system.requests > 0)
        yield
    folder.rmdir()


@contextlib.contextmanager
def users(site: Site) -> Iterator[None]:
    """Where users are looked up does not answer (LDAP, NIS): here /etc/passwd."""
    with file_server(site) as (served, point):
        (served.folder / "passwd").write_text(pathlib.Path("/etc/passwd").read_text())
        subprocess.run(["mount", "--bind", str(point / "passwd"), "/etc/passwd"], check=True)
        try:
            with given(site, user="daemon"):
                served.hang()
                yield
        finally:
            served.answer()
            wait_until(lambda: subprocess.run(["umount", "/etc/passwd"], check=False, stderr=subprocess.DEVNULL).returncode == 0)


def in_time(code: int, *says: str, timeout: float = 8.0, **more: object) -> See:
    """All of these must answer soon."""
    return See(code, says, timeout=timeout, **more)  # type: ignore[arg-type]


FAULTS = [
    Fault(HANG, "storage of the disk", silent(), {
        PROBE: in_time(NOT_RUNNING),
        START: in_time(FAILED, "{device}", "check the storage path"),
        RUNNING: in_time(0),
        RUNNING_20: in_time(FAILED, "{site_db}"),
        STOP: in_time(FAILED, "{device} does not answer, umount (pid ", "check the storage path"),
    }, site=StorageSite, quick=False),
    Fault(HANG, "storage of the disk, nothing is read", silent(read=False), {
        START: in_time(FAILED, "{device}"),
        RUNNING_20: in_time(FAILED, "{site_db}"),
        STOP: in_time(FAILED, "{device} does not answer, umount (pid ", "check the storage path"),
    }, site=StorageSite, quick=False),
    Fault(HANG, "storage of the disk, type known", silent_with(fstype="ext4"), {
        START: in_time(FAILED, "{device}", "check the storage path"),
    }, site=StorageSite, quick=False),
    Fault(HANG, "storage of the disk, type known, no fsck", silent_with(fstype="ext4", run_fsck="no"), {
        START: in_time(FAILED, "{device}", "check the storage path"),
    }, site=StorageSite, quick=False),
    Fault(HANG, "network file system", silent(), {
        PROBE: in_time(NOT_RUNNING),
        START: in_time(FAILED, "nfsserver:/export on {directory}"),
        RUNNING: in_time(FAILED, DEAD),
        RUNNING_10: in_time(FAILED, DEAD),
        RUNNING_20: in_time(FAILED, DEAD),
        STOP: in_time(0, timeout=14.0),
    }, site=ShareSite, quick=False),
    Fault(HANG, "network file system, nothing is read", silent(read=False), {
        START: in_time(FAILED, "nfsserver:/export on {directory}"),
        RUNNING: in_time(FAILED, "cjcpw status"),
        STOP: in_time(0, timeout=14.0),
    }, site=ShareSite, quick=False),
    Fault(HANG, "network file system, writes only", silent(WRITES), {
        RUNNING: in_time(0),
        RUNNING_10: in_time(0),
        RUNNING_20: in_time(FAILED, "{site_db}: write test", DEAD),
        STOP: in_time(0, timeout=14.0),
    }, site=ShareSite, quick=False),
    Fault(HANG, "network file system, looks only", silent(LOOKS), {
        RUNNING: in_time(FAILED, DEAD),
        STOP: in_time(0, timeout=14.0),
    }, site=ShareSite, quick=False),
    Fault(HANG, "network file system of the cluster", silent(), {
        PROBE: in_time(FAILED, DEAD),
        START: in_time(FAILED, DEAD),
        RUNNING: in_time(FAILED, DEAD),
        RUNNING_10: in_time(FAILED, DEAD),
        RUNNING_20: in_time(FAILED, DEAD),
        STOP: in_time(FAILED, "jcsim-"),
    }, site=ClusterShareSite, quick=False),
    Fault(HANG, "network file system of the cluster, writes only", silent(WRITES), {
        RUNNING: in_time(0),
        RUNNING_20: in_time(FAILED, "{site_db}: write test", DEAD),
        STOP: in_time(FAILED, "jcsim-"),
    }, site=ClusterShareSite, quick=False),
    Fault(HANG, "product files", dead(NQS_HOME), {
        PROBE: in_time(NOT_RUNNING),
        START: in_time(FAILED, NQS_HOME),
        RUNNING: in_time(FAILED, DEAD),
        STOP: in_time(0, timeout=12.0),
    }, quick=False),
    Fault(HANG, "local spool", dead(NQS_SPOOL), {
        PROBE: in_time(NOT_RUNNING),
        START: in_time(FAILED, DEAD),
        RUNNING: in_time(FAILED, DEAD),
        STOP: in_time(0),
    }, quick=False),
    Fault(HANG, "cjcpw", cjcpw(read=True), {
        PROBE: in_time(NOT_RUNNING),
        START: in_time(FAILED, DEAD),
        RUNNING: in_time(FAILED, DEAD),
        STOP: in_time(0),
    }, quick=False),
    Fault(HANG, "cjcpw, nothing is read", cjcpw(read=False), {
        START: in_time(FAILED, "did not end within"),
        RUNNING: in_time(FAILED, "did not end within"),
    }, quick=False),
    Fault(HANG, "look-up of users", users, {
        START: in_time(FAILED, "how user daemon is looked up"), RUNNING: in_time(FAILED, DEAD), STOP: in_time(0),
    }, quick=False),
    Fault(HANG, "state folder", state_folder, {
        PROBE: in_time(NOT_RUNNING), START: in_time(0), RUNNING: in_time(0),
    }),
    Fault(HANG, "cluster's log file", log_file, {
        PROBE: in_time(NOT_RUNNING), START: in_time(0), RUNNING: in_time(0), STOP: in_time(0),
    }),
    Fault(HANG, "trace file", trace_file, {PROBE: in_time(NOT_RUNNING), START: in_time(0), RUNNING: in_time(0), STOP: in_time(0)}),
    Fault(HANG, "syslog", syslog, {PROBE: in_time(NOT_RUNNING), START: in_time(0), RUNNING: in_time(0), STOP: in_time(0)}),
    Fault(HANG, "unrelated file system", unrelated, {
        PROBE: in_time(NOT_RUNNING), START: in_time(0), RUNNING: in_time(0), RUNNING_10: in_time(0), RUNNING_20: in_time(0), STOP: in_time(0),
    }),
    Fault(HANG, "file system over the mount point's parent", above, {
        PROBE: in_time(NOT_RUNNING),
        START: in_time(FAILED, "{directory}"),
        RUNNING: in_time(FAILED, "{directory}"),
        STOP: in_time(FAILED, "{directory}"),
    }, quick=False),
    Fault(HANG, "process that keeps the lock of its memory map", locked_map, {
        PROBE: in_time(NOT_RUNNING), START: in_time(0), RUNNING_10: in_time(0), STOP: in_time(0),
    }),
    Fault(HANG, "job of the site", job, {
        RUNNING: in_time(0), STOP: in_time(FAILED, "stat[", "restart this node", timeout=12.0)}, quick=False),
]
