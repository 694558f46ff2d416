"""Faults of the disk: the device, its file system, its mount point."""
from __future__ import annotations

import contextlib
import pathlib
import subprocess
from collections.abc import Iterator

from faults.fault import BAD_DIRECTORY, FAILED, NOT_RUNNING, PROBE, RUNNING, START, STOP, Fault, See
from faults.ways import moved_away
from lab.site import Site

DISK = "disk"


def absent(site: Site) -> contextlib.AbstractContextManager[pathlib.Path]:
    """The storage path is gone: no such device node. What is mounted stays mounted."""
    return moved_away(pathlib.Path(site.disk.path))


@contextlib.contextmanager
def frozen(site: Site) -> Iterator[None]:
    """Somebody's snapshot tool froze the file system and died."""
    subprocess.run(["fsfreeze", "-f", str(site.directory)], check=True)
    try:
        yield
    finally:
        subprocess.run(["fsfreeze", "-u", str(site.directory)], check=False, stderr=subprocess.DEVNULL)


@contextlib.contextmanager
def no_mount_point(site: Site) -> Iterator[None]:
    """Nobody made the mount point on this node."""
    site.directory.rmdir()
    try:
        yield
    finally:
        site.directory.mkdir()


FAULTS = [
    Fault(DISK, "device absent", absent, {
        PROBE: See(NOT_RUNNING),
        START: See(FAILED, ("{device}", "No such file or directory", "check the storage path")),
        RUNNING: See(0),
        STOP: See(0),
    }),
    Fault(DISK, "frozen when stop comes", frozen, {STOP: See(0)}),
    Fault(DISK, "mount point missing", no_mount_point, {
        PROBE: See(NOT_RUNNING),
        START: See(BAD_DIRECTORY, ("mount point {directory}", "mkdir -p {directory}")),
    }),
]
