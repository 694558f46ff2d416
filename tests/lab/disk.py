"""Disks of the lab: an image file behind a loop device that detaches itself when nobody has it open any more.

Several devices over one image are one disk on several nodes: each has a page cache of its own, as each real node has.
"""
from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
import subprocess

LOOP_CTL_GET_FREE, LOOP_CONFIGURE, LO_FLAGS_AUTOCLEAR, LO_FLAGS_PARTSCAN = 0x4C82, 0x4C0A, 4, 8  # linux/loop.h
BLKPG, BLKPG_ADD_PARTITION = 0x1269, 1  # linux/blkpg.h


class Disk:
    """A loop device over `image`. Keep the object: with its descriptor closed and no mount, the kernel detaches the device."""

    def __init__(self, image: str) -> None:
        self.image = image
        self.path, self._descriptor = _attach(image)

    def add_partition(self) -> tuple[str, int]:
        """Make one partition over the whole device; return its kernel name and its device number.

        For nodes that share the image: our own open descriptor keeps the page cache of the device, and a node that looked at the disk
        once would read old blocks after the other node has written. The partition's cache is its own, and goes when the node lets go.
        """
        size = os.lseek(self._descriptor, 0, os.SEEK_END)
        partition = ctypes.create_string_buffer(struct.pack("qqi64s64s4x", 0, size, 1, b"", b""))
        fcntl.ioctl(self._descriptor, BLKPG, struct.pack("iiiP", BLKPG_ADD_PARTITION, 0, len(partition) - 1, ctypes.addressof(partition)))
        name = os.path.basename(self.path)
        with open("/sys/block/%s/%sp1/dev" % (name, name)) as file:
            major, minor = file.read().split(":")
        return name + "p1", os.makedev(int(major), int(minor))

    def can_be_claimed(self) -> bool:
        """Whether open(2) with O_EXCL works: nobody, in no mount namespace, has the disk mounted. Also when its device node has gone."""
        try:
            os.close(os.open("/proc/self/fd/%d" % self._descriptor, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC))
            return True
        except OSError:
            return False

    def close(self) -> None:
        """Let go: the device is detached as soon as nothing has it mounted."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def make(image: str, megabytes: int = 32, fstype: str = "ext4", *options: str) -> Disk:
    """Make an image with a file system on it and attach it."""
    with open(image, "wb") as file:
        file.truncate(megabytes << 20)
    force = "-f" if fstype in ("xfs", "btrfs") else "-F"
    subprocess.run(["mkfs." + fstype, "-q", force, *options, image], check=True, stdout=subprocess.DEVNULL)
    return Disk(image)


def _attach(image: str) -> tuple[str, int]:
    backing = os.open(image, os.O_RDWR | os.O_CLOEXEC)
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        while True:
            path = "/dev/loop%d" % fcntl.ioctl(control, LOOP_CTL_GET_FREE)
            if not os.path.exists(path):
                os.mknod(path, 0o60660, os.makedev(7, int(path[len("/dev/loop"):])))
            device = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            # struct loop_config: fd, block size, struct loop_info64 (flags at 52), reserved
            config = struct.pack("=II52xI176x64x", backing, 0, LO_FLAGS_AUTOCLEAR | LO_FLAGS_PARTSCAN)
            try:
                fcntl.ioctl(device, LOOP_CONFIGURE, config)
                return path, device
            except OSError as error:
                os.close(device)
                if error.errno != errno.EBUSY:  # somebody else on this machine was faster
                    raise
    finally:
        os.close(backing)
        os.close(control)
