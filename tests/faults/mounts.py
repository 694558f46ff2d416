"""Faults of the mount point and of the mount table: who else mounted what, and where."""
from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import subprocess
from collections.abc import Iterator

from faults.disk import DISK, NO_HOLD
from faults.fault import BAD_DIRECTORY, FAILED, NOT_RUNNING, PROBE, RUNNING, RUNNING_10, RUNNING_20, START, STOP, Fault, See
from faults.ways import ended, given, hung, run, stops
from lab import disk as lab_disk
from lab.neighbours import shell
from lab.site import Site

# -- the mount point -----------------------------------------------------------------------------------------------------------------

@contextlib.contextmanager
def no_mount_point(site: Site) -> Iterator[None]:
    """Nobody made the mount point on this node."""
    site.directory.rmdir()
    try:
        yield
    finally:
        site.directory.mkdir()


@contextlib.contextmanager
def file_as_mount_point(site: Site) -> Iterator[None]:
    """A plain file has its name."""
    with no_mount_point(site):
        site.directory.write_text("")
        yield
        site.directory.unlink()


@contextlib.contextmanager
def link_as_mount_point(site: Site) -> Iterator[None]:
    """A symbolic link leads to the real one."""
    link = pathlib.Path("/srv/link-" + site.name)
    link.symlink_to(site.directory)
    try:
        with given(site, directory=str(link), site_db="%s/job_site" % link):
            yield
    finally:
        link.unlink()


@contextlib.contextmanager
def mount_point_in_use(site: Site) -> Iterator[None]:
    """Somebody ran JobCenter there while the disk was not mounted: files that the mount hides."""
    (site.directory / "job_site").mkdir()
    try:
        yield
    finally:
        (site.directory / "job_site").rmdir()


def warned_of_hidden_files(site: Site) -> None:
    """It is no reason not to start, but whoever misses these files must find out where they are."""
    assert "mount point %s is not empty" % site.directory in site.log.read_text()
    stops(site)


@contextlib.contextmanager
def on_a_hung_file_system(site: Site) -> Iterator[None]:
    """The folder that holds the mount point lies on a dead server's file system."""
    folder = pathlib.Path("/srv/dead-" + site.name)
    with hung(folder), given(site, directory="%s/share" % folder, site_db="%s/share/job_site" % folder):
        yield
    folder.rmdir()


# -- other mounts --------------------------------------------------------------------------------------------------------------------

@contextlib.contextmanager
def mounted_at(point: str, *arguments: str, make: bool = True) -> Iterator[None]:
    """mount(8) on a folder; whoever has unmounted it meanwhile is welcome."""
    if make:
        os.makedirs(point)
    before = mounts_at(point)
    run("mount", *arguments, point)
    try:
        yield
    finally:
        if mounts_at(point) > before:
            subprocess.run(["umount", point], check=False)
        if make:
            shutil.rmtree(point, ignore_errors=True)


def mounts_at(point: str) -> int:
    """How many mounts lie on one another there."""
    return pathlib.Path("/proc/self/mountinfo").read_text().count(" %s " % point)


@contextlib.contextmanager
def other_device_there(site: Site) -> Iterator[None]:
    """Another disk is mounted on the mount point: below ours when ours is there, on top of it when it comes later."""
    other = lab_disk.make(str(site.log.parent / "other.img"), 8)
    try:
        with mounted_at(str(site.directory), other.path, make=False):
            yield
    finally:
        other.close()


def other_is_still_there(site: Site) -> None:
    """What is not ours is left alone."""
    stops(site)
    assert "other" in pathlib.Path("/sys/block/%s/loop/backing_file" % os.path.basename(source_at(site.directory))).read_text()


def source_at(point: pathlib.Path) -> str:
    """What is mounted there, as mountinfo says."""
    lines = pathlib.Path("/proc/self/mountinfo").read_text().splitlines()
    return next(line.split(" - ")[1].split(" ")[1] for line in reversed(lines) if line.split(" ")[4] == str(point))


def elsewhere(site: Site) -> contextlib.AbstractContextManager[None]:
    """Somebody mounted our disk in another place to have a look."""
    return mounted_at("/srv/elsewhere-" + site.name, site.disk.path)


def sub_folder_bound(site: Site) -> contextlib.AbstractContextManager[None]:
    """A folder of the site DB is shown in another place, for an FTP server perhaps."""
    return mounted_at("/srv/bound-" + site.name, "--bind", "%s/nqs" % site.site_db)


@contextlib.contextmanager
def sub_folder_bound_and_held(site: Site) -> Iterator[None]:
    """... and somebody works in it."""
    with sub_folder_bound(site):
        shell(site, "echo ready; exec sleep 1000", cwd="/srv/bound-" + site.name)
        yield


def sub_folder_on_top(site: Site) -> contextlib.AbstractContextManager[None]:
    """A folder of our disk is bound over its own mount point: the right device, but not the right files."""
    return mounted_at(str(site.directory), "--bind", "%s/nqs" % site.site_db, make=False)


def nested(site: Site) -> contextlib.AbstractContextManager[None]:
    """A tmpfs for scratch files below the mount point."""
    return mounted_at("%s/scratch" % site.directory, "-t", "tmpfs", "tmpfs")


@contextlib.contextmanager
def nested_and_held(site: Site) -> Iterator[None]:
    """... and somebody works in it."""
    point = "%s/scratch" % site.directory
    os.makedirs(point)
    run("mount", "-t", "tmpfs", "tmpfs", point)
    shell(site, "echo ready; exec sleep 1000", cwd=point)
    yield


@contextlib.contextmanager
def hidden_below(site: Site) -> Iterator[None]:
    """Before ours came, something was mounted below the mount point; ours hides it, and no umount reaches it."""
    with mounted_at("%s/old" % site.directory, "-t", "tmpfs", "tmpfs"):
        yield


def hidden_one_stays(site: Site) -> None:
    """It is nobody's business but its owner's, and does not stand in a stop's way."""
    stops(site)
    assert " %s/old " % site.directory in pathlib.Path("/proc/self/mountinfo").read_text()


@contextlib.contextmanager
def parent_hidden(site: Site) -> Iterator[None]:
    """Somebody mounted something over the folder that holds our mount point: no path leads to ours any more. A stranger has the same name there."""
    run("mount", "-t", "tmpfs", "over", "/srv")
    try:
        os.mkdir(site.directory)
        run("mount", "-t", "tmpfs", "stranger", str(site.directory))
        yield
    finally:
        subprocess.run(["umount", str(site.directory)], check=False)
        run("umount", "/srv")


def stranger_is_still_there(site: Site) -> None:
    """Under the same name, but not ours."""
    assert source_at(site.directory) == "stranger"


@contextlib.contextmanager
def mounted_twice(site: Site) -> Iterator[None]:
    """Somebody mounted the same disk once more over itself."""
    with mounted_at(str(site.directory), "--bind", str(site.directory), make=False):
        yield


@contextlib.contextmanager
def moved(site: Site) -> Iterator[None]:
    """mount --move: ours is in another place now."""
    point = "/srv/moved-" + site.name
    os.mkdir(point)
    run("mount", "--move", str(site.directory), point)
    try:
        yield
    finally:
        if mounts_at(point):
            run("mount", "--move", point, str(site.directory))
        os.rmdir(point)


@contextlib.contextmanager
def unmounted_lazily(site: Site) -> Iterator[None]:
    """umount -l: it has left the mount table, and lives on as long as somebody holds it."""
    run("umount", "-l", str(site.directory))
    yield


@contextlib.contextmanager
def unmounted_lazily_and_held(site: Site) -> Iterator[None]:
    """... and an operator's shell holds it, which no path shows any more."""
    with ended(shell(site, "echo ready; exec sleep 1000", cwd=str(site.directory))):
        run("umount", "-l", str(site.directory))
        yield


@contextlib.contextmanager
def unmounted(site: Site) -> Iterator[None]:
    """Somebody unmounted it under the running site."""
    site.umount()
    yield


FAULTS = [
    Fault(DISK, "mount point missing", no_mount_point, {
        PROBE: See(NOT_RUNNING),
        START: See(BAD_DIRECTORY, ("mount point {directory}", "mkdir -p {directory}"), then=stops),
    }),
    Fault(DISK, "mount point is a file", file_as_mount_point, {
        PROBE: See(NOT_RUNNING),
        START: See(BAD_DIRECTORY, ("mount point {directory} is no directory",), then=stops),
    }),
    Fault(DISK, "mount point is a symbolic link", link_as_mount_point, {
        PROBE: See(NOT_RUNNING),
        START: See(BAD_DIRECTORY, ("symbolic link", "write /srv/{site}"), then=stops),
    }),
    Fault(DISK, "mount point not empty", mount_point_in_use, {START: See(0, then=warned_of_hidden_files)}),
    Fault(DISK, "mount point on a hung file system", on_a_hung_file_system, {
        PROBE: See(NOT_RUNNING),
        START: See(FAILED, ("/srv/dead-{site}/share", "must answer"), timeout=6, then=stops),
    }, quick=False),
    Fault(DISK, "another device on the mount point", other_device_there, {
        PROBE: See(FAILED, ("{directory} should carry {device}, but /dev/loop", "unmount it")),
        START: See(FAILED, ("{directory} should carry {device}, but /dev/loop", "unmount it"), then=other_is_still_there),
        RUNNING: See(FAILED, ("{directory} should carry {device}, but /dev/loop", "unmount it")),
        STOP: See(0),
    }),
    Fault(DISK, "mounted elsewhere on the node", elsewhere, {
        PROBE: See(FAILED, ("{device} should be on {directory}", "is mounted on /srv/elsewhere-{site}", "unmount it")),
        START: See(FAILED, ("{device} should be on {directory}", "is mounted on /srv/elsewhere-{site}", "unmount it"), then=stops),
        RUNNING: See(0),
        STOP: See(0),
    }),
    Fault(DISK, "bind mount of a sub-folder elsewhere", sub_folder_bound, {RUNNING: See(0), STOP: See(0)}),
    Fault(DISK, "bind mount of a sub-folder elsewhere, in use", sub_folder_bound_and_held, {STOP: See(0)}),
    Fault(DISK, "a sub-folder bound over the mount point", sub_folder_on_top, {RUNNING: See(FAILED, ("no site DB", "jcsim-")), STOP: See(0)}),
    Fault(DISK, "nested mount", nested, {RUNNING_20: See(0), STOP: See(0)}),
    Fault(DISK, "nested mount, in use", nested_and_held, {STOP: See(0)}),
    Fault(DISK, "our mount hides another one below", hidden_below, {START: See(0, then=hidden_one_stays)}),
    Fault(DISK, "our mount is hidden by another one", parent_hidden, {
        RUNNING: See(FAILED, ("{directory}",)),
        STOP: See(FAILED, ("{device} (ext4) on {directory}", "hidden by", "unmount that"), timeout=8, then=stranger_is_still_there),
    }, quick=False),
    Fault(DISK, "mounted twice on the mount point", mounted_twice, {RUNNING_10: See(0), STOP: See(0)}),
    Fault(DISK, "moved to another mount point", moved, {
        RUNNING: See(FAILED, ("{device} should be on {directory}", "is mounted on /srv/moved-{site}", "unmount it")),
        STOP: See(0),
    }),
    Fault(DISK, "unmounted lazily by somebody", unmounted_lazily, {
        RUNNING: See(FAILED, ("{device} is not mounted", "stop the resource", "jcsim-")),
        STOP: See(0),
    }),
    Fault(DISK, "unmounted lazily by somebody, and held", unmounted_lazily_and_held, {
        STOP: See(FAILED, ("{device} is in use on this node", "end its user"), timeout=6),
    }, quick=False),
    Fault(DISK, "unmounted by somebody", unmounted, {
        RUNNING: See(FAILED, ("{device} is not mounted", "stop the resource", "jcsim-")),
        RUNNING_20: See(FAILED, ("{device} is not mounted", "stop the resource", "jcsim-")),
        STOP: See(0),
    }, parameters=NO_HOLD),
]
