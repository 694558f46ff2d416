"""A file system that hangs: a FUSE server that reads every request and answers none but INIT. It stands for a dead NFS server.

Whoever touches it waits in D state, where not even SIGKILL reaches, until `close` aborts the connection.
"""
from __future__ import annotations

import ctypes
import os
import pathlib
import struct
import threading

FUSE_INIT, VERSION = 26, (7, 31)
LIBC = ctypes.CDLL(None, use_errno=True)


class HungFileSystem:
    """Mounted on `folder` until `close`. `source` and `fstype` are what mountinfo shows (fstype: fuse or fuse.x)."""

    def __init__(self, folder: pathlib.Path, source: str = "hung", fstype: str = "fuse") -> None:
        self.folder = folder
        self._descriptor = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other" % self._descriptor
        if LIBC.mount(source.encode(), str(folder).encode(), fstype.encode(), 0, options.encode()):
            raise OSError(ctypes.get_errno(), "mount of a FUSE file system")
        self._read_one()  # INIT comes by itself
        self.requests = 0
        self._reader = threading.Thread(target=self._swallow, daemon=True)
        self._reader.start()

    def _read_one(self) -> None:
        """Answer INIT (struct fuse_init_in, fuse_init_out in linux/fuse.h)."""
        request = os.read(self._descriptor, 1 << 17)
        _, opcode, unique = struct.unpack_from("=IIQ", request)
        assert opcode == FUSE_INIT
        answer = struct.pack("=IIIIHHIIHHI7I", *VERSION, 65536, 0, 12, 9, 65536, 1, 32, 0, 0, *([0] * 7))
        os.write(self._descriptor, struct.pack("=IiQ", 16 + len(answer), 0, unique) + answer)

    def _swallow(self) -> None:
        while True:
            try:
                os.read(self._descriptor, 1 << 17)
            except OSError:  # ENODEV: aborted
                return
            self.requests += 1

    def close(self) -> None:
        """Abort the connection: all who wait get an error; then unmount."""
        pathlib.Path("/sys/fs/fuse/connections/%s/abort" % self._connection()).write_text("1")
        self._reader.join(5)
        LIBC.umount2(str(self.folder).encode(), 2)
        os.close(self._descriptor)

    def _connection(self) -> str:
        for line in pathlib.Path("/proc/self/mountinfo").read_text().split("\n"):
            words = line.split(" ")
            if len(words) > 4 and words[4] == str(self.folder):
                return words[2].split(":")[1]
        raise FileNotFoundError(self.folder)
