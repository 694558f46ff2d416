"""Lists that the kernel gives over netlink(7), asked for and read whole: no fork, no guess from text."""
from __future__ import annotations

import struct

try:  # the C half: `socket` itself imports enum, selectors and re, 7 ms of a monitor's 15
    import _socket as socket
except ImportError:
    import socket  # type: ignore[no-redef]

AF_NETLINK, ROUTE, SOCK_DIAG = 16, 0, 4
NLMSG_DONE, NLMSG_ERROR = 3, 2
NLM_F_REQUEST_DUMP, NLM_F_DUMP_INTR = 0x301, 0x10
MOST_TRIES = 5


def dump(protocol: int, kind: int, question: bytes, answer: int) -> list[bytes]:
    """Given a netlink protocol, a request's type and body, return the bodies of all messages of type `answer`. Raise OSError."""
    channel = socket.socket(AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    try:
        channel.settimeout(2.0)  # the kernel answers in microseconds
        for _ in range(MOST_TRIES):
            channel.send(struct.pack("=IHHII", 16 + len(question), kind, NLM_F_REQUEST_DUMP, 1, 0) + question)
            found: list[bytes] = []
            changed, more = False, True
            while more:
                data = channel.recv(1 << 16)
                changed = changed or _is_interrupted(data)
                more = _take(data, answer, found)
            if not changed:
                break
        return found
    finally:
        channel.close()


def _is_interrupted(data: bytes) -> bool:
    """Whether something came or went while the list was made: it may miss one (netlink(7), NLM_F_DUMP_INTR, on any message)."""
    position = 0
    while position + 16 <= len(data):
        length, _, flags = struct.unpack_from("=IHH", data, position)
        if flags & NLM_F_DUMP_INTR:
            return True
        position += max(16, (length + 3) & ~3)
    return False


def _take(data: bytes, answer: int, found: list[bytes]) -> bool:
    """Take the bodies of type `answer` out of one piece of the list; return whether another piece follows."""
    position = 0
    while position + 16 <= len(data):
        length, kind = struct.unpack_from("=IH", data, position)
        # the end carries an error, too: it is all that sock_diag says where the kernel's module for TCP is missing (tried)
        code = struct.unpack_from("=i", data, position + 16)[0] if kind in (NLMSG_DONE, NLMSG_ERROR) and position + 20 <= len(data) else 0
        if code < 0:
            raise OSError(-code, "the kernel did not list them")
        if kind == NLMSG_DONE or length < 16:
            return False
        if kind == answer:
            found.append(data[position + 16:position + length])
        position += (length + 3) & ~3
    return True
