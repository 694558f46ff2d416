"""Faults of the disk itself: the device, what is on it, and how it fails while it is in use. mounts.py has those of its mount point."""
from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
import secrets
import shutil
import struct
import subprocess
from collections.abc import Iterator

from faults.fault import DEGRADED, FAILED, NOT_RUNNING, PROBE, RUNNING, RUNNING_10, RUNNING_20, START, STOP, Fault, See
from faults.ways import ended, given, run, stops
from lab import disk as lab_disk
from lab.changed import away
from lab.neighbours import python, shell
from lab.site import Site, wait_until

DISK = "disk"
SHUTDOWN, WITHOUT_FLUSH = 0x8004587D, 2  # EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN are the same; the log is lost too
FIFREEZE, FITHAW = 0xC0045877, 0xC0045878
LOOP_SET_STATUS64, LOOP_GET_STATUS64, SIZE_OF_LOOP_INFO, SIZE_LIMIT = 0x4C04, 0x4C05, 232, 32  # linux/loop.h; where lo_sizelimit lies
SUPERBLOCK, SUPERBLOCK_SIZE, MAGIC = 1024, 1024, 56  # of ext4: where it begins, and where in it the magic number lies
NO_HOLD = {"environment": "JCSIM_FAULTS=daemons=no-hold"}  # the daemons keep no file open, so that others can remount and unmount


# -- sites ---------------------------------------------------------------------------------------------------------------------------

def xfs(folder: pathlib.Path) -> Site:
    """A site on XFS."""
    return Site(folder, fstype="xfs")


def btrfs(folder: pathlib.Path) -> Site:
    """A site on btrfs, which shows an anonymous device number in the mount table."""
    return Site(folder, fstype="btrfs")


def labelled(folder: pathlib.Path) -> Site:
    """A site whose device is given by a label that no other test on this machine uses: all nodes of the lab see all loop devices."""
    site = Site(folder)
    label = "cjc-" + secrets.token_hex(4)
    run("tune2fs", "-L", label, site.disk.path)
    site.parameters["device"] = "LABEL=" + label
    return site


def by_uuid(folder: pathlib.Path) -> Site:
    """A site whose device is given by its UUID."""
    site = Site(folder)
    site.parameters["device"] = "UUID=" + run("blkid", "-c", "/dev/null", "-o", "value", "-s", "UUID", site.disk.path).strip()
    return site


def oddly_named(folder: pathlib.Path) -> Site:
    """A site whose device has a name full of what shells, mount tables and log lines treat specially."""
    site = Site(folder)
    site.parameters["device"] = "/dev/-o ro #1 (a,b)=%%s\\040'\"$x;日 %d" % os.stat(site.disk.path).st_rdev
    with contextlib.suppress(FileExistsError):
        os.mknod(site.parameters["device"], 0o60660, os.stat(site.disk.path).st_rdev)
    return site


def behind_a_link(folder: pathlib.Path) -> Site:
    """A site whose device is named by a symbolic link, as those in /dev/disk are."""
    site = Site(folder)
    site.parameters["device"] = "/dev/link-" + site.name
    os.symlink(site.disk.path, site.parameters["device"])
    return site


# -- which device --------------------------------------------------------------------------------------------------------------------

def nothing(site: Site) -> contextlib.AbstractContextManager[None]:
    """The site itself is unusual enough."""
    return contextlib.nullcontext()


def absent(site: Site) -> contextlib.AbstractContextManager[pathlib.Path]:
    """The storage path is gone: no such device node. What is mounted stays mounted."""
    return away(pathlib.Path(site.disk.path))


def device(name: str) -> object:
    """Another value of `device`."""
    return lambda site: given(site, device=name.format(device=site.disk.path))


@contextlib.contextmanager
def another_with_its_label(site: Site) -> Iterator[None]:
    """Somebody gave a second disk the same label. Healed by taking it away again."""
    other = lab_disk.make(str(site.log.parent / "other.img"), 8, "ext4", "-L", site.parameters["device"].partition("=")[2])
    try:
        yield
    finally:
        other.close()
        wait_until(lambda: not detached_late(other))


@contextlib.contextmanager
def its_clone(site: Site) -> Iterator[None]:
    """The storage shows a snapshot of the disk to the same node: the same label, the same UUID."""
    shutil.copyfile(site.disk.image, site.log.parent / "clone.img")
    other = lab_disk.Disk(str(site.log.parent / "clone.img"))
    try:
        yield
    finally:
        other.close()
        wait_until(lambda: not detached_late(other))


def detached_late(disk: lab_disk.Disk) -> bool:
    """Whether a disk that was let go is still there for blkid."""
    return pathlib.Path("/sys/block/%s/loop" % os.path.basename(disk.path)).exists() and disk.image in pathlib.Path(
        "/sys/block/%s/loop/backing_file" % os.path.basename(disk.path)).read_text()


@contextlib.contextmanager
def plain_file(site: Site) -> Iterator[None]:
    """Somebody's `dd of=/dev/sdx1` on a node without that disk made a plain file of its name."""
    path = pathlib.Path("/dev/file-" + site.name)
    path.write_bytes(bytes(4096))
    try:
        with given(site, device=str(path)):
            yield
    finally:
        path.unlink()


@contextlib.contextmanager
def node_without_device(site: Site) -> Iterator[None]:
    """A node that somebody made by hand, or that udev has not yet removed: no driver answers to its number."""
    path = "/dev/gone-" + site.name
    os.mknod(path, 0o60660, os.makedev(240, 77))  # local/experimental use: nobody's
    try:
        with given(site, device=path):
            yield
    finally:
        os.unlink(path)


@contextlib.contextmanager
def link_names_another(site: Site) -> Iterator[None]:
    """After a rescan of the bus the name stands for another disk, which somebody else has mounted."""
    link, place = pathlib.Path(site.parameters["device"]), site.log.parent / "another"
    other = lab_disk.make(str(site.log.parent / "another.img"), 8)
    place.mkdir()
    run("mount", other.path, str(place))
    link.unlink()
    link.symlink_to(other.path)
    try:
        yield
    finally:
        link.unlink()
        link.symlink_to(site.disk.path)
        run("umount", str(place))
        other.close()


@contextlib.contextmanager
def mounted_in_another_namespace(site: Site) -> Iterator[None]:
    """A container has the disk mounted; no umount of ours reaches it."""
    script = "mountpoint -q %s || mount %s %s; echo ready; exec sleep 1000" % (site.directory, site.disk.path, site.directory)
    try:
        with ended(shell(site, script, "unshare", "--mount", "--propagation", "private", cwd="/", env={"PATH": os.environ["PATH"]})):
            yield
    finally:
        wait_until(lambda: site.disk.can_be_claimed() or site.mounted())


def link_gone(site: Site) -> contextlib.AbstractContextManager[pathlib.Path]:
    """udev has taken the link away; the device is there."""
    return away(pathlib.Path(site.parameters["device"]))


@contextlib.contextmanager
def link_gone_and_in_use(site: Site) -> Iterator[None]:
    """... and a container has the disk mounted."""
    with link_gone(site), mounted_in_another_namespace(site):
        yield


# -- what is on it -------------------------------------------------------------------------------------------------------------------

@contextlib.contextmanager
def overwritten(site: Site) -> Iterator[None]:
    """Whatever is done to the disk's bytes meanwhile, afterwards it holds the bytes of before."""
    before = pathlib.Path(site.disk.path).read_bytes()
    try:
        yield
    finally:
        with open(site.disk.path, "r+b") as file:
            file.write(before)
            file.flush()
            os.fsync(file.fileno())


@contextlib.contextmanager
def empty_disk(site: Site) -> Iterator[None]:
    """A new LUN that nobody has made a file system on."""
    with overwritten(site):
        run("wipefs", "-aq", site.disk.path)
        yield


@contextlib.contextmanager
def swap_signature(site: Site) -> Iterator[None]:
    """It was taken for a swap device."""
    with overwritten(site):
        run("wipefs", "-aq", site.disk.path)
        run("mkswap", site.disk.path)
        yield


@contextlib.contextmanager
def damaged_superblock(site: Site) -> Iterator[None]:
    """The magic number is there, all else is rubbish."""
    with overwritten(site):
        with open(site.disk.path, "r+b") as file:
            file.seek(SUPERBLOCK)
            block = bytearray(b"\xa5" * SUPERBLOCK_SIZE)
            block[MAGIC:MAGIC + 2] = b"\x53\xef"
            file.write(block)
        yield


@contextlib.contextmanager
def zeroed_superblock(site: Site) -> Iterator[None]:
    """Nothing in it tells that there was a file system."""
    with overwritten(site):
        with open(site.disk.path, "r+b") as file:
            file.seek(SUPERBLOCK)
            file.write(bytes(SUPERBLOCK_SIZE))
        yield


@contextlib.contextmanager
def errors_flagged(site: Site) -> Iterator[None]:
    """The kernel has noted an error in the superblock; the file system is sound."""
    run("debugfs", "-w", "-R", "set_super_value state 2", site.disk.path)
    yield


@contextlib.contextmanager
def root_folder_cleared(site: Site) -> Iterator[None]:
    """Damage that fsck -p does not repair without being asked."""
    with overwritten(site):
        run("debugfs", "-w", "-R", "clri <2>", site.disk.path)
        run("debugfs", "-w", "-R", "set_super_value state 2", site.disk.path)
        yield


@contextlib.contextmanager
def crashed(site: Site) -> Iterator[None]:
    """The node lost its power: what was synced is in the journal only."""
    site.mount()
    with open(site.site_db / "synced", "w") as file:
        file.write("kept")
        file.flush()
        os.fsync(file.fileno())
    shut_down(site)
    site.umount()
    if site.parameters.get("fstype") != "xfs":
        assert "needs_recovery" in run("dumpe2fs", "-h", site.disk.path)
    yield


def what_was_synced_is_there(site: Site) -> None:
    """The journal was replayed."""
    assert (site.site_db / "synced").read_text() == "kept"


def shut_down(site: Site) -> None:
    """The kernel gives the file system up, as it does after I/O errors in its journal."""
    descriptor = os.open(site.directory, os.O_RDONLY)
    try:
        fcntl.ioctl(descriptor, SHUTDOWN, struct.pack("I", WITHOUT_FLUSH))
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def mounted(site: Site) -> Iterator[None]:
    """To change what is on the disk, whether the site runs or not."""
    ours = not site.mounted()
    if ours:
        site.mount()
    try:
        yield
    finally:
        if ours:
            site.umount()


@contextlib.contextmanager
def full(site: Site) -> Iterator[None]:
    """Not one block is left, not even of root's."""
    file = site.directory / "filler"
    with mounted(site):
        for size in (1 << 20, 4096, 4096, 512):  # what was set aside for delayed allocation is free again after a sync
            with contextlib.suppress(OSError), open(file, "ab", buffering=0) as filler:
                while filler.write(bytes(size)) == size:
                    pass
            os.sync()
    try:
        yield
    finally:
        with mounted(site):
            file.unlink()


def is_degraded(site: Site) -> None:
    """Started as far as JobCenter is concerned, but level 20 says what is the matter."""
    assert site.monitor(20) == DEGRADED


@contextlib.contextmanager
def no_inodes(site: Site) -> Iterator[None]:
    """Not one more file can be made."""
    folder = site.directory / "filler"
    with mounted(site), contextlib.suppress(OSError):
        folder.mkdir()
        for number in range(1 << 20):
            os.mknod("%s/%d" % (folder, number))
    try:
        yield
    finally:
        with mounted(site):
            shutil.rmtree(folder)


@contextlib.contextmanager
def no_site_db(site: Site) -> Iterator[None]:
    """It is the right disk, but the site DB's folder is not on it."""
    with mounted(site):
        site.site_db.rename(site.directory / "elsewhere")
    try:
        yield
    finally:
        with mounted(site):
            (site.directory / "elsewhere").rename(site.site_db)


@contextlib.contextmanager
def another_sites_db(site: Site) -> Iterator[None]:
    """A disk of another cluster site was given to this one."""
    with no_site_db(site):
        with mounted(site):
            run("mkdir", str(site.site_db))
            site.simulator("cjcmksite", "-d", str(site.site_db), "-n", "other" + site.name, "-i", site.vip)
        yield
        with mounted(site):
            shutil.rmtree(site.site_db)


# -- how it fails while it is in use -------------------------------------------------------------------------------------------------

@contextlib.contextmanager
def write_protected(site: Site) -> Iterator[None]:
    """The storage lets nobody write; mount(8) falls back to read-only and exits with 0."""
    run("blockdev", "--setro", site.disk.path)
    try:
        yield
    finally:
        run("blockdev", "--setrw", site.disk.path)


@contextlib.contextmanager
def remounted_read_only(site: Site) -> Iterator[None]:
    """Somebody protects the disk, for a backup perhaps."""
    run("mount", "-o", "remount,ro", str(site.directory))
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(site.directory)], check=False, stderr=subprocess.DEVNULL)


@contextlib.contextmanager
def error_of_ext4(site: Site) -> Iterator[None]:
    """ext4 found its own data damaged: with errors=remount-ro it takes no more writes."""
    pathlib.Path("/sys/fs/ext4/%s/trigger_fs_error" % os.path.basename(site.disk.path)).write_text("the fault matrix")
    yield


@contextlib.contextmanager
def forced_shutdown(site: Site) -> Iterator[None]:
    """I/O errors in the journal: every access says EIO until it is unmounted."""
    shut_down(site)
    yield


@contextlib.contextmanager
def unreadable(site: Site) -> Iterator[None]:
    """All but the first 512 bytes of the disk say EIO: the path to the storage is dead, or an array has lost too many of its disks."""
    set_size_limit(site.disk.path, 512)
    try:
        yield
    finally:
        set_size_limit(site.disk.path, 0)


def set_size_limit(device: str, limit: int) -> None:
    """Make a loop device end after `limit` bytes (0: all of it), also while it is mounted."""
    descriptor = os.open(device, os.O_RDWR)
    try:
        status = bytearray(SIZE_OF_LOOP_INFO)
        fcntl.ioctl(descriptor, LOOP_GET_STATUS64, status)
        struct.pack_into("Q", status, SIZE_LIMIT, limit)
        fcntl.ioctl(descriptor, LOOP_SET_STATUS64, bytes(status))
        run("blockdev", "--flushbufs", device)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def image_deleted(site: Site) -> Iterator[None]:
    """The file behind the loop device is unlinked: it lives as long as it is in use."""
    aside = site.disk.image + ".away"
    os.link(site.disk.image, aside)
    os.unlink(site.disk.image)
    try:
        yield
    finally:
        os.rename(aside, site.disk.image)


# -- frozen --------------------------------------------------------------------------------------------------------------------------

@contextlib.contextmanager
def frozen(site: Site) -> Iterator[None]:
    """Somebody's snapshot tool froze the file system and died."""
    run("fsfreeze", "-f", str(site.directory))
    try:
        yield
    finally:
        subprocess.run(["fsfreeze", "-u", str(site.directory)], check=False, stderr=subprocess.DEVNULL)


@contextlib.contextmanager
def frozen_and_unmounted(site: Site) -> Iterator[None]:
    """... and somebody unmounted it: the frozen superblock stays in the kernel, and keeps the device."""
    with mounted(site):
        run("fsfreeze", "-f", str(site.directory))
    if site.mounted():
        site.umount()
    assert not site.disk.can_be_claimed(), "that is the fault"
    try:
        yield
    finally:
        thaw_unmounted(site)


def thaw_unmounted(site: Site) -> None:
    """A mount of the same device finds the frozen superblock again: thaw it there."""
    if not site.mounted():
        site.mount()
        subprocess.run(["fsfreeze", "-u", str(site.directory)], check=False, stderr=subprocess.DEVNULL)
        site.umount()
    else:
        subprocess.run(["fsfreeze", "-u", str(site.directory)], check=False, stderr=subprocess.DEVNULL)


FREEZER = """import fcntl, os, sys, time
folder, number = sys.argv[1], int(sys.argv[2])
print('ready', flush=True)
while True:
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        if os.fstat(descriptor).st_dev == number:
            fcntl.ioctl(descriptor, %d, 0)
    except OSError:
        pass
    os.close(descriptor)
    time.sleep(0.005)
""" % FIFREEZE


@contextlib.contextmanager
def frozen_again_and_again(site: Site) -> Iterator[None]:
    """A snapshot tool that does not take no for an answer."""
    try:
        with ended(python(site, FREEZER, str(site.directory), str(os.stat(site.directory).st_dev))):
            yield
    finally:
        if not site.disk.can_be_claimed():
            thaw_unmounted(site)


FAULTS = [
    Fault(DISK, "device absent", absent, {
        PROBE: See(NOT_RUNNING),
        START: See(FAILED, ("{device}", "No such file or directory", "check the storage path"), then=stops),
        RUNNING: See(0),
        STOP: See(0),
    }),
    Fault(DISK, "a label that nobody answers", device("LABEL=cjc-nobody"), {
        PROBE: See(NOT_RUNNING),
        START: See(FAILED, ("LABEL=cjc-nobody", "no device answers", "check the storage path"), then=stops),
    }),
    Fault(DISK, "two devices with the same label", another_with_its_label, {
        PROBE: See(NOT_RUNNING),
        START: See(FAILED, ("LABEL=cjc-", "{device}", " and /dev/loop", "change one of them"), then=stops),
        RUNNING: See(0),
        STOP: See(0),
    }, site=labelled),
    Fault(DISK, "a clone with the same UUID", its_clone, {
        START: See(FAILED, ("UUID=", "{device}", " and /dev/loop", "change one of them"), then=stops),
        RUNNING: See(0),
        STOP: See(0),
    }, site=by_uuid),
    Fault(DISK, "device is a plain file", plain_file, {
        PROBE: See(NOT_RUNNING),
        START: See(FAILED, ("/dev/file-{site} is not a block device", "check `device`"), then=stops),
    }),
    Fault(DISK, "device is a character device", device("/dev/null"), {
        PROBE: See(NOT_RUNNING),
        START: See(FAILED, ("/dev/null is not a block device", "check `device`"), then=stops),
    }),
    Fault(DISK, "device is a folder", device("/dev/pts"), {
        PROBE: See(NOT_RUNNING),
        START: See(FAILED, ("/dev/pts is not a block device", "check `device`"), then=stops),
    }),
    Fault(DISK, "device lies below something that is no folder", device("{device}/1"), {
        PROBE: See(NOT_RUNNING),
        START: See(FAILED, ("{device}/1", "Not a directory", "check the storage path"), then=stops),
    }),
    Fault(DISK, "device name full of odd characters", nothing, {START: See(0), RUNNING_20: See(0), STOP: See(0)}, site=oddly_named),
    Fault(DISK, "the device's name stands for another disk now", link_names_another, {RUNNING: See(0), STOP: See(0)}, site=behind_a_link),
    Fault(DISK, "the device's link has gone", link_gone, {PROBE: See(NOT_RUNNING), RUNNING: See(0), STOP: See(0)}, site=behind_a_link),
    Fault(DISK, "the device's link has gone, another mount namespace uses it", link_gone_and_in_use, {
        STOP: See(FAILED, ("{device}", "in use on this node", "sleep[", "end them"), timeout=6),
    }, site=behind_a_link, quick=False),
    Fault(DISK, "in use by another mount namespace", mounted_in_another_namespace, {
        PROBE: See(NOT_RUNNING),
        START: See(FAILED, ("{device}", "in use on this node", "sleep[", "end them"), timeout=6),
        RUNNING_10: See(0),
        STOP: See(FAILED, ("{device}", "in use on this node", "sleep[", "end them"), timeout=6),
    }),
    Fault(DISK, "fstype says xfs, the disk holds ext4", lambda site: given(site, fstype="xfs"), {
        START: See(FAILED, ("{device}", "ext4", "xfs", "`fstype`"), then=stops),
    }),
    Fault(DISK, "fstype says ext4, the disk holds xfs", lambda site: given(site, fstype="ext4"), {
        START: See(FAILED, ("{device}", "ext4", "xfs", "`fstype`"), never=("by hand",), then=stops),
    }, site=xfs),
    Fault(DISK, "a disk without a file system", empty_disk, {
        START: See(FAILED, ("{device}", "no file system", "check `device`"), then=stops),
    }),
    Fault(DISK, "a disk without a file system, fstype given, run_fsck=no", empty_disk, {
        START: See(FAILED, ("{device}", "wrong fs type", "check `device`"), then=stops),
    }, parameters={"fstype": "ext4", "run_fsck": "no"}),
    Fault(DISK, "a swap signature", swap_signature, {
        START: See(FAILED, ("{device}", "swap", "check `device`"), then=stops),
    }),
    Fault(DISK, "damaged superblock", damaged_superblock, {
        PROBE: See(NOT_RUNNING),
        START: See(FAILED, ("{device}", "fsck.ext4", "run fsck on {device} by hand"), then=stops),
    }, parameters={"fstype": "ext4"}),
    Fault(DISK, "zeroed superblock", zeroed_superblock, {
        START: See(FAILED, ("{device}", "no file system", "check `device`"), then=stops),
    }),
    Fault(DISK, "errors flagged in the superblock", errors_flagged, {START: See(0)}),
    Fault(DISK, "damage that fsck -p does not repair", root_folder_cleared, {
        START: See(FAILED, ("{device}", "fsck.ext4", "run fsck on {device} by hand"), then=stops),
    }),
    Fault(DISK, "dirty journal", crashed, {START: See(0, then=what_was_synced_is_there)}),
    Fault(DISK, "dirty journal, run_fsck=no", crashed, {START: See(0, then=what_was_synced_is_there)}, parameters={"run_fsck": "no"}, quick=False),
    Fault(DISK, "dirty journal, run_fsck=force", crashed, {START: See(0, then=what_was_synced_is_there)}, parameters={"run_fsck": "force"}),
    Fault(DISK, "dirty journal on XFS", crashed, {START: See(0, then=what_was_synced_is_there)}, site=xfs, parameters={"fstype": "xfs"}),
    Fault(DISK, "full", full, {
        START: See(0, then=is_degraded),
        RUNNING: See(0),
        RUNNING_20: See(DEGRADED, ("{site_db} is full", "ENOSPC", "make room")),
        STOP: See(0),
    }),
    Fault(DISK, "out of inodes", no_inodes, {
        START: See((0, FAILED)),
        RUNNING_20: See(DEGRADED, ("{site_db} is full", "ENOSPC", "make room")),
        STOP: See(0),
    }, quick=False),
    Fault(DISK, "site DB missing on the disk", no_site_db, {
        START: See(FAILED, ("{site_db}",), then=stops),
    }),
    Fault(DISK, "site DB of another site on the disk", another_sites_db, {
        START: See(FAILED, ("{site_db}", "other{site}"), then=stops),
    }),
    Fault(DISK, "mount options that the kernel refuses", lambda site: given(site, options="nosuchoption"), {
        START: See(FAILED, ("{device}", "mount exited", "`options`"), then=stops),
    }),
    Fault(DISK, "mount option ro", lambda site: given(site, options="ro"), {
        START: See(FAILED, ("{device}", "{directory}", "read-only", "`options`"), then=stops),
    }),
    Fault(DISK, "write-protected device", write_protected, {
        START: See(FAILED, ("{device}", "{directory}", "read-only"), then=stops),
    }, parameters={"run_fsck": "no"}),
    Fault(DISK, "remounted read-only", remounted_read_only, {
        RUNNING: See(FAILED, ("{device}", "{directory}", "read-only", "kernel's log")),
        STOP: See(0),
    }, parameters=NO_HOLD),
    Fault(DISK, "ext4 went read-only after an error", error_of_ext4, {
        RUNNING: See(FAILED, ("{device}", "{directory}", "read-only", "kernel's log")),
        STOP: See(0),
    }, parameters={"options": "errors=remount-ro"}),
    Fault(DISK, "forced shutdown of ext4", forced_shutdown, {
        RUNNING: See(FAILED, ("{device}", "{directory}", "kernel's log")),
        RUNNING_20: See(FAILED, ("{device}", "{directory}", "kernel's log")),
        STOP: See(0),
    }),
    Fault(DISK, "forced shutdown of XFS", forced_shutdown, {
        RUNNING: See(FAILED, ("{site_db} cannot be read", "kernel's log")),
        RUNNING_10: See(FAILED, ("{site_db} cannot be read", "kernel's log")),
        RUNNING_20: See(FAILED, ("{site_db} cannot be read", "kernel's log")),
        STOP: See(0),
    }, site=xfs),
    Fault(DISK, "device node without a device", node_without_device, {
        PROBE: See(NOT_RUNNING),
        START: See(FAILED, ("/dev/gone-{site} cannot be opened", "No such device or address", "check the storage path"), then=stops),
    }),
    Fault(DISK, "storage lost: every read and write fails", unreadable, {
        PROBE: See(NOT_RUNNING),
        START: See(FAILED, ("{device}", "kernel's log"), then=stops),
        RUNNING_20: See(FAILED, ("{directory}", "kernel's log")),
        STOP: See(0),
    }),
    Fault(DISK, "btrfs, its device node gone", absent, {
        PROBE: See(NOT_RUNNING),
        RUNNING_20: See(0),
        STOP: See(0),
    }, site=btrfs),
    Fault(DISK, "btrfs in use by another mount namespace", mounted_in_another_namespace, {
        START: See(FAILED, ("{device}", "in use on this node", "end its user"), timeout=6),
        STOP: See(FAILED, ("{device}", "in use on this node", "sleep[", "end them"), timeout=6),
    }, site=btrfs, quick=False),
    Fault(DISK, "btrfs frozen", frozen, {STOP: See(0)}, site=btrfs),
    Fault(DISK, "btrfs full", full, {RUNNING_20: See(DEGRADED, ("{site_db} is full", "ENOSPC", "make room")), STOP: See(0)}, site=btrfs, quick=False),
    Fault(DISK, "image behind the loop device deleted", image_deleted, {RUNNING_20: See(0), STOP: See(0)}),
    Fault(DISK, "frozen", frozen, {
        RUNNING: See(0),
        RUNNING_10: See(0),
        RUNNING_20: See(FAILED, ("{site_db}: write test", "fsfreeze -u"), timeout=6),
        STOP: See(0),
    }),
    Fault(DISK, "XFS frozen", frozen, {
        RUNNING_20: See(FAILED, ("{site_db}: write test", "fsfreeze -u"), timeout=6),
        STOP: See(0),
    }, site=xfs, quick=False),
    Fault(DISK, "frozen again and again", frozen_again_and_again, {STOP: See((0, FAILED), timeout=10)}, quick=False),
    Fault(DISK, "frozen, then unmounted by somebody", frozen_and_unmounted, {
        PROBE: See(NOT_RUNNING),
        START: See(FAILED, ("{device}", "in use on this node", "fsfreeze -u"), timeout=6),
        RUNNING: See(FAILED),
        STOP: See(FAILED, ("{device}", "in use on this node", "fsfreeze -u"), timeout=6),
    }, parameters=NO_HOLD, quick=False),
]
