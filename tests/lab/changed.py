"""Files and links of a node that are different for a while."""
from __future__ import annotations

import contextlib
import os
import pathlib
import subprocess
from collections.abc import Iterator


@contextlib.contextmanager
def both(*contexts: contextlib.AbstractContextManager[object]) -> Iterator[None]:
    """Several at once."""
    with contextlib.ExitStack() as stack:
        for context in contexts:
            stack.enter_context(context)
        yield


@contextlib.contextmanager
def text_of(path: pathlib.Path, text: str | bytes) -> Iterator[None]:
    """The file says something else; afterwards it is as it was, owner and mode too, or gone if there was none."""
    before = path.read_bytes() if path.exists() else None
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    try:
        yield
    finally:
        if before is None:
            path.unlink()
        else:
            path.write_bytes(before)


def appended(path: pathlib.Path, text: str) -> contextlib.AbstractContextManager[None]:
    """The file has more lines at its end."""
    return text_of(path, path.read_text() + text)


def replaced(path: pathlib.Path, old: str, new: str) -> contextlib.AbstractContextManager[None]:
    """One piece of the file, which is there once, says something else."""
    before = path.read_text()
    assert before.count(old) == 1, "%r in %s" % (old, before)
    return text_of(path, before.replace(old, new))


@contextlib.contextmanager
def away(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A file or folder is not where it was; yield where it is."""
    aside = path.with_name(path.name + ".aside")
    path.rename(aside)
    try:
        yield aside
    finally:
        if path.is_dir():
            path.rmdir()
        path.unlink(missing_ok=True)
        aside.rename(path)


@contextlib.contextmanager
def mode_of(path: pathlib.Path, mode: int) -> Iterator[None]:
    """The file has other permissions."""
    before = path.stat().st_mode
    path.chmod(mode)
    try:
        yield
    finally:
        path.chmod(before)


@contextlib.contextmanager
def owned_by(path: pathlib.Path, uid: int) -> Iterator[None]:
    """The file is somebody else's."""
    before = path.stat()
    os.chown(path, uid, -1)
    try:
        yield
    finally:
        os.chown(path, before.st_uid, -1)


@contextlib.contextmanager
def link_down(link: str) -> Iterator[None]:
    """`ip link set down`; an IPv4 address stays on it."""
    subprocess.run(["ip", "link", "set", link, "down"], check=True)
    try:
        yield
    finally:
        subprocess.run(["ip", "link", "set", link, "up"], check=True)
