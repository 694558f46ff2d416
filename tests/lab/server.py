"""A file server that can stop answering, and answer again: a FUSE file system that passes through to a folder. It stands for an NFS server,
or for the storage below a disk.

While it hangs, requests are read and kept: who waits for one is in D state, where not even SIGKILL reaches. With `read` false they are not
even read: who waits can be killed. `answer` answers all that was kept, and nothing was lost: an NFS server that was rebooted.
"""
from __future__ import annotations

import os
import pathlib
import select
import socket
import stat
import struct
import threading
import time
from collections.abc import Callable

from lab import hung

(LOOKUP, FORGET, GETATTR, SETATTR, READLINK, SYMLINK, MKDIR, UNLINK, RMDIR, RENAME, OPEN, READ, WRITE, STATFS, RELEASE, FSYNC, FLUSH, OPENDIR,
 READDIR, RELEASEDIR, FSYNCDIR, INTERRUPT, CREATE, BATCH_FORGET, RENAME2) = (
    1, 2, 3, 4, 5, 6, 9, 10, 11, 12, 14, 15, 16, 17, 18, 20, 25, 27, 28, 29, 30, 36, 35, 42, 45)
NO_ANSWER = (FORGET, BATCH_FORGET, INTERRUPT)
EVERYTHING = frozenset(range(1, 64)) - frozenset(NO_ANSWER)
ENOSYS = 38
HELPER = "/sbin/mount.%s"  # mount(8) calls it for a type that the kernel does not know by itself
MOUNT = """#!/usr/bin/python3 -I
import socket, sys
asked = socket.socket(socket.AF_UNIX)
asked.connect(%r)
asked.sendall(sys.argv[2].encode() + b"\\n")
sys.exit(asked.recv(10) != b"mounted")
"""


class FileServer:
    """Serves `folder`. Its clients are mounts made by `mount`; with `helper`, also by mount(8) with -t `fstype`."""

    def __init__(self, folder: pathlib.Path, source: str = "nfsserver:/export", fstype: str = "fuse", helper: bool = False) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.source, self.fstype = folder, source, fstype
        self._hung: frozenset[int] = frozenset()
        self._reading = True
        self._lock = threading.Lock()
        self._held: list[tuple[_Client, bytes]] = []
        self._clients: list[_Client] = []
        self._door = _door(self, pathlib.Path(HELPER % fstype)) if helper else None

    def mount(self, point: pathlib.Path) -> None:
        """Mount it, as one more client."""
        self._clients.append(_Client(self, point))

    def hang(self, operations: frozenset[int] = EVERYTHING, read: bool = True) -> None:
        """From now on these operations are not answered; `read` false: nothing is even read."""
        with self._lock:
            self._hung, self._reading = operations, read

    def answer(self) -> None:
        """Answer everything again, first of all what was kept."""
        with self._lock:
            self._hung, self._reading = frozenset(), True
            held, self._held = self._held, []
        for client, request in held:
            client.handle(request)

    @property
    def hangs(self) -> bool:
        """Whether mounting would wait, too."""
        return self._hung == EVERYTHING

    def serve(self, client: _Client) -> None:
        """Read and answer a client's requests until its mount has gone."""
        poll = select.poll()
        poll.register(client.descriptor, select.POLLIN)
        while True:
            poll.poll(100)
            if not self._reading:
                time.sleep(0.02)
                continue
            try:
                request = os.read(client.descriptor, 1 << 17)
            except BlockingIOError:
                continue
            except OSError:  # ENODEV: unmounted or aborted
                return
            with self._lock:
                held = struct.unpack_from("=I", request, 4)[0] in self._hung
                if held:
                    self._held.append((client, request))
            if not held:
                client.handle(request)

    def close(self) -> None:
        """End all clients: who waits gets an error; unmount them."""
        self._reading = True
        if self._door:
            self._door.shutdown(socket.SHUT_RDWR)  # wakes who waits in accept()
            self._door.close()
            pathlib.Path(HELPER % self.fstype).unlink()
        for client in self._clients:
            client.close()


def _door(server: FileServer, helper: pathlib.Path) -> socket.socket:
    """Where the mount helper asks to be mounted; a server that hangs lets it wait."""
    path = "%s.sock" % server.folder
    door = socket.socket(socket.AF_UNIX)
    door.bind(path)
    door.listen()
    helper.write_text(MOUNT % path)
    helper.chmod(0o755)

    def attend() -> None:
        while True:
            try:
                asking, _ = door.accept()
            except OSError:
                return
            with asking, asking.makefile() as words:
                point = words.readline().strip()
                while server.hangs and door.fileno() >= 0 and not _gone(asking):
                    time.sleep(0.02)
                if not server.hangs and not _gone(asking):
                    server.mount(pathlib.Path(point))
                    asking.sendall(b"mounted")
    threading.Thread(target=attend, daemon=True).start()
    return door


def _gone(peer: socket.socket) -> bool:
    poll = select.poll()
    poll.register(peer, select.POLLRDHUP)
    return bool(poll.poll(0))


class _Client:
    """One mount of the server. Its nodes are O_PATH descriptors of the served files, so that renaming and removing need no bookkeeping."""

    def __init__(self, server: FileServer, point: pathlib.Path) -> None:
        self.descriptor = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        self._connection = hung.mount_fuse(self.descriptor, point, server.source, server.fstype)
        self._point = point
        hung.answer_init(self.descriptor)
        os.set_blocking(self.descriptor, False)
        self._nodes = {1: os.open(server.folder, os.O_PATH | os.O_CLOEXEC)}
        self._known = {os.fstat(self._nodes[1]).st_ino: 1}
        self._files: dict[int, int] = {}  # handle -> descriptor
        self._thread = threading.Thread(target=server.serve, args=(self,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Abort, unmount, close everything."""
        hung.abort(self._connection)
        self._thread.join(5)
        hung.LIBC.umount2(str(self._point).encode(), 2)
        for descriptor in (*self._nodes.values(), *self._files.values(), self.descriptor):
            os.close(descriptor)
        self._nodes, self._files = {}, {}

    def handle(self, request: bytes) -> None:
        """Do what is asked for, and answer."""
        _, opcode, unique, node = struct.unpack_from("=IIQQ", request)
        if opcode in NO_ANSWER:
            return
        answer, error = b"", 0
        try:
            answer = self._do(opcode, node, request[40:])
        except OSError as failure:
            error = failure.errno or 5
        except KeyError:
            error = ENOSYS if opcode not in _DOERS else 116  # ESTALE
        try:
            os.write(self.descriptor, struct.pack("=IiQ", 16 + len(answer), -error, unique) + answer)
        except OSError:
            pass  # who asked is gone

    def _do(self, opcode: int, node: int, body: bytes) -> bytes:
        return _DOERS[opcode](self, self._nodes[node], body)

    def _entry(self, folder: int, name: str) -> bytes:
        descriptor = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        inode = os.fstat(descriptor).st_ino
        node = self._known.setdefault(inode, len(self._known) + 1)
        if node in self._nodes:
            os.close(descriptor)
        else:
            self._nodes[node] = descriptor
        return struct.pack("=QQQQII", node, 0, 0, 0, 0, 0) + _attributes(self._nodes[node])

    def _opened(self, descriptor: int) -> bytes:
        self._files[descriptor] = descriptor
        return struct.pack("=QII", descriptor, 0, 0)

    def lookup(self, node: int, body: bytes) -> bytes:
        """FUSE_LOOKUP."""
        return self._entry(node, _names(body)[0])

    def getattr(self, node: int, body: bytes) -> bytes:
        """FUSE_GETATTR."""
        return struct.pack("=QII", 0, 0, 0) + _attributes(node)

    def setattr(self, node: int, body: bytes) -> bytes:
        """FUSE_SETATTR: mode 1, owner 2 and 4, size 8; times are not kept."""
        valid, _, _, size = struct.unpack_from("=IIQQ", body)
        mode, _, uid, gid = struct.unpack_from("=IIII", body, 68)
        path = _path(node)
        if valid & 8:
            os.truncate(path, size)
        if valid & 1:
            os.chmod(path, stat.S_IMODE(mode))
        if valid & 6:
            os.chown(path, uid if valid & 2 else -1, gid if valid & 4 else -1)
        return self.getattr(node, body)

    def mkdir(self, node: int, body: bytes) -> bytes:
        """FUSE_MKDIR."""
        name = _names(body[8:])[0]
        os.mkdir(name, struct.unpack_from("=I", body)[0] & 0o7777, dir_fd=node)
        return self._entry(node, name)

    def unlink(self, node: int, body: bytes) -> bytes:
        """FUSE_UNLINK."""
        os.unlink(_names(body)[0], dir_fd=node)
        return b""

    def rmdir(self, node: int, body: bytes) -> bytes:
        """FUSE_RMDIR."""
        os.rmdir(_names(body)[0], dir_fd=node)
        return b""

    def rename(self, node: int, body: bytes, names_at: int = 8) -> bytes:
        """FUSE_RENAME."""
        before, after = _names(body[names_at:])[:2]
        os.rename(before, after, src_dir_fd=node, dst_dir_fd=self._nodes[struct.unpack_from("=Q", body)[0]])
        return b""

    def rename2(self, node: int, body: bytes) -> bytes:
        """FUSE_RENAME2, whose flags nobody here uses."""
        return self.rename(node, body, 16)

    def open(self, node: int, body: bytes) -> bytes:
        """FUSE_OPEN, FUSE_OPENDIR. The kernel says where to write, also with O_APPEND."""
        flags = struct.unpack_from("=I", body)[0] & ~(os.O_APPEND | os.O_NOFOLLOW | os.O_CREAT | os.O_EXCL)
        return self._opened(os.open(_path(node), flags | os.O_CLOEXEC))

    def create(self, node: int, body: bytes) -> bytes:
        """FUSE_CREATE."""
        flags, mode = struct.unpack_from("=II", body)
        name = _names(body[16:])[0]
        opened = os.open(name, flags & ~os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, mode & 0o7777, dir_fd=node)
        return self._entry(node, name) + self._opened(opened)

    def read(self, node: int, body: bytes) -> bytes:
        """FUSE_READ."""
        handle, offset, size = struct.unpack_from("=QQI", body)
        return os.pread(self._files[handle], size, offset)

    def write(self, node: int, body: bytes) -> bytes:
        """FUSE_WRITE."""
        handle, offset, size = struct.unpack_from("=QQI", body)
        return struct.pack("=II", os.pwrite(self._files[handle], body[40:40 + size], offset), 0)

    def readdir(self, node: int, body: bytes) -> bytes:
        """FUSE_READDIR: the entries after the `offset`-th that fit."""
        handle, offset, size = struct.unpack_from("=QQI", body)
        answer = b""
        for number, name in enumerate(sorted(os.listdir(self._files[handle])), 1):
            entry = struct.pack("=QQII", number, number, len(os.fsencode(name)), 0) + os.fsencode(name)
            entry += bytes(-len(entry) % 8)
            if number > offset and len(answer) + len(entry) <= size:
                answer += entry
        return answer

    def release(self, node: int, body: bytes) -> bytes:
        """FUSE_RELEASE, FUSE_RELEASEDIR."""
        os.close(self._files.pop(struct.unpack_from("=Q", body)[0]))
        return b""

    def nothing(self, node: int, body: bytes) -> bytes:
        """What needs no work: FUSE_FSYNC, FUSE_FLUSH."""
        return b""

    def statfs(self, node: int, body: bytes) -> bytes:
        """FUSE_STATFS."""
        return struct.pack("=QQQQQIIII24x", 1 << 20, 1 << 19, 1 << 19, 1 << 20, 1 << 19, 4096, 255, 4096, 0)


_DOERS: dict[int, Callable[[_Client, int, bytes], bytes]] = {
    LOOKUP: _Client.lookup, GETATTR: _Client.getattr, SETATTR: _Client.setattr, MKDIR: _Client.mkdir, UNLINK: _Client.unlink, RMDIR: _Client.rmdir,
    RENAME: _Client.rename, RENAME2: _Client.rename2, OPEN: _Client.open, OPENDIR: _Client.open, CREATE: _Client.create, READ: _Client.read,
    WRITE: _Client.write, READDIR: _Client.readdir, RELEASE: _Client.release, RELEASEDIR: _Client.release, FSYNC: _Client.nothing,
    FSYNCDIR: _Client.nothing, FLUSH: _Client.nothing, STATFS: _Client.statfs,
}


def _path(node: int) -> str:
    return "/proc/self/fd/%d" % node


def _names(body: bytes) -> list[str]:
    return [os.fsdecode(name) for name in body.split(b"\0")]


def _attributes(node: int) -> bytes:
    """struct fuse_attr."""
    facts = os.fstat(node)
    times = [int(second) for second in (facts.st_atime, facts.st_mtime, facts.st_ctime)]
    parts = [nanoseconds % 10**9 for nanoseconds in (facts.st_atime_ns, facts.st_mtime_ns, facts.st_ctime_ns)]
    return struct.pack("=QQQQQQIIIIIIIIII", facts.st_ino, facts.st_size, facts.st_blocks, *times, *parts, facts.st_mode, facts.st_nlink,
                       facts.st_uid, facts.st_gid, 0, 4096, 0)
