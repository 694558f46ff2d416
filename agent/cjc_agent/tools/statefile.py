"""Small root-owned files in the state folder ($HA_RSCTMP): written whole or not at all, never through somebody else's link.

A file is ours when its folder is: who may rename a folder on the way to it, or an entry of it, can bring back an old file of ours, too.
"""
from __future__ import annotations

import errno
import os
import stat

LARGEST = 1 << 20  # bytes; nothing of ours comes near it


class Untrusted(Exception):
    """The file is not ours to believe; the text says why and what to do."""


def read(path: str) -> bytes | None:
    """Given a path, return the file's bytes, or None where there is none.

    Raise Untrusted when it or its folder is not ours alone to write, when it is no plain file or too large; OSError when it cannot be read.
    """
    where, words = unsafe(os.path.dirname(path), shared=False)
    if words:
        raise Untrusted("%s: %s: correct it" % (where, words))
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Untrusted("%s: %s: remove it" % (path, error.strerror)) from error
    try:
        facts = os.fstat(descriptor)
        words = complaint(facts) or ("larger than %d bytes" % LARGEST if facts.st_size >= LARGEST else "")
        if words:
            raise Untrusted("%s: %s: remove it" % (path, words))
        return os.read(descriptor, LARGEST)
    finally:
        os.close(descriptor)


def complaint(facts: os.stat_result) -> str:
    """Given what fstat(2) says of an open file, return why it is not ours alone to write, or ""."""
    if not stat.S_ISREG(facts.st_mode):
        return "not a plain file"
    if facts.st_nlink != 1:
        return "has %d hard links" % facts.st_nlink
    return writable_by_others(facts)


def writable_by_others(facts: os.stat_result) -> str:
    """Given what stat(2) says, return why somebody else may write it, or ""."""
    if facts.st_uid not in (0, os.geteuid()):
        return "owned by uid %d" % facts.st_uid
    if facts.st_mode & 0o022:
        return "writable by others"
    return ""


def unsafe(folder: str, shared: bool) -> tuple[str, str]:
    """Return the first folder or link on the way to `folder`, itself included, that lets somebody else exchange what is in it, and words for
    how; ("", "") when there is none, or when `folder` is still to be made in a safe place. `shared`: one like /tmp will do.
    """
    for path in (folder, os.path.realpath(folder)):
        path = path.rstrip("/")
        for end in [at for at, letter in enumerate(path + "/") if letter == "/"]:
            here = path[:end] or "/"
            try:
                facts = os.lstat(here)
            except OSError:  # ENOENT: to be made; whatever else, the open will say it
                break
            if facts.st_uid not in (0, os.geteuid()):
                return here, "owned by uid %d" % facts.st_uid
            sticky = facts.st_mode & stat.S_ISVTX and (shared or here != path)  # others may make files there, but not exchange ours
            if facts.st_mode & 0o022 and not sticky and not stat.S_ISLNK(facts.st_mode):
                return here, "writable by others"
    return "", ""


def make_folder(folder: str, shared: bool = False) -> None:
    """Make a folder for files of ours where it is missing. Raise OSError, also when somebody else can exchange files in it."""
    for _ in ("before", "once it is there"):  # somebody else may be faster in making it
        where, words = unsafe(folder, shared)
        if words:
            raise OSError(errno.EPERM, words, where)
        os.makedirs(folder, mode=0o755, exist_ok=True)


def append_to(path: str) -> int:
    """Open a file of ours for appending (made with mode 0600) and return its descriptor. Raise OSError, also when it is not ours alone to write."""
    make_folder(os.path.dirname(path), shared=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY, 0o600)
    words = complaint(os.fstat(descriptor))
    if words:
        os.close(descriptor)
        raise OSError(errno.EPERM, words, path)
    return descriptor


def write(path: str, data: bytes) -> None:
    """Given a path and bytes, replace the file in one step (mode 0600). Raise OSError; the old file is then untouched."""
    make_folder(os.path.dirname(path))
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
