"""From bytes to an input. Zeros make the plainest one, so that hypothesis can make a failing input small and sensible."""
from __future__ import annotations

import re

PIECES = [
    b"", b"\0", b"\n", b"\r", b"\r\n", b"\t", b" ", b"  ", b"\x0b", b"\x1c", b"\x7f",
    b"\x1b[2J", b"\x1b]0;x\x07", b"\x9b2J", b"\xc2\x9b2J", b"\nocf-exit-reason:forged\n", b"\rforged",
    b"\xff", b"\xff\xfe", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe6\x97", b"\xef\xbb\xbf",
    "日本".encode(), "\u3000".encode(), "\u2028".encode(), "\u202e".encode(), "²".encode(), "٣".encode(), "①".encode(), "\U000e0001".encode(),
    b"0", b"-1", b"+1", b"1", b"00", b"1_0", b"0x10", b"1e3", b"nan", b"65536", b"2147483648", b"4294967296", b"18446744073709551616",
    b"9" * 40, b"9" * 5000, b"0" * 5000 + b"7", b"1.5", b".",
    b"-", b"--", b"-o", b"--help", b"..", b"/..", b"/../", b"/", b"//", b"/dev/", b"LABEL=", b":/", b"~", b"*", b"?", b"[",
    b"'", b'"', b"\\", b"\\000", b"\\040", b"\\012", b"\\777", b"`id`", b"$(id)", b"${IFS}", b";", b"|", b"&", b"%s", b"%n", b"%",
    b"=", b"==", b",", b",,", b":", b"#", b"(", b")", b") ", b" (", b"{", b"}", b"]", b"null", b"true", b"[" * 3000, b"\\ud800", b"\\udcff", b"\\u0000",
    b"A" * 300, b"a", b"NQS_SITE=", b"NQS_SITE=jobsiteA", b" - ", b"/share", b"0A", b"listen_port=",
]
WORD = re.compile(rb"([ \t\n=,:;\"]+)")
MUTATIONS = [0, 1, 1, 2, 2, 2, 3, 3, 4, 5, 6, 8]
LONGEST = 1 << 16


class Recipe:
    """Decisions, taken from bytes; when they are used up, every decision is the first."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, count):
        """The next bytes."""
        taken = self._data[self._at:self._at + count]
        self._at += count
        return taken

    def number(self, below):
        """A number from 0 on, less than `below` (at most 65536)."""
        return int.from_bytes(self.take(1 if below <= 256 else 2), "little") % below

    def pick(self, choices):
        """One of the choices."""
        return choices[self.number(len(choices))]

    def word(self):
        """A hostile piece, or a few bytes without any sense."""
        return self.take(self.number(7)) if self.number(4) == 3 else self.pick(PIECES)

    def mutated(self, specimens):
        """Bytes that were one of the specimens (bytes or text) once; at times just bytes."""
        if self.number(8) == 7:
            return self.take(self.number(64))
        data = self.pick(specimens)
        data = data if isinstance(data, bytes) else data.encode("utf-8", "surrogateescape")
        for _ in range(self.pick(MUTATIONS)):
            data = _changed(data, self)
        return data[:LONGEST]

    def text(self, specimens):
        """The same as Python sees an argument, a file's name or an environment variable: no zeros, and surrogates where it is no UTF-8."""
        return self.mutated(specimens).replace(b"\0", b"").decode("utf-8", "surrogateescape")


def _changed(data, recipe):
    """One mutation."""
    change, where = recipe.pick(CHANGES), recipe.number(1 << 16)
    return change(data, where % (len(data) + 1), where, recipe)


def _insert(data, at, where, recipe):
    return data[:at] + recipe.word() + data[at:]


def _replace(data, at, where, recipe):
    return data[:at] + recipe.word() + data[at + recipe.number(64):]


def _replace_word(data, at, where, recipe):
    words = WORD.split(data)  # words at even places, what separates them between
    words[2 * (where % ((len(words) + 1) // 2))] = recipe.word()
    return b"".join(words)


def _swap_words(data, at, where, recipe):
    words = WORD.split(data)
    first, second = (2 * (number % ((len(words) + 1) // 2)) for number in (where, recipe.number(256)))
    words[first], words[second] = words[second], words[first]
    return b"".join(words)


def _truncate(data, at, where, recipe):
    return data[:at]


def _delete(data, at, where, recipe):
    return data[:at] + data[at + recipe.number(64):]


def _double(data, at, where, recipe):
    return data[:at + recipe.number(64)] + data[at:]


def _double_line(data, at, where, recipe):
    lines = data.split(b"\n")
    return b"\n".join(lines[:where % len(lines) + 1] + lines[where % len(lines):])


def _drop_line(data, at, where, recipe):
    lines = data.split(b"\n")
    return b"\n".join(lines[:where % len(lines)] + lines[where % len(lines) + 1:])


def _flip(data, at, where, recipe):
    return data[:at] + bytes(byte ^ 1 << recipe.number(8) for byte in data[at:at + 1]) + data[at + 1:]


CHANGES = [_insert, _replace, _replace_word, _replace_word, _swap_words, _truncate, _delete, _double, _double_line, _drop_line, _flip]
