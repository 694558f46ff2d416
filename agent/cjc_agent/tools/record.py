"""The record of a started site: what it was started with, on which boot, by which processes. It proves no life; it makes judgements safer."""
from __future__ import annotations

import os

from cjc_agent.tools import light_json, processes, statefile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional


class Record:
    """`settings` (parameter name -> text), `instance` (the resource's name), `boot`, `disk` (what was resolved), `port`, `daemons`, `resident`,
    `before`.

    `daemons` are (pid, start time) pairs; `resident` is the one of a cjcpw that stays, or None. `port` 0: not known. `before`: the start has
    not finished, and these carried NQS_SITE already when it began; None: it has.
    """

    __slots__ = ("settings", "instance", "boot", "disk", "port", "daemons", "resident", "before")

    def __init__(self, settings: dict[str, str], instance: str, boot: str, disk: dict[str, str], port: int,
                 daemons: list[tuple[int, int]], resident: Optional[tuple[int, int]],
                 before: Optional[list[tuple[int, int]]] = None) -> None:
        self.settings, self.instance, self.boot, self.disk = settings, instance, boot, disk
        self.port, self.daemons, self.resident, self.before = port, daemons, resident, before


def path(folder: str, site: str) -> str:
    """Return where the record of a site lies."""
    return os.path.join(folder, "cjc-%s.json" % site)


def load(folder: str, site: str) -> Record | None:
    """Return the site's record of this boot, or None when there is none. Raise statefile.Untrusted when it cannot be believed."""
    where = path(folder, site)
    data = statefile.read(where)
    if data is None:
        return None
    record = _understood(data)
    if record is None or record.settings.get("site") != site:
        raise statefile.Untrusted("%s: not a record of site %s: remove it" % (where, site))
    return record if record.boot == processes.boot_id() else None


def find(folder: str, instance: str, site_db: str) -> Record | None:
    """Return the record of this boot that a resource named `instance`, or a site with this `site_db`, has left; for a stop whose site is unknown."""
    best = None
    for record in all_of_this_boot(folder):
        if instance and record.instance == instance:
            return record
        if site_db and record.settings.get("site_db") == site_db:
            best = record
    return best


def all_of_this_boot(folder: str) -> list[Record]:
    """Return the records of all sites that were started on this boot, by name; those that cannot be believed are left out."""
    found: list[Record] = []
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return found
    for name in names:
        if name.startswith("cjc-") and name.endswith(".json"):
            try:
                record = load(folder, name[len("cjc-"):-len(".json")])
            except (OSError, statefile.Untrusted):
                continue
            if record:
                found.append(record)
    return found


def save(folder: str, record: Record) -> None:
    """Write the record in one step. Raise OSError."""
    lines = ['"%s": %s' % (name, light_json.dumps(getattr(record, name))) for name in sorted(Record.__slots__)]
    statefile.write(path(folder, record.settings["site"]), ("{\n %s\n}\n" % ",\n ".join(lines)).encode())


def remove(folder: str, site: str) -> None:
    """Remove the site's record if there is one. Raise OSError."""
    statefile.remove(path(folder, site))


def _understood(data: bytes) -> Record | None:
    """Given a record file's bytes, return the record; None when it is torn or not of the form that `save` writes."""
    try:
        value = light_json.loads(data.decode("utf-8"))
        record = Record(*(value[name] for name in Record.__slots__))
        record.daemons = [_identity(pair) for pair in record.daemons]
        record.resident = None if record.resident is None else _identity(record.resident)
        record.before = None if record.before is None else [_identity(pair) for pair in record.before]
        texts = [record.instance, record.boot, *record.settings.values(), *record.disk.values()]
        if all(_is_text(text) for text in texts) and type(record.port) is int and 0 <= record.port < 65536:
            return record
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        pass
    return None


def _is_text(value: Any) -> bool:
    """Whether a value is text that could be a file's name: no zeros, and no characters but those that bytes can be made of. Raise ValueError."""
    return type(value) is str and b"\0" not in os.fsencode(value)


def _identity(pair: Any) -> tuple[int, int]:
    pid, start = pair
    if type(pid) is not int or type(start) is not int or pid <= 1:
        raise ValueError("not a process: %r" % (pair,))
    return pid, start
