"""The record that a start leaves: lost, torn, of something else, hostile. It makes judgements safer; without it the evidence decides."""
from __future__ import annotations

import contextlib
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any, Callable

from faults.fault import FAILED, NOT_RUNNING, PROBE, RUNNING, RUNNING_20, START, STOP, Fault, Injection, See
from lab.site import Site

NODE = "node"
Change = Callable[[dict[str, Any]], object]


def path_of(site: Site) -> pathlib.Path:
    """Where the agent keeps the record."""
    return site.state / ("cjc-%s.json" % site.name)


def _whole(site: Site) -> bytes:
    """The record as a start writes it; of a site that is stopped, as its last start would have."""
    path = path_of(site)
    if path.exists():
        return path.read_bytes()
    site.start()
    data = path.read_bytes()
    site.stop()
    return data


def _write(site: Site, data: bytes) -> None:
    path_of(site).unlink(missing_ok=True)
    path_of(site).write_bytes(data)
    path_of(site).chmod(0o600)


def believed_again(site: Site) -> None:
    """The site that was found running is recorded as it is."""
    record = json.loads(path_of(site).read_bytes())
    assert sorted(pid for pid, _ in record["daemons"]) == sorted(site.daemons().values())


def becomes(make: Callable[[Site, bytes], None]) -> Injection:
    """Something has become of the record: `make` is given its bytes."""
    @contextlib.contextmanager
    def inject(site: Site) -> Iterator[None]:
        make(site, _whole(site))
        yield
        if path_of(site).is_dir():
            path_of(site).rmdir()
    return inject


def changed(change: Change) -> Injection:
    """A record that is whole and says something else."""
    def make(site: Site, data: bytes) -> None:
        value = json.loads(data)
        change(value)
        _write(site, json.dumps(value).encode())
    return becomes(make)


def each_of(variants: Callable[[bytes], list[bytes]]) -> Injection:
    """One after the other, a monitor meets them all; the last one stays for the call."""
    @contextlib.contextmanager
    def inject(site: Site) -> Iterator[None]:
        whole = _whole(site)
        up = site.mounted()
        found = variants(whole)
        for data in found:
            _write(site, data)
            answer = site.call("monitor")
            assert answer.code == (0 if up else NOT_RUNNING), (data[:200], answer)
            assert not up or believed_again(site) is None
        print("%d records were not believed" % len(found))
        _write(site, found[-1])
        yield
    return inject


def torn(every: int) -> Callable[[bytes], list[bytes]]:
    """The beginnings of the record, of every `every`-th length."""
    def variants(whole: bytes) -> list[bytes]:
        end = len(whole.rstrip().rstrip(b"}"))  # from here on it is whole
        return [whole[:length] for length in range(0, end, every)]
    return variants


def hostile(whole: bytes) -> list[bytes]:
    """Records that somebody has made up."""
    made = [b"[" * 100000, b'{"a":' * 50000, b"\xff\xfe", b"null", b"[]", b"0", b'"x"', b"\0" * 4096, b"x" * ((1 << 20) + 1)]
    values: dict[str, list[Any]] = {
        "daemons": [None, 1, "x", [1], [[1, 1]], [[0, 5]], [[-1, 5]], [["7", 5]], [[7, None]], [[True, 5]], {"7": 5}, [[7.5, 1]]],
        "resident": [1, [1, 2], "x", [[]], {}],
        "before": [1, [[1, 1]], "x"],
        "port": [-1, 65536, 1 << 70, "80", None, True],
        "boot": [None, 1, []],
        "settings": [None, [], {}, {"site": 1}, "x"],
        "disk": [None, [], {"path": 1}, {"path": "/dev/\0"}, {"number": "\ud800"}, "x"],
        "instance": [None, 5],
    }
    for name, replacements in values.items():
        for value in replacements:
            made.append(json.dumps(dict(json.loads(whole), **{name: value})).encode())
    return made + [whole.replace(b'"daemons"', b'"demons"')]


def _link(site: Site, data: bytes) -> None:
    path_of(site).unlink(missing_ok=True)
    path_of(site).symlink_to("/etc/passwd")


def _hard_link(site: Site, data: bytes) -> None:
    _write(site, data)
    os.link(path_of(site), site.state / "second-name")


def _fifo(site: Site, data: bytes) -> None:
    path_of(site).unlink(missing_ok=True)
    os.mkfifo(path_of(site), 0o600)


def _folder(site: Site, data: bytes) -> None:
    path_of(site).unlink(missing_ok=True)
    path_of(site).mkdir()


def _of_another_owner(site: Site, data: bytes) -> None:
    _write(site, data)
    os.chown(path_of(site), 65534, 65534)


def _writable_by_all(site: Site, data: bytes) -> None:
    _write(site, data)
    path_of(site).chmod(0o666)


def _lost(site: Site, data: bytes) -> None:
    path_of(site).unlink(missing_ok=True)


@contextlib.contextmanager
def pids_used_again(site: Site) -> Iterator[None]:
    """The recorded pids belong to strangers now: the start times tell."""
    strangers = [site.popen("sleep", "1000", start_new_session=True) for _ in range(3)]
    value = json.loads(_whole(site))
    value["daemons"] = [[stranger.pid, start + 1] for stranger, (_, start) in zip(strangers, value["daemons"])]
    value["before"] = []
    _write(site, json.dumps(value).encode())
    yield
    assert [stranger.poll() for stranger in strangers] == [None] * 3, "a stranger was signalled"


def _another_device(value: dict[str, Any]) -> None:
    value["disk"] = dict(value["disk"], path="/dev/loop-gone", number="7:9999")


NOT_BELIEVED = {PROBE: See(NOT_RUNNING), START: See(0, then=believed_again), RUNNING: See(0, then=believed_again), STOP: See(0)}
ADOPTED = {RUNNING: See(0, then=believed_again), RUNNING_20: See(0, then=believed_again), STOP: See(0)}

FAULTS = [
    Fault(NODE, "record missing", becomes(_lost), ADOPTED),
    Fault(NODE, "record torn", each_of(torn(300)), {PROBE: See(NOT_RUNNING), RUNNING: See(0, then=believed_again)}),
    Fault(NODE, "record torn at every length", each_of(torn(1)), {PROBE: See(NOT_RUNNING), RUNNING: See(0, then=believed_again)}, quick=False),
    Fault(NODE, "record made up by somebody", each_of(hostile), {PROBE: See(NOT_RUNNING), RUNNING: See(0, then=believed_again), STOP: See(0)}, quick=False),
    Fault(NODE, "record from another boot", changed(lambda value: value.update(boot="00000000-0000-0000-0000-000000000000")), NOT_BELIEVED),
    Fault(NODE, "record of another site", changed(lambda value: value["settings"].update(site="other")), NOT_BELIEVED),
    Fault(NODE, "record of another device", changed(_another_device), {
        PROBE: See(FAILED, "was started on this node"), START: See(0), RUNNING: See(0), STOP: See(0),
    }),
    Fault(NODE, "record of a site that has gone", becomes(_write), {PROBE: See(FAILED, "was started on this node"), START: See(0), RUNNING: See(0)}),
    Fault(NODE, "record is a symbolic link", becomes(_link), NOT_BELIEVED),
    Fault(NODE, "record has a second name", becomes(_hard_link), NOT_BELIEVED),
    Fault(NODE, "record is a FIFO", becomes(_fifo), NOT_BELIEVED),
    Fault(NODE, "record is a folder", becomes(_folder), {PROBE: See(NOT_RUNNING), RUNNING: See(0)}),
    Fault(NODE, "record of another owner", becomes(_of_another_owner), NOT_BELIEVED),
    Fault(NODE, "record writable by all", becomes(_writable_by_all), NOT_BELIEVED),
    Fault(NODE, "recorded pids are strangers' now", pids_used_again, {
        PROBE: See(FAILED, "was started on this node"), START: See(0), RUNNING: See(0), STOP: See(0)}),
]
