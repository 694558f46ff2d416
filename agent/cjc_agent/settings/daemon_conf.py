"""JobCenter's daemon.conf (seed): three files of `key=value` lines, `#` begins a comment, also behind a value.

A file is bytes here, and stays so: UTF-8, EUC-JP and Shift_JIS have no `#`, `=` or newline within a character, so that nothing need be decoded
to find a key, and whatever is not changed is written back as it was. These functions read files that may lie on the shared disk: call
them in a child that may be abandoned.
"""
from __future__ import annotations

import errno

from cjc_agent.settings import values
from cjc_agent.settings.parameters import DEFAULT_PORT
from cjc_agent.tools import procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Optional

    from cjc_agent.settings.parameters import Settings

# the three files; a site reads two of them, and the later one wins where the same key stands in both
COMMON, LOCAL, SITE = "common", "local", "site"
FILES = (COMMON, LOCAL, SITE)
LAYERS = {LOCAL: (COMMON, LOCAL), SITE: (COMMON, SITE)}
ENCODINGS = ("utf-8", "euc_jp", "cp932")  # cp932: Shift_JIS as it is written in practice
LARGEST = 1 << 20  # bytes

BAD_PORT, OTHER_PORT = "CJC113", "CJC115"  # rules (operator/checks/daemon_conf.py) that a start refuses, too


class Key:
    """A key that the seed knows: the `files` it may stand in, its `default`, and `check`: text -> its value, or ValueError."""

    __slots__ = ("files", "default", "check")

    def __init__(self, files: tuple[str, ...], default: str, check) -> None:  # type: ignore[no-untyped-def]
        self.files, self.default, self.check = files, default, check


KEYS = {
    "local_daemon": Key(FILES, "", values.choice("SITE", "OFF")),
    "ipaddress": Key((LOCAL, SITE), "", values.vips),
    "listen_port": Key(FILES, str(DEFAULT_PORT), values.port),
    "ipcheck": Key((SITE,), "", values.choice("ON", "OFF")),
}


class Entry:
    """One `key=value` line: its `line` number, and where in the file's bytes the value begins and ends."""

    __slots__ = ("key", "value", "line", "begin", "end")

    def __init__(self, key: str, value: str, line: int, begin: int, end: int) -> None:
        self.key, self.value, self.line, self.begin, self.end = key, value, line, begin, end


class File:
    """A daemon.conf as it lies on the disk: `path`, its `data`, its `entries` in their order, and the numbers of the lines that are `neither`
    entry nor comment."""

    def __init__(self, path: str, data: bytes) -> None:
        self.path, self.data = path, data
        self.entries, self.neither = _entries(data)

    def get(self, key: str) -> Optional[Entry]:
        """Return the entry that counts for a key, the last one, or None."""
        return next((entry for entry in reversed(self.entries) if entry.key == key), None)

    def place(self, entry: Entry) -> str:
        """Return where an entry stands, as file:line."""
        return "%s:%d" % (self.path, entry.line)

    @property
    def encoding(self) -> str:
        """The encoding of its comments: the first of ENCODINGS that it can be; latin-1, which anything can be, where it is none of them."""
        for name in ENCODINGS:
            try:
                self.data.decode(name)
                return name
            except UnicodeDecodeError:
                continue
        return "latin-1"

    def with_value(self, key: str, value: str) -> bytes:
        """Return the file's bytes with another value for one key; it gets a line at the end where it has none. All other bytes stay.

        Raise ValueError for what would not be read back as that key and value.
        """
        if not key or key != key.strip() or set(key) & set("#=") or not key.isprintable():
            raise ValueError("%r is no key: give a name without #, = and spaces around it" % key)
        if value != value.strip() or "#" in value or not value.isprintable():
            raise ValueError("%r is no value: give one line without #, and without spaces around it" % value)
        try:
            name, text = key.encode(self.encoding), value.encode(self.encoding)
        except UnicodeEncodeError:
            raise ValueError("%s=%s cannot be written in this file's encoding (%s)" % (key, value, self.encoding)) from None
        entry = self.get(key)
        if entry:
            data = self.data[:entry.begin] + text + self.data[entry.end:]
        else:
            newline = b"\r\n" if b"\r\n" in self.data else b"\n"
            gap = newline if self.data and not self.data.endswith(b"\n") else b""
            data = self.data + gap + name + b"=" + text + newline
        written = File(self.path, data).get(key)
        if written is None or written.value != value:  # a file of several encodings
            raise ValueError("%s=%s would be read back as something else: write it in ASCII" % (key, value))
        if len(data) > LARGEST:
            raise ValueError("%s would be larger than %d bytes" % (self.path, LARGEST))
        return data


def _entries(data: bytes) -> tuple[list[Entry], list[int]]:
    found, neither = [], []
    begin = 0
    for number, raw in enumerate(data.split(b"\n"), 1):
        key, equals, rest = raw.split(b"#", 1)[0].partition(b"=")
        name = decoded(key.strip())
        if equals and name:
            at = begin + len(key) + 1 + len(rest) - len(rest.lstrip())
            value = rest.strip()
            if not value:  # what is put there stands right behind the `=`
                at = begin + len(key) + 1
            found.append(Entry(name, decoded(value), number, at, at + len(value)))
        elif equals or name.strip("\ufeff"):  # a byte order mark alone is none
            neither.append(number)
        begin += len(raw) + 1
    return found, neither


def decoded(data: bytes) -> str:
    """Return a few bytes as text, in the first encoding that they can be."""
    for name in ENCODINGS:
        try:
            return data.decode(name)
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1")


def path_of(which: str, settings: Settings) -> str:
    """Return where one of the three files lies."""
    return {COMMON: settings.nqs_home + "/rc", LOCAL: settings.nqs_spool, SITE: settings.site_db + "/nqs"}[which] + "/daemon.conf"


def read(path: str) -> File:
    """Read one file. Raise OSError: FileNotFoundError when there is none, EFBIG when it can be no daemon.conf."""
    data = procfs.read(path)
    if len(data) > LARGEST:
        raise OSError(errno.EFBIG, "larger than %d bytes, is it a daemon.conf?" % LARGEST, path)
    return File(path, data)


class Effective:
    """The value that counts for a key: its `value`, the `file` and `entry` it is from (None: the default), and those that it `hides`."""

    __slots__ = ("value", "file", "entry", "hides")

    def __init__(self, value: str, file: Optional[File] = None, entry: Optional[Entry] = None, hides: tuple[tuple[File, Entry], ...] = ()) -> None:
        self.value, self.file, self.entry, self.hides = value, file, entry, hides

    @property
    def place(self) -> str:
        """Where it stands, as file:line; "" for a default."""
        return self.file.place(self.entry) if self.file and self.entry else ""


def effective(site: str, files: Mapping[str, File]) -> dict[str, Effective]:
    """Given LOCAL or SITE and those of the three files that there are, return key -> what counts for that site; known keys have their default.

    Seed: where the same name stands in both, the local site's own file wins over the common one; the cluster site's likewise.
    """
    lines: dict[str, list[tuple[File, Entry]]] = {name: [] for name in KEYS}
    for file in (files[which] for which in LAYERS[site] if which in files):
        for entry in file.entries:
            lines.setdefault(entry.key, []).append((file, entry))
    return {name: Effective(listed[-1][1].value, *listed[-1], tuple(listed[:-1])) if listed else Effective(KEYS[name].default)
            for name, listed in lines.items()}


def port_of(found: Effective) -> int | None:
    """Given what counts as listen_port, return the port, None when it is none."""
    try:
        return values.port(found.value)
    except ValueError:
        return None


def nearest(key: str) -> str:
    """Given a key that is not known, return the known one most like it, or ""."""
    import difflib
    return (difflib.get_close_matches(key.strip("\ufeff").lower(), list(KEYS), 1, 0.7) or [""])[0]


def listen_port(nqs_home: str, site_db: str) -> int:
    """Return the cluster site's TCP port: the site's own file wins over the common one (seed), else 20816. `site_db` "": not mounted."""
    paths = [nqs_home + "/rc/daemon.conf"]
    if site_db:
        paths.insert(0, site_db + "/nqs/daemon.conf")
    for path in paths:
        try:
            entry = read(path).get("listen_port")
            if entry:
                return values.port(entry.value)
        except (FileNotFoundError, ValueError):
            continue
    return DEFAULT_PORT


def port_complaint(settings: Settings) -> str:
    """Say why a start of the cluster site cannot go well with the ports as they are set, "" when nothing speaks against it; with the rule's id.

    The disk must be mounted. Raise OSError for a file that is there and cannot be read.
    """
    files = {}
    for which in LAYERS[SITE]:
        try:
            files[which] = read(path_of(which, settings))
        except FileNotFoundError:
            continue
    found = effective(SITE, files)["listen_port"]
    port = port_of(found)
    if not found.value:  # JobCenter may take it for not set
        return ""
    if port is None:
        return "%s: listen_port=%s is no TCP port: give 1 to 65535 - %s" % (BAD_PORT, found.value, found.place)
    if settings.port and port != settings.port:
        return "%s: listen_port=%d, but `port` is %d: make them equal - %s" % (OTHER_PORT, port, settings.port, found.place or "the default")
    return ""
