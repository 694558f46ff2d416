"""CJC3xx: the shared disk and the site DB broken in every way that there is a rule for."""
from __future__ import annotations

import contextlib
import os
import pathlib
import secrets
import struct
import subprocess
from collections.abc import Iterator

from agent.breakages.cluster import configuration, pair
from lab import disk
from lab.changed import away, mode_of, owned_by, text_of
from lab.healthy import Broken, Healthy, cluster, configured

FSTAB = pathlib.Path("/etc/fstab")
ELSEWHERE = pathlib.Path("/srv/elsewhere")
UNFENCED = pair("properties", "stonith-enabled", "false")


def run(*words: str | pathlib.Path) -> str:
    """Run a tool of the system's."""
    return subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True).stdout


@contextlib.contextmanager
def mounted(healthy: Healthy, *options: str) -> Iterator[None]:
    """On a standby: somebody has mounted the disk, and no site runs that could be hurt."""
    healthy.site.mount(*options)
    try:
        yield
    finally:
        healthy.site.umount()


@contextlib.contextmanager
def folder(path: pathlib.Path) -> Iterator[None]:
    """A folder that was not there, and what is made in it."""
    path.mkdir(parents=True)
    try:
        yield
    finally:
        path.rmdir()


@contextlib.contextmanager
def mounted_and(healthy: Healthy, breaks: contextlib.AbstractContextManager[None]) -> Iterator[None]:
    """The disk is mounted, and then something is done to it."""
    with mounted(healthy), breaks:
        yield


@contextlib.contextmanager
def without(healthy: Healthy, name: str) -> Iterator[None]:
    """The site DB, or a folder of it, is not there."""
    with mounted(healthy), away(healthy.site.directory / name):
        yield


def note(healthy: Healthy) -> pathlib.Path:
    """Where the agent has noted whose site DB it is."""
    return healthy.site.site_db / ".cjc-agent-site"


@contextlib.contextmanager
def stray(healthy: Healthy, **changes: str) -> Iterator[None]:
    """The site DB was made while the disk was not mounted."""
    with configured(healthy, **changes), folder(healthy.site.site_db), folder(healthy.site.site_db / "nqs"):
        yield


@contextlib.contextmanager
def bound(healthy: Healthy) -> Iterator[None]:
    """The cluster mounts "the disk", which is a folder of the root file system."""
    with configured(healthy, device=""), folder(ELSEWHERE), folder(ELSEWHERE / "job_site"), folder(ELSEWHERE / "job_site/nqs"):
        run("mount", "--bind", ELSEWHERE, healthy.site.directory)
        try:
            yield
        finally:
            healthy.site.umount()


@contextlib.contextmanager
def filled(healthy: Healthy, left: int) -> Iterator[None]:
    """The disk of the running site has `left` KiB left: little, but enough to live on."""
    facts = os.statvfs(healthy.site.directory)
    file = healthy.site.directory / "filler"
    with open(file, "wb") as filler:
        os.posix_fallocate(filler.fileno(), 0, facts.f_bavail * facts.f_frsize - (left << 10))
    try:
        yield
    finally:
        file.unlink()


@contextlib.contextmanager
def crowded(healthy: Healthy) -> Iterator[None]:
    """Small files have used up the inodes, though there is space."""
    many = healthy.site.directory / "many"
    with mounted(healthy):
        many.mkdir()
        first = many / "0"
        try:
            first.touch()
            for number in range(1, os.statvfs(many).f_favail - 100):
                os.mknod(many / str(number))
            yield
        finally:
            run("rm", "-rf", many)


@contextlib.contextmanager
def on(healthy: Healthy, made: disk.Disk, **changes: str) -> Iterator[disk.Disk]:
    """The parameters name another device."""
    try:
        with configured(healthy, device=made.path, **changes):
            yield made
    finally:
        made.close()


def blank(healthy: Healthy) -> disk.Disk:
    """A device with nothing on it."""
    image = healthy.conf.with_name("blank.img")
    image.write_bytes(b"")
    os.truncate(image, 8 << 20)
    return disk.Disk(str(image))


def two_kinds(healthy: Healthy) -> disk.Disk:
    """A device with two superblocks: ext4's, and reiserfs's of an earlier life."""
    made = disk.make(str(healthy.conf.with_name("kinds.img")), 8)
    with open(made.path, "r+b") as device:
        device.seek(64 << 10)
        device.write(struct.pack("<4I28xH6x10s", 2048, 10, 18, 18, 4096, b"ReIsEr2Fs"))
        os.fsync(device.fileno())
    return made


@contextlib.contextmanager
def twins(healthy: Healthy, mount: bool) -> Iterator[None]:
    """A copy of the disk is there, too, with the same label."""
    label = "cjc-" + secrets.token_hex(4)
    run("e2label", healthy.site.disk.path, label)
    twin = disk.make(str(healthy.conf.with_name("twin.img")), 8, "ext4", "-L", label)
    try:
        with configured(healthy, device="LABEL=" + label), mounted(healthy) if mount else contextlib.nullcontext():
            yield
    finally:
        twin.close()


def fstab(healthy: Healthy, line: str) -> contextlib.AbstractContextManager[None]:
    """There is one more line in fstab: %d the device, %p the mount point, %u the UUID."""
    uuid = run("blkid", "-c", "/dev/null", "-o", "value", "-s", "UUID", healthy.site.disk.path).strip()
    line = line.replace("%d", healthy.site.disk.path).replace("%p", str(healthy.site.directory)).replace("%u", uuid)
    return text_of(FSTAB, "# disks\n#%s\n\n%s\n" % (line, line))


@contextlib.contextmanager
def no_mount_point(healthy: Healthy) -> Iterator[None]:
    """Nobody has made it on this node."""
    healthy.site.directory.rmdir()
    try:
        yield
    finally:
        healthy.site.directory.mkdir()


@contextlib.contextmanager
def link_as_mount_point(healthy: Healthy) -> Iterator[None]:
    """It is a symbolic link to another folder."""
    with folder(ELSEWHERE), no_mount_point(healthy):
        healthy.site.directory.symlink_to(ELSEWHERE)
        try:
            yield
        finally:
            healthy.site.directory.unlink()


@contextlib.contextmanager
def behind_a_link(healthy: Healthy) -> Iterator[None]:
    """The cluster mounts the disk, and the parameter names the site DB by way of a link."""
    ELSEWHERE.symlink_to(healthy.site.directory)
    try:
        with mounted(healthy), configured(healthy, device="", directory="", site_db=str(ELSEWHERE / "job_site")):
            yield
    finally:
        ELSEWHERE.unlink()


@contextlib.contextmanager
def stranger(healthy: Healthy) -> Iterator[None]:
    """Something else is mounted on the mount point."""
    run("mount", "-t", "tmpfs", "stranger", healthy.site.directory)
    try:
        yield
    finally:
        healthy.site.umount()


@contextlib.contextmanager
def mounted_elsewhere(healthy: Healthy) -> Iterator[None]:
    """The disk is mounted where it does not belong."""
    with folder(ELSEWHERE):
        run("mount", healthy.site.disk.path, ELSEWHERE)
        try:
            yield
        finally:
            run("umount", ELSEWHERE)


def site_db(healthy: Healthy) -> str:
    """Its path."""
    return str(healthy.site.site_db)


def mount_point(healthy: Healthy) -> str:
    """Its path."""
    return str(healthy.site.directory)


def device(healthy: Healthy) -> str:
    """Its path."""
    return healthy.site.disk.path


ROWS = [
    Broken("the site DB is missing", "CJC301", lambda healthy: without(healthy, "job_site"), site_db, True),
    Broken("half of the site DB is missing", "CJC301", lambda healthy: without(healthy, "job_site/nqs"), site_db, True),
    Broken("the site DB is another site's", "CJC302", lambda healthy: text_of(note(healthy), "jobsiteB\n"), lambda healthy: str(note(healthy))),
    Broken("the site DB was made while the disk was not mounted", "CJC303", stray, site_db, True),
    Broken("the site DB is on the root file system", "CJC303", lambda healthy: stray(healthy, device="", directory=""), site_db, True),
    Broken("the disk is a folder of the root file system", "CJC303", bound, site_db, True),
    Broken("everybody can write the site DB", "CJC304", lambda healthy: mode_of(healthy.site.site_db, 0o777), site_db),
    Broken("the site's files are somebody else's", "CJC304", lambda healthy: owned_by(healthy.site.site_db / "nqs", 12345),
           lambda healthy: site_db(healthy) + "/nqs"),
    Broken("a site DB that its user cannot write, on a standby", "CJC304",
           lambda healthy: mounted_and(healthy, mode_of(healthy.site.site_db, 0o500)), site_db, True),
    Broken("too little space by share", "CJC305", lambda healthy: filled(healthy, 1200), site_db),
    Broken("too little space by size", "CJC305", lambda healthy: configured(healthy, min_free_mib="1000"), site_db),
    Broken("the inodes are used up", "CJC306", crowded, site_db, True),
    Broken("the disk is mounted read-only", "CJC307", lambda healthy: mounted(healthy, "-o", "ro"), mount_point, True),
    Broken("the disk would be mounted read-only", "CJC307", lambda healthy: configured(healthy, options="noatime,ro"), "", True),
    Broken("the device is absent", "CJC308", lambda healthy: configured(healthy, device="/dev/disk/by-id/cjc-nobody"), "", True),
    Broken("no device has the label", "CJC308", lambda healthy: configured(healthy, device="LABEL=cjc-nobody"), "", True),
    Broken("two devices have the label", "CJC309", lambda healthy: twins(healthy, False), "", True),
    Broken("two devices have the label, one of them is mounted", "CJC309", lambda healthy: twins(healthy, True), "", True),
    Broken("nothing is on the device", "CJC310", lambda healthy: on(healthy, blank(healthy)), None, True),
    Broken("signatures of two kinds are on the device", "CJC310", lambda healthy: on(healthy, two_kinds(healthy)), None, True),
    Broken("another file system than `fstype` says is on the device", "CJC310", lambda healthy: configured(healthy, fstype="xfs"), device),
    Broken("neither mmp nor fencing", "CJC311", lambda healthy: cluster(configuration(healthy, properties=UNFENCED)), device),
    Broken("fstab mounts the mount point", "CJC314", lambda healthy: fstab(healthy, "UUID=0-0 %p/ ext4 defaults,nofail 0 2"), "/etc/fstab:4"),
    Broken("fstab mounts the mount point, on a standby", "CJC314", lambda healthy: fstab(healthy, "/dev/sdz9\t%p"), "/etc/fstab:4", True),
    Broken("fstab mounts the device", "CJC314", lambda healthy: fstab(healthy, "%d /srv/other ext4 rw 0 2"), "/etc/fstab:4", True),
    Broken("fstab mounts the device by its UUID", "CJC314", lambda healthy: fstab(healthy, 'UUID="%u" none ext4 rw 0 2'), "/etc/fstab:4"),
    Broken("systemd mounts the device when it is touched", "CJC314", lambda healthy: fstab(healthy, "%d %p auto noauto,x-systemd.automount"),
           "/etc/fstab:4", True),
    Broken("the mount point is missing", "CJC315", no_mount_point, mount_point, True),
    Broken("the mount point is a link", "CJC315", link_as_mount_point, mount_point, True),
    Broken("the site DB is behind a link", "CJC315", behind_a_link, str(ELSEWHERE / "job_site"), True),
    Broken("a stranger is mounted there", "CJC316", stranger, mount_point, True),
    Broken("the disk is mounted elsewhere", "CJC316", mounted_elsewhere, mount_point, True),
]
