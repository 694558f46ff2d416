"""Multiple mount protection of ext4 (mmp): the disk is in use by another node, or was until that node was lost.

"Another node" is a second device over the disk's image: a superblock and a page cache of its own. What it writes into the mmp block is
real, but for the node's name: the kernel writes this machine's.
"""
from __future__ import annotations

import contextlib
import functools
import os
import pathlib
import subprocess
from collections.abc import Iterator

from faults.fault import FAILED, RUNS, START, Fault, See
from lab import mmp
from lab.disk import Disk
from lab.site import Site

DISK = "disk"
IN_USE = See(FAILED, ("{device} is in use on node %s (ext4 mmp)" % os.uname().nodename, "is off before anything else"), never=("clear_mmp",), timeout=40)


def site(folder: pathlib.Path, interval: int = 1) -> Site:
    """A site whose disk has mmp; `interval`: seconds between two signs of life (5 unless told otherwise: mke2fs(8))."""
    made = Site(folder)
    subprocess.run(["tune2fs", "-O", "mmp", "-E", "mmp_update_interval=%d" % interval, made.disk.path], check=True, stdout=subprocess.DEVNULL)
    return made


@contextlib.contextmanager
def elsewhere(site: Site) -> Iterator[Disk]:
    """Another node has the disk mounted."""
    other, point = Disk(site.disk.image), pathlib.Path("/mnt/other-node")
    point.mkdir(exist_ok=True)
    subprocess.run(["mount", other.path, str(point)], check=True)
    try:
        _forget(site)
        yield other
    finally:
        subprocess.run(["umount", str(point)], check=False)
        other.close()


@contextlib.contextmanager
def lost(site: Site) -> Iterator[None]:
    """Another node had the disk mounted when its power was cut."""
    with elsewhere(site):
        left = mmp.read(site.disk.image)
    assert left
    mmp.write(site.disk.image, left)
    _forget(site)
    yield


def _forget(site: Site) -> None:
    """Our node has not looked at the disk before: the lab's open descriptor would keep its page cache (see Disk.add_partition).

    With a stale mmp block in it the kernel mounts a disk that is in use (6.18; fsck reads past the page cache).
    """
    subprocess.run(["blockdev", "--flushbufs", site.disk.path], check=True)


def site_without_checksums(folder: pathlib.Path) -> Site:
    """As `site`, with a mmp block that can be changed."""
    made = site(folder)
    subprocess.run(["tune2fs", "-O", "^metadata_csum", made.disk.path], check=True, stdout=subprocess.DEVNULL)
    return made


@contextlib.contextmanager
def check_broken_off(site: Site) -> Iterator[None]:
    """Another node lost its power while it was checking the disk: what fsck writes there until it has done (tried with 1.47) is left."""
    before = mmp.read(site.disk.image)
    assert before
    mmp.write(site.disk.image, before._replace(content=mmp.with_sequence(before.content, mmp.FSCK)))
    _forget(site)
    try:
        yield
    finally:
        mmp.write(site.disk.image, before)
        _forget(site)


@contextlib.contextmanager
def nothing(site: Site) -> Iterator[None]:
    """No fault: what protection costs where all is well."""
    yield


FAULTS = [
    Fault(DISK, "ext4 mmp: in use by another node, seen by fsck", elsewhere, {START: IN_USE}, site, recovers=False),
    Fault(DISK, "ext4 mmp: in use by another node, seen by mount", elsewhere, {START: IN_USE}, site, quick=False, recovers=False,
          parameters={"run_fsck": "no"}),
    Fault(DISK, "ext4 mmp: a check was broken off", check_broken_off, {
        START: See(FAILED, ("{device} is being checked on node", "or that was broken off", "see that all other nodes are off"), never=("clear_mmp",))},
        site_without_checksums),
    Fault(DISK, "ext4 mmp: the other node was lost", lost, {START: See(RUNS, timeout=180)}, functools.partial(site, interval=5),
          quick=False, recovers=False),
    Fault(DISK, "ext4 mmp: the other node was lost, run_fsck=no", lost, {START: See(RUNS, timeout=180)}, functools.partial(site, interval=5),
          quick=False, recovers=False, parameters={"run_fsck": "no"}),
    Fault(DISK, "ext4 mmp: the other node was lost, start timeout too short", lost, {
        START: See(FAILED, ("{device}: ext4 mmp waits for node", "raise the start timeout"), timeout=10)}, site, quick=False, recovers=False),
    Fault(DISK, "ext4 mmp: no fault", nothing, {START: See(RUNS, timeout=180)}, functools.partial(site, interval=5), quick=False),
    Fault(DISK, "ext4 mmp: no fault, run_fsck=no", nothing, {START: See(RUNS, timeout=180)}, functools.partial(site, interval=5),
          quick=False, parameters={"run_fsck": "no"}),
]
