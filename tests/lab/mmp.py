"""ext4's multiple mount protection (mmp): what a lost node leaves in the mmp block of a disk.

The kernel of a node that loses its power has no chance to write "nobody has it mounted". The lab's power cut ends namespaces, whose
mounts the kernel takes down in an orderly way, and writes it (tried, also after EXT4_IOC_SHUTDOWN): so what was there is put back.
"""
from __future__ import annotations

import os
import struct
from typing import NamedTuple, Optional

SUPERBLOCK, LOG_BLOCK_SIZE, INCOMPAT, MMP_BLOCK = 1024, 0x18, 0x60, 0x168  # linux/fs/ext4/ext4.h, struct ext4_super_block
FEATURE_MMP = 0x100
MMP_SIZE, SEQUENCE = 1024, 4  # struct mmp_struct
FSCK = 0xE24D4D50  # mmp_seq while fsck is at work


class Mark(NamedTuple):
    """The mmp block of an image."""

    offset: int
    content: bytes


def read(image: str) -> Optional[Mark]:
    """The mark in an image, None when its file system has no mmp."""
    with open(image, "rb") as file:
        superblock = os.pread(file.fileno(), 1024, SUPERBLOCK)
        if not struct.unpack_from("<I", superblock, INCOMPAT)[0] & FEATURE_MMP:
            return None
        offset = struct.unpack_from("<Q", superblock, MMP_BLOCK)[0] * (1024 << struct.unpack_from("<I", superblock, LOG_BLOCK_SIZE)[0])
        return Mark(offset, os.pread(file.fileno(), MMP_SIZE, offset))


def with_sequence(content: bytes, sequence: int) -> bytes:
    """A mark with another sequence number; its checksum, if the file system has any, is then wrong."""
    return content[:SEQUENCE] + struct.pack("<I", sequence) + content[SEQUENCE + 4:]


def write(image: str, mark: Mark) -> None:
    """Put a mark back. Nobody may have the image mounted."""
    with open(image, "r+b") as file:
        os.pwrite(file.fileno(), mark.content, mark.offset)
