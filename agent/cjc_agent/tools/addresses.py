"""The addresses of this node, asked of the kernel through rtnetlink (rtnetlink(7), RTM_GETADDR)."""
from __future__ import annotations

import errno
import fcntl
import struct

from cjc_agent.tools import netlink

try:  # the C half, as in netlink.py
    import _socket as socket
except ImportError:
    import socket  # type: ignore[no-redef]

RTM_GETADDR, RTM_NEWADDR = 22, 20
IFA_ADDRESS, IFA_LOCAL, IFA_FLAGS = 1, 2, 8
IFA_F_DADFAILED, IFA_F_TENTATIVE, IFA_F_OPTIMISTIC = 0x08, 0x40, 0x04
SIOCGIFFLAGS, IFF_UP = 0x8913, 0x1

# what an address is worth
USABLE, TENTATIVE, DUPLICATE, LINK_DOWN = "usable", "tentative", "duplicate", "link down"
TIMED_OUT = "timed out"


def packed(text: str) -> bytes:
    """Given an IPv4 or IPv6 address as text, return its bytes. Raise ValueError when it is none."""
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    try:
        return socket.inet_pton(family, text)
    except (OSError, UnicodeEncodeError, ValueError):
        raise ValueError("%r is not an IPv4 or IPv6 address" % text) from None


def text_of(address: bytes) -> str:
    """Given an address's bytes, return it as text."""
    return socket.inet_ntop(socket.AF_INET6 if len(address) == 16 else socket.AF_INET, address)


def local() -> dict[bytes, list[tuple[int, int, int]]]:
    """Return every address of this network namespace: bytes -> its (flags, interface number, bits of its network), for `worth`. Raise OSError."""
    answers = netlink.dump(netlink.ROUTE, RTM_GETADDR, struct.pack("=BBBBI", socket.AF_UNSPEC, 0, 0, 0, 0), RTM_NEWADDR)
    try:
        return _places(answers)
    except struct.error:
        raise OSError(errno.EBADMSG, "the kernel's list is torn") from None


def _places(answers: list[bytes]) -> dict[bytes, list[tuple[int, int, int]]]:
    """Given the bodies of the kernel's answers (struct ifaddrmsg and attributes), return what `local` returns."""
    found: dict[bytes, list[tuple[int, int, int]]] = {}
    for body in answers:
        bits, flags, index = struct.unpack_from("=xBBxI", body)
        attributes = _attributes(body, 8)
        address = attributes.get(IFA_LOCAL) or attributes.get(IFA_ADDRESS)  # IFA_ADDRESS is the peer's on a point-to-point link
        if IFA_FLAGS in attributes:
            flags = struct.unpack("=I", attributes[IFA_FLAGS])[0]
        if address:
            found.setdefault(address, []).append((flags, index, bits))
    return found


def _attributes(data: bytes, position: int) -> dict[int, bytes]:
    attributes = {}
    while position + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, position)
        if length < 4:
            break
        attributes[kind] = data[position + 4:position + length]
        position += (length + 3) & ~3
    return attributes


def worth(places: list[tuple[int, int, int]]) -> tuple[str, str]:
    """Given where an address is (`local`), return the best of USABLE, TENTATIVE ... and the interface's name; "" when it is nowhere."""
    best = ("", "")
    for flags, index, _ in places:
        judged = _judge(flags, index)
        if not best[0] or judged[0] == USABLE:
            best = judged
    return best


def _judge(flags: int, index: int) -> tuple[str, str]:
    try:
        name = socket.if_indextoname(index)
    except OSError:
        return LINK_DOWN, "interface %d" % index
    if flags & IFA_F_DADFAILED:
        return DUPLICATE, name
    if flags & IFA_F_TENTATIVE and not flags & IFA_F_OPTIMISTIC:
        return TENTATIVE, name
    return (USABLE if _is_up(name) else LINK_DOWN), name


def _is_up(name: str) -> bool:
    channel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        answer = fcntl.ioctl(channel.fileno(), SIOCGIFFLAGS, struct.pack("16sH14x", name.encode("utf-8", "surrogateescape"), 0))
        return bool(struct.unpack_from("H", answer, 16)[0] & IFF_UP)
    except OSError:
        return False
    finally:
        channel.close()


def same_network(one: bytes, other: bytes, bits: int) -> bool:
    """Whether two addresses of one family agree in their first `bits` bits."""
    width = 8 * len(one)
    return len(one) == len(other) and not (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")) >> max(0, width - bits)


def connect(address: str, port: int, seconds: float, source: str = "") -> str:
    """Try a TCP connection of at most `seconds`, from the address `source` ("": the kernel's choice); return "" when it was accepted, else why not:
    TIMED_OUT where nothing answered."""
    channel = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        channel.settimeout(max(0.01, seconds))
        if source:
            channel.bind((source, 0))
        channel.connect((address, port))
        return ""
    except OSError as error:  # _socket.timeout is one
        return error.strerror or str(error) or TIMED_OUT
    finally:
        channel.close()
