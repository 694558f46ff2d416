"""Who listens: /proc/net/tcp and tcp6 (proc_pid_net(5)) and the socket links below /proc/PID/fd."""
from __future__ import annotations

import os
import struct

from cjc_agent.tools import processes

LISTEN = "0A"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def parse(text: str) -> list[tuple[bytes, int, int]]:
    """Given the text of /proc/net/tcp or tcp6, return its listeners as (address, port, inode); bad lines are left out."""
    found = []
    for line in text.split("\n")[1:]:
        words = line.split()
        try:
            if words[3] == LISTEN:
                address, port = words[1].split(":")
                found.append((_bytes_of(address), int(port, 16), int(words[9])))
        except (ValueError, IndexError, struct.error):
            continue
    return found


def _bytes_of(digits: str) -> bytes:
    """The kernel prints an address as 32-bit words in its own byte order."""
    words = [int(digits[i:i + 8], 16) for i in range(0, len(digits), 8)]
    address = struct.pack("=%dI" % len(words), *words)
    mapped = b"\0" * 10 + b"\xff\xff"
    return address[12:] if address.startswith(mapped) else address


def listeners(port: int) -> list[tuple[bytes, int]]:
    """Return (address, inode) of all that listens at `port` in this network namespace; the wildcard address is all zeros."""
    found = []
    for name in ("tcp", "tcp6"):
        text = processes.contents(os.getpid(), "net/" + name).decode("ascii", "replace")
        found += [(address, inode) for address, at, inode in parse(text) if at == port]
    return found


def owners(inodes: Iterable[int], pids: Iterable[int]) -> dict[int, set[int]]:
    """Given socket inodes, return inode -> those of `pids` that have it open."""
    wanted = {"socket:[%d]" % inode: inode for inode in inodes}
    found: dict[int, set[int]] = {inode: set() for inode in wanted.values()}
    for pid in pids if wanted else ():
        try:
            names = os.listdir("/proc/%d/fd" % pid)
        except OSError:
            continue
        for name in names:
            inode = wanted.get(processes.link(pid, "fd/" + name))
            if inode is not None:
                found[inode].add(pid)
    return found
