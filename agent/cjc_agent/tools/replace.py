"""Replacing somebody else's file in one step: whenever we are killed, there is the old file or the new one, with the old one's owner, mode and labels.

What is written may lie on a file system that hangs: call it in a child that may be abandoned.
"""
from __future__ import annotations

import errno
import os
import stat

from cjc_agent.tools import procfs, statefile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

NEW_MODE = 0o644  # of a file that was not there
MOST_LINKS = 40  # as many as the kernel follows (path_resolution(7))
OF_CONTENT = ("security.ima", "security.evm")  # attributes that the kernel makes from the bytes: the old ones would condemn the new file
CHANGED = "was changed meanwhile by somebody else: look at it, and do it again"


def replace(path: str, data: bytes, before: Optional[bytes], new_mode: int = NEW_MODE) -> str:
    """Replace a file by one with these bytes; return "". `before`: its bytes as they were read (None: there was none), which must still be so.

    A symbolic link stays, and what it names is replaced. Owner, group, mode and extended attributes (SELinux label, ACL) are kept; a new file is
    ours with `new_mode`. Raise OSError, whose words say what to do: the old file is then untouched, unless it was the last step that failed, which
    sees to it that a power cut does not bring it back.
    """
    path = _end_of_links(path)
    temporary = temporary_of(path)
    statefile.remove(temporary)  # left by one that was killed; never read
    old = _open_plain(path)
    try:
        if (old is None) != (before is None):
            raise OSError(errno.EBUSY, CHANGED, path)
        new = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            _make_alike(new, old, new_mode)
            _write(new, data)
            os.fsync(new)
            if _contents(path) != before or not _is_at(new, temporary):
                raise OSError(errno.EBUSY, CHANGED, path)
            os.rename(temporary, path)
        except OSError:
            if _is_at(new, temporary):
                statefile.remove(temporary)
            raise
        finally:
            os.close(new)
    finally:
        if old is not None:
            os.close(old)
    _sync_folder(os.path.dirname(path))
    return ""


def temporary_of(path: str) -> str:
    """Return the name under which the new file is made: always the same, so that the next one finds what was left."""
    folder, name = os.path.split(path)
    return "%s/.%s.cjc-agent-new" % (folder, name.lstrip("."))


def _end_of_links(path: str) -> str:
    """Return what a path leads to. A link that is not root's or ours may have been made to have us write elsewhere: raise OSError."""
    for _ in range(MOST_LINKS):
        try:
            facts = os.lstat(path)
        except FileNotFoundError:
            return path
        if not stat.S_ISLNK(facts.st_mode):
            return path
        if facts.st_uid not in (0, os.geteuid()):
            raise OSError(errno.EPERM, "is a symbolic link of uid %d: replace it by what it should be" % facts.st_uid, path)
        path = os.path.join(os.path.dirname(path), os.readlink(path))
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)


def _open_plain(path: str) -> Optional[int]:
    """Open a plain file with one name; return None where there is none. Raise OSError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except FileNotFoundError:
        return None
    facts = os.fstat(descriptor)
    words = ""
    if not stat.S_ISREG(facts.st_mode):
        words = "is no plain file: move it away"
    elif facts.st_nlink != 1:
        words = "has %d hard links, and the others would keep the old text: make it a file of its own (cp, mv)" % facts.st_nlink
    if words:
        os.close(descriptor)
        raise OSError(errno.EINVAL, words, path)
    return descriptor


def _make_alike(new: int, old: Optional[int], new_mode: int) -> None:
    """Give the new file, still empty and for root alone, what the old one has: a new one might inherit another ACL or label from its folder."""
    if old is None:
        os.fchmod(new, new_mode)
        return
    facts = os.fstat(old)
    os.fchown(new, facts.st_uid, facts.st_gid)
    wanted, given = _attributes(old), _attributes(new)
    for name in given.keys() - wanted.keys():
        os.removexattr(new, name)
    for name, value in wanted.items():
        if given.get(name) != value:
            try:
                os.setxattr(new, name, value)
            except OSError as error:
                raise OSError(error.errno, "%s: its attribute %s cannot be kept" % (error.strerror, name)) from error
    os.fchmod(new, stat.S_IMODE(facts.st_mode))  # last: chown(2) takes bits away, and with an ACL these are its mask


def _attributes(descriptor: int) -> dict[str, bytes]:
    try:
        names = os.listxattr(descriptor)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return {}
        raise
    return {name: os.getxattr(descriptor, name) for name in names if name not in OF_CONTENT}


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view):]


def _contents(path: str) -> Optional[bytes]:
    try:
        return procfs.read(path)
    except FileNotFoundError:
        return None


def _is_at(descriptor: int, path: str) -> bool:
    """Whether an open file is still the one of that name: on a shared disk another node may be at the same work."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot (fsync(2))
            raise
    finally:
        os.close(descriptor)
