"""Files of JobCenter and of the system, and our own in the state folder: torn, hostile, from elsewhere."""
from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from cjc_agent.operator import conf, status
from cjc_agent.settings import child_environment, daemon_conf, licence, parameters
from cjc_agent.tools import blockdevice, history, light_json, lock, record, statefile
from cjc_agent.tools.command import Runner, _noted
from cjc_agent.tools.deadline import Deadline
from cjc_agent.tools.log import one_line
from fuzz import specimens
from fuzz.engine import fuzz, is_one_line


@pytest.fixture(autouse=True)
def this_boot(monkeypatch):
    monkeypatch.setattr(record.processes, "boot_id", lambda: specimens.BOOT)


def write(path, data):
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.write(descriptor, data)
    os.close(descriptor)


# -- JobCenter's and the system's ----------------------------------------------------------------------------------------------------


def port_in(data):
    """What listen_port a person would read in the file; 0 for none that is right. Spaces are C's (isspace(3)), as for whoever wrote JobCenter."""
    lines = re.findall(r"(?ma)^[^\S\n]*listen_port[^\S\n]*=([^#\n]*)", data.decode("utf-8", "replace"))
    value = lines[-1].strip(" \t\r\v\f") if lines else ""
    return int(value) if re.fullmatch("0{0,90}[1-9][0-9]{0,4}", value) and int(value) <= 65535 else 0


def test_daemon_conf(tmp_path):
    home, site_db = tmp_path / "home", tmp_path / "db"
    (home / "rc").mkdir(parents=True)
    (site_db / "nqs").mkdir(parents=True)

    def check(drawn):
        own, common = drawn
        write(site_db / "nqs" / "daemon.conf", own)
        write(home / "rc" / "daemon.conf", common)
        assert daemon_conf.listen_port(str(home), str(site_db)) == (port_in(own) or port_in(common) or 20816)

    fuzz("daemon.conf", lambda recipe: (recipe.mutated(specimens.DAEMON_CONF), recipe.mutated(specimens.DAEMON_CONF)), check)


JAPANESE = ["# 夜間表示\r\nlisten_port = 20816  # ポート\r\nipaddress=\r\n", "a=b # ソ貼\nlocal_daemon=SITE"]
DAEMON_CONFS = [*specimens.DAEMON_CONF, *(text.encode(name) for text in JAPANESE for name in daemon_conf.ENCODINGS)]


def check_edit(drawn):
    """An edit changes one value and keeps every other byte, or is refused."""
    data, key, value = drawn
    file = daemon_conf.File("/x/daemon.conf", data)
    before = [(entry.key, entry.value) for entry in file.entries]
    entry = file.get(key)
    try:
        after = file.with_value(key, value)
    except ValueError as error:
        assert str(error) and not (re.fullmatch("[a-z_]+", key) and re.fullmatch("[A-Z0-9.,]*", value)), error
        return
    written = daemon_conf.File("/x/daemon.conf", after)
    at = before.index((key, entry.value), len(before) - 1 - [name for name, _ in reversed(before)].index(key)) if entry else len(before)
    assert [(one.key, one.value) for one in written.entries] == [*before[:at], (key, value), *before[at + 1:]]
    if entry:
        assert after.startswith(data[:entry.begin]) and after.endswith(data[entry.end:])
    else:
        assert after.startswith(data)
    lines = conf.Edit("local", "/x/daemon.conf", data, after).diff()
    assert all(is_one_line(line) for line in lines) and bool(lines) == (after != data)


def test_daemon_conf_edited():
    keys, values = [*daemon_conf.KEYS, "jcdbs", "a"], ["SITE", "10.0.2.50, fd00::50", "20816", "", "ソ"]
    fuzz("... edited", lambda recipe: (recipe.mutated(DAEMON_CONFS), recipe.text(keys), recipe.text(values)), check_edit)


def check_view(drawn):
    """What counts, and what it hides, is all that stands there; no word of it moves a cursor."""
    files = {which: daemon_conf.File("/" + which, data) for which, data in zip(daemon_conf.FILES, drawn)}
    for site, names in daemon_conf.LAYERS.items():
        found = daemon_conf.effective(site, files)
        told = [conf.told(key, one, site) for key, one in found.items()]
        assert sum(len(one["hides"]) + (one["line"] is not None) for one in told) == sum(len(files[name].entries) for name in names)
        assert all(json.loads(json.dumps(one)) == one for one in told)
        seen = {"site": "a", "files": {}, "sites": dict.fromkeys(("site", "local"), {"complete": True, "keys": told})}
        assert all(is_one_line(line) for line in conf.text(seen).split("\n"))


def test_daemon_conf_shown():
    fuzz("... shown", lambda recipe: [recipe.mutated(DAEMON_CONFS) for _ in range(3)], check_view)


def test_licence(tmp_path):
    (tmp_path / "license").mkdir()

    def check(drawn):
        data, pattern = drawn
        write(licence.path(str(tmp_path)), data)
        words = licence.complaint(str(tmp_path), pattern)
        assert (words == "") == (pattern.encode() in data and data.strip() != b"")
        assert words.isprintable() and re.match(r"CJC20\d: |$", words)

    fuzz("licence file", lambda recipe: (recipe.mutated([b"LicensePackage R16 CJC Option\nkey=0123\n", "日本 CJC".encode()]),
                                         "".join(c for c in recipe.text(["CJC", "CJC Option", "日本"]) if c.isprintable())), check)


def check_locale(data):
    for name, value in child_environment.parse_locale(data.decode("utf-8", "replace")).items():
        assert re.fullmatch(r"LANG|LC_\w*", name), "it goes into an environment"
        assert value.isprintable() and value in data.decode("utf-8", "replace")


def test_locale():
    fuzz("locale file", lambda recipe: recipe.mutated(specimens.LOCALE), check_locale)


# -- ours ----------------------------------------------------------------------------------------------------------------------------


def parts(found):
    return [getattr(found, name) for name in record.Record.__slots__]


def test_record(state_folder):
    folder = str(state_folder)

    def check(data):
        write(record.path(folder, "jobsiteA"), data)
        try:
            found = record.load(folder, "jobsiteA")
        except statefile.Untrusted as error:
            assert record.path(folder, "jobsiteA") in str(error) and is_one_line(str(error))
            found = None
        if found is not None:
            assert_usable(found)
            record.save(folder, found)
            assert parts(record.load(folder, "jobsiteA")) == parts(found), "what is saved is read as it was"
        assert record.find(folder, "no such instance", "/no/such/db") is None

    fuzz("record", lambda recipe: recipe.mutated(specimens.RECORDS), check)


def assert_usable(found):
    """An action can do with it whatever it does with a record."""
    for pid, start in [*found.daemons, *(found.before or []), *([found.resident] if found.resident else [])]:
        assert type(pid) is int and type(start) is int and pid > 1
        record.processes.read(pid)
    assert found.settings["site"] == "jobsiteA" and 0 <= found.port < 65536
    parameters.read(found.settings)
    try:
        blockdevice.number(found.disk.get("path", "/dev/null"))
    except blockdevice.Unresolved:
        pass


def any_record(recipe):
    """What a start could leave: texts of any kind."""
    texts = {recipe.text(["device", "path"]): recipe.text(["/dev/sdb1", "nas:/x"]) for _ in range(recipe.number(3))}
    pairs = [(2 + recipe.number(1 << 16), recipe.number(1 << 16)) for _ in range(recipe.number(3))]
    return (dict(texts, site="jobsiteA"), recipe.text(["instance"]), specimens.BOOT, texts, recipe.number(1 << 16), pairs,
            recipe.pick([None, (2, 3)]), recipe.pick([None, [], [(7, 8)]]))


def test_record_as_written(state_folder):
    def check(drawn):
        written = record.Record(*drawn)
        record.save(str(state_folder), written)
        assert parts(record.load(str(state_folder), "jobsiteA")) == parts(written)

    fuzz("... as written", any_record, check)


def test_history(state_folder):
    folder = str(state_folder)

    def check(data):
        write(history.path(folder, "jobsiteA"), data)
        found, doubt = history.load(folder, "jobsiteA"), history.doubt(folder, "jobsiteA")
        assert is_one_line(doubt) and not (found and doubt) and len(found) <= history.MOST
        assert all(is_one_line(one_line(status.entry_words(entry.as_json()))) for entry in found)
        assert history.add(folder, "jobsiteA", history.Clock(history.START).entry("good", "")) == ""
        before, after = ([repr(entry.as_json()) for entry in entries] for entries in (found, history.load(folder, "jobsiteA")))
        assert set(after[:-1]) <= set(before) and len(after) == min(len(before) + 1, history.MOST), "what is kept is kept as it was"

    fuzz("history", lambda recipe: recipe.mutated(specimens.HISTORIES), check)


def check_json(data):
    try:
        text = data.decode("utf-8")
        expected = json.loads(text)
    except (ValueError, RecursionError):
        assert record._understood(data) is None
        return
    value = light_json.loads(text)
    assert repr(value) == repr(expected)
    assert json.loads(light_json.dumps(value), parse_constant=str) == json.loads(json.dumps(expected), parse_constant=str)


def test_json():
    fuzz("... its JSON", lambda recipe: recipe.mutated(specimens.RECORDS), check_json)


def test_abandoned_children(state_folder):
    runner = Runner(str(state_folder), "cjc-x", lambda text: None)
    ours = "%d 0 look at /share\n" % os.getpid()

    def check(data):
        write(str(state_folder / "cjc-x.abandoned"), data)
        assert runner._still_abandoned("look at /share") in (0, os.getpid())
        runner._abandon("write test", os.getpid())
        assert runner._still_abandoned("write test") == os.getpid(), "whatever stood there before"
        assert all(_noted(line)[0] for line in (state_folder / "cjc-x.abandoned").read_text(errors="replace").splitlines())

    fuzz("abandoned children", lambda recipe: recipe.mutated([*specimens.NOTES, ours]), check)


HOLDER = """
import fcntl, sys
file = open(sys.argv[1], "r+")
fcntl.lockf(file, fcntl.LOCK_EX)
print("ready", flush=True)
sys.stdin.read()
"""


def test_lock(state_folder):
    path = str(state_folder / "cjc-x.lock")
    write(path, b"")
    holder = subprocess.Popen([sys.executable, "-I", "-S", "-c", HOLDER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"ready\n"

        def check(data):
            write(path, data)
            with pytest.raises(lock.Busy) as caught:
                lock.Lock(path).take("stop", Deadline(0))
            assert str(caught.value).endswith("works on this site")

        fuzz("lock file", lambda recipe: recipe.mutated(specimens.LOCKS), check)
    finally:
        holder.stdin.close()
        holder.wait(10)
