"""Reading small files whole, as bytes: the kernel's own, which have no size beforehand, and others without a text layer's cost."""
from __future__ import annotations

import errno
import os

# A file that cannot be read for one of these says nothing about whom it tells of: it is we who lack descriptors or memory.
LACKING = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
LACKS = "free processes, descriptors or memory"


def words(error: Exception) -> str:
    """Return an error's own words; where we lacked something, also what to do about it."""
    lacking = isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in LACKING)
    text = str(error) or type(error).__name__
    return "%s: %s" % (text, LACKS) if lacking else text


def read(path: str) -> bytes:
    """Return all bytes of a file. Raise OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        pieces: list[bytes] = []
        while True:
            piece = os.read(descriptor, 1 << 16)
            if not piece:
                return b"".join(pieces)
            pieces.append(piece)
    finally:
        os.close(descriptor)
