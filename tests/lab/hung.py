"""A file system that hangs: a FUSE server that reads every request and answers none but INIT. It stands for a dead NFS server.

Whoever touches it waits in D state, where not even SIGKILL reaches, until `close` aborts the connection. One that `has_file` answers
everything about its files, but never the end of a write: who unmaps what it has written waits in munmap() or mmap(), and keeps the lock
of its memory map, which those who read its /proc/PID/environ, cmdline or maps wait for.
"""
from __future__ import annotations

import ctypes
import os
import pathlib
import struct
import subprocess
import threading

FUSE_INIT, VERSION, BIG_WRITES = 26, (7, 31), 1 << 5
LOOKUP, FORGET, GETATTR, OPEN, READ, WRITE, OPENDIR = 1, 2, 3, 14, 15, 16, 27
ENOSYS, FOLDER = 38, 1
FILE_SIZE = 1 << 16
CONNECTIONS = pathlib.Path("/sys/fs/fuse/connections")
LIBC = ctypes.CDLL(None, use_errno=True)


class HungFileSystem:
    """Mounted on `folder` until `close`. `source` and `fstype` are what mountinfo shows (fstype: fuse or fuse.x).

    `user`: as if that uid had mounted it with fusermount: nobody else, not even root, gets into it.
    With `has_file`, every name in it is a file that can be opened, read and mapped; only writes hang.
    """

    def __init__(self, folder: pathlib.Path, source: str = "hung", fstype: str = "fuse", has_file: bool = False, user: int = 0) -> None:
        self.folder, self._has_file = folder, has_file
        self._files: dict[bytes, int] = {}  # name -> node
        self._descriptor = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        self._connection = mount_fuse(self._descriptor, folder, source, fstype, user)
        answer_init(self._descriptor)
        self.requests = 0
        self._reader = threading.Thread(target=self._swallow, daemon=True)
        self._reader.start()

    def _swallow(self) -> None:
        while True:
            try:
                request = os.read(self._descriptor, 1 << 17)
                self.requests += 1
                if self._has_file:
                    self._answer(request)
            except OSError:  # ENODEV: aborted
                return

    def _answer(self, request: bytes) -> None:
        """Answer a request about a file (linux/fuse.h), unless it must hang or wants no answer."""
        _, opcode, unique, node = struct.unpack_from("=IIQQ", request)
        if opcode in (WRITE, FORGET):
            return
        file = self._files.setdefault(request[40:], len(self._files) + FOLDER + 1) if opcode == LOOKUP else 0
        answers = {LOOKUP: lambda: struct.pack("=QQQQII", file, 0, 100, 100, 0, 0) + _attributes(file),
                   GETATTR: lambda: struct.pack("=QII", 100, 0, 0) + _attributes(node),
                   OPEN: lambda: struct.pack("=QII", 1, 0, 0), OPENDIR: lambda: struct.pack("=QII", 1, 0, 0),
                   READ: lambda: bytes(struct.unpack_from("=QQI", request, 40)[2])}
        answer = answers[opcode]() if opcode in answers else b""
        os.write(self._descriptor, struct.pack("=IiQ", 16 + len(answer), 0 if opcode in answers else -ENOSYS, unique) + answer)

    def close(self) -> None:
        """Abort the connection: all who wait get an error; then unmount."""
        abort(self._connection)
        self._reader.join(5)
        LIBC.umount2(str(self.folder).encode(), 2)
        os.close(self._descriptor)


def mount_fuse(descriptor: int, folder: pathlib.Path, source: str, fstype: str, user: int = 0) -> str:
    """Mount a FUSE file system, served at an open /dev/fuse, as `user` would with fusermount; return its connection's number."""
    options = "fd=%d,rootmode=40000,user_id=%d,group_id=%d%s" % (descriptor, user, user, "" if user else ",allow_other")
    if LIBC.mount(source.encode(), str(folder).encode(), fstype.encode(), 0, options.encode()):
        raise OSError(ctypes.get_errno(), "mount of a FUSE file system")
    shown = [line.split(" ") for line in pathlib.Path("/proc/self/mountinfo").read_text().split("\n")]
    return [words[2].split(":")[1] for words in shown if len(words) > 4 and words[4] == str(folder)][-1]


def answer_init(descriptor: int) -> None:
    """Answer the first request, which comes by itself (struct fuse_init_in, fuse_init_out in linux/fuse.h)."""
    request = os.read(descriptor, 1 << 17)
    _, opcode, unique = struct.unpack_from("=IIQ", request)
    assert opcode == FUSE_INIT
    answer = struct.pack("=IIIIHHIIHHI7I", *VERSION, 65536, BIG_WRITES, 12, 9, 65536, 1, 32, 0, 0, *([0] * 7))
    os.write(descriptor, struct.pack("=IiQ", 16 + len(answer), 0, unique) + answer)


def abort(connection: str) -> None:
    """All who wait for this connection get an error."""
    if not list(CONNECTIONS.glob("*")):
        subprocess.run(["mount", "-t", "fusectl", "fusectl", str(CONNECTIONS)], check=False, stderr=subprocess.DEVNULL)
    try:
        CONNECTIONS.joinpath(connection, "abort").write_text("1")
    except FileNotFoundError:
        pass  # unmounted meanwhile


def _attributes(node: int) -> bytes:
    """struct fuse_attr of the folder or a file."""
    size, mode = (0, 0o40755) if node == FOLDER else (FILE_SIZE, 0o100644)
    return struct.pack("=QQQQQQIIIIIIIIII", node, size, 8, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)
