"""Small root-owned files in the state folder ($HA_RSCTMP): written whole or not at all, never through somebody else's link."""
from __future__ import annotations

import os
import stat

LARGEST = 1 << 20  # bytes; nothing of ours comes near it


class Untrusted(Exception):
    """The file is not ours to believe; the text says why and what to do."""


def read(path: str) -> bytes | None:
    """Given a path, return the file's bytes, or None where there is none.

    Raise Untrusted when it is a link, not a plain file, not ours, writable by others or too large; OSError when it cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Untrusted("%s: %s: remove it" % (path, error.strerror)) from error
    try:
        complaint = _complaint(os.fstat(descriptor))
        if complaint:
            raise Untrusted("%s: %s: remove it" % (path, complaint))
        return os.read(descriptor, LARGEST)
    finally:
        os.close(descriptor)


def _complaint(facts: os.stat_result) -> str:
    if not stat.S_ISREG(facts.st_mode):
        return "not a plain file"
    if facts.st_uid != os.geteuid():
        return "owned by uid %d" % facts.st_uid
    if facts.st_nlink != 1:
        return "has %d hard links" % facts.st_nlink
    if facts.st_mode & 0o022:
        return "writable by others"
    if facts.st_size >= LARGEST:
        return "larger than %d bytes" % LARGEST
    return ""


def write(path: str, data: bytes) -> None:
    """Given a path and bytes, replace the file in one step (mode 0600). Raise OSError; the old file is then untouched."""
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    temporary = "%s.%d.new" % (path, os.getpid())
    remove(temporary)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view):]
        finally:
            os.close(descriptor)
        os.rename(temporary, path)
    except OSError:
        remove(temporary)
        raise


def remove(path: str) -> None:
    """Remove the file if it is there. Raise OSError when it cannot be removed."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
