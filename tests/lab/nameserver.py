"""A name server of the throwaway node: A, AAAA and PTR over UDP at 127.0.0.1, as small as a resolver takes it (RFC 1035)."""
from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct
import threading

KINDS = {1: "A", 28: "AAAA", 12: "PTR"}
NO_ERROR, NO_SUCH_NAME = 0, 3
ANSWERED = 0x8580  # a response, authoritative, recursion as asked for and available


class NameServer:
    """It knows `names` (name -> addresses) and `reverse` (address -> name), and nothing else; `silent`: it reads what is asked and says nothing."""

    def __init__(self) -> None:
        self.names: dict[str, list[str]] = {}
        self.reverse: dict[str, str] = {}
        self.silent = False
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 53))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def enter(self, name: str, *addresses: str) -> None:
        """A host with its addresses, both ways."""
        self.names[name] = list(addresses)
        self.reverse.update(dict.fromkeys(addresses, name))

    def close(self) -> None:
        """End it."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # an unconnected socket says so, and wakes its reader all the same
        self._thread.join(10)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            question, sender = self._socket.recvfrom(4096)
            if not sender:
                return
            if not self.silent:
                self._socket.sendto(self._answer(question), sender)

    def _answer(self, question: bytes) -> bytes:
        labels, position = [], 12
        while question[position]:
            labels.append(question[position + 1:position + 1 + question[position]].decode())
            position += 1 + question[position]
        kind = KINDS.get(struct.unpack_from(">H", question, position + 1)[0], "")
        name = ".".join(labels).lower()
        records = self._records(name, kind)
        known = name in self.names or name in map(_pointer, self.reverse)
        header = question[:2] + struct.pack(">HHHHH", ANSWERED | (NO_ERROR if known else NO_SUCH_NAME), 1, len(records), 0, 0)
        answers = [struct.pack(">HHHLH", 0xC00C, number, 1, 0, len(data)) + data for number, data in records]
        return header + question[12:position + 5] + b"".join(answers)

    def _records(self, name: str, kind: str) -> list[tuple[int, bytes]]:
        if kind == "PTR":
            found = [host for address, host in self.reverse.items() if _pointer(address) == name]
            return [(12, b"".join(bytes([len(label)]) + label.encode() for label in host.split(".")) + b"\0") for host in found]
        packed = [ipaddress.ip_address(address).packed for address in self.names.get(name, [])]
        return [(1 if len(one) == 4 else 28, one) for one in packed if kind == ("A" if len(one) == 4 else "AAAA")]


def _pointer(address: str) -> str:
    return ipaddress.ip_address(address).reverse_pointer
