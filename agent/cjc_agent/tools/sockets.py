"""Who listens: sock_diag(7), or /proc/net/tcp and tcp6 (proc_pid_net(5)); and the socket links below /proc/PID/fd."""
from __future__ import annotations

import os
import struct

from cjc_agent.tools import netlink, processes

LISTEN = "0A"
SOCK_DIAG_BY_FAMILY, AF_INET, AF_INET6, IPPROTO_TCP, LISTENING = 20, 2, 10, 6, 1 << 0x0A

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
    return _plain(struct.pack("=%dI" % len(words), *words))


def _plain(address: bytes) -> bytes:
    """An IPv4 address in IPv6's clothes is an IPv4 address."""
    mapped = b"\0" * 10 + b"\xff\xff"
    return address[12:] if address.startswith(mapped) else address


def listeners(port: int) -> list[tuple[bytes, int]]:
    """Return (address, inode) of all that listens at `port` in this network namespace; the wildcard address is all zeros.

    The kernel makes /proc/net/tcp by walking its table of all connections, which takes 5 ms even when that is empty. sock_diag(7) looks
    at the listeners alone; but it is a kernel module, which may be missing, and an error then.
    """
    try:
        return [found for family in (AF_INET, AF_INET6) for found in _asked(family, port)]
    except (OSError, struct.error):
        return _read(port)


def _asked(family: int, port: int) -> list[tuple[bytes, int]]:
    """The listeners of one address family, by sock_diag. Raise OSError."""
    # struct inet_diag_req_v2: family, protocol, extensions, states; then the struct inet_diag_sockid of the sockets meant: port ...
    question = struct.pack("=BBBxI", family, IPPROTO_TCP, 0, LISTENING) + struct.pack(">H46x", port)
    found = []
    for body in netlink.dump(netlink.SOCK_DIAG, SOCK_DIAG_BY_FAMILY, question, SOCK_DIAG_BY_FAMILY):
        at, address, inode = struct.unpack_from(">4xH2x16s", body) + struct.unpack_from("=I", body, 68)  # struct inet_diag_msg
        if at == port:
            found.append((_plain(address if family == AF_INET6 else address[:4]), inode))
    return found


def _read(port: int) -> list[tuple[bytes, int]]:
    """The listeners of both address families, by /proc."""
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
        through = processes.through(pid)
        for name in processes.descriptors(pid, through):
            inode = wanted.get(processes.link(pid, "%sfd/%s" % (through, name)))
            if inode is not None:
                found[inode].add(pid)
    return found
