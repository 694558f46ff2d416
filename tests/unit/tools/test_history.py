from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

from cjc_agent.tools import history, record, statefile
from cjc_agent.tools.history import MOST, START, STOP, Clock, Entry
from unit.helpers import AGENT


def made(action=START, outcome="good", idle=False, began=1764299527.5, seconds=1.24, reason="", steps=(("lock", 0.0), ("disk", 0.31))):
    return Entry(action, began, seconds, outcome, reason, list(steps), idle)


def numbered(folder):
    return [int(entry.seconds) for entry in history.load(folder, "jobsiteA")]


@pytest.fixture
def folder(state_folder):
    return str(state_folder)


@pytest.fixture
def note(folder):
    def add(**parts):
        assert history.add(folder, "jobsiteA", made(**parts)) == ""
    return add


@pytest.mark.parametrize("parts", [{}, {"action": STOP, "outcome": "failed", "reason": "disk: 日本 \"x\"", "steps": ()}, {"idle": True, "seconds": 0}])
def test_round_trip(folder, note, parts):
    note(**parts)
    note()
    assert [entry.as_json() for entry in history.load(folder, "jobsiteA")] == [made(**parts).as_json(), made().as_json()]
    path = history.path(folder, "jobsiteA")
    assert path == folder + "/cjc-jobsiteA.history" and os.stat(path).st_mode & 0o777 == 0o600


def test_nothing_noted_is_no_doubt(folder):
    assert history.load(folder, "jobsiteA") == [] and history.doubt(folder, "jobsiteA") == "" and history.last_good(folder, "jobsiteA", START) is None
    assert history.load(folder + "/none", "jobsiteA") == []


def test_the_newest_are_kept(folder, note):
    for number in range(MOST + 5):
        note(seconds=number)
    assert numbered(folder) == list(range(5, MOST + 5))


@pytest.mark.parametrize("first, second", [(START, STOP), (STOP, START)])
def test_what_a_start_and_a_stop_need_stays_known_when_all_others_have_failed_since(folder, note, first, second):
    note(action=first, seconds=100)
    note(action=second, seconds=101)
    for number in range(MOST + 5):
        note(outcome="failed", seconds=number)
    assert numbered(folder) == [100, 101, *range(7, MOST + 5)] and len(numbered(folder)) == MOST
    assert [history.last_good(folder, "jobsiteA", action).seconds for action in (first, second)] == [100, 101]
    note(action=first, seconds=200)
    assert history.last_good(folder, "jobsiteA", first).seconds == 200 and 100 not in numbered(folder)


def test_two_sites_have_a_history_each(folder, note):
    note()
    assert history.add(folder, "jobsiteB", made(STOP)) == ""
    assert [entry.action for entry in history.load(folder, "jobsiteA")] == [START]
    assert [entry.action for entry in history.load(folder, "jobsiteB")] == [STOP]


def test_what_is_no_measure_is_not_the_last_good_one(folder, note):
    note(seconds=1)
    note(action=STOP, seconds=2)
    for parts in ({"outcome": "failed"}, {"outcome": "misconfigured", "steps": ()}, {"idle": True}):
        note(seconds=9, **parts)
        note(action=STOP, seconds=9, **parts)
    assert history.last_good(folder, "jobsiteA", START).seconds == 1 and history.last_good(folder, "jobsiteA", STOP).seconds == 2


def test_a_history_is_taken_for_no_record(folder, note):
    note()
    assert history.add(folder, "x.json", made()) == "", "dots are allowed in a site's name"
    assert record.all_of_this_boot(folder) == [] and record.find(folder, "jc", "/share/job_site") is None


# -- what cannot be believed ---------------------------------------------------------------------------------------------------------------


def data(**changed):
    return {name: part for name, part in {**made().as_json(), **changed}.items() if part != "LEFT OUT"}


HOSTILE = [b"", b"[", b"null", b"5", b'"ab"', b"\xff\xfe", b"\0" * 50, b"[" * 100000, b"[5]", b"[null]", b'["action"]', b"[[]]", b"[{}]", b'{"a": 1}',
           json.dumps([data()]).encode()[:-1], json.dumps([data()]).encode() + b"x", b"[1" + b"0" * 5000 + b"]"]
HOSTILE += [json.dumps([data(), data(**{name: value})]).encode() for name, value in [
    ("action", "monitor"), ("action", None), ("action", ["start"]), ("action", "LEFT OUT"), ("outcome", 5), ("outcome", "LEFT OUT"), ("reason", None),
    ("reason", "LEFT OUT"), ("began", -1), ("began", 1e12), ("began", 10 ** 400), ("began", float("nan")), ("began", float("inf")), ("began", "1"),
    ("began", True), ("began", "LEFT OUT"), ("seconds", None), ("seconds", -0.1), ("seconds", "LEFT OUT"), ("steps", None), ("steps", 5), ("steps", "ab"),
    ("steps", ["ab"]), ("steps", [["disk"]]), ("steps", [["disk", 1, 2]]), ("steps", [["disk", "1"]]), ("steps", [["disk", float("nan")]]), ("steps", [[5, 1]]),
    ("steps", {"ab": 1}), ("steps", "LEFT OUT"), ("idle", 0), ("idle", None), ("idle", "LEFT OUT"),
]]


@pytest.mark.parametrize("content", HOSTILE, ids=lambda content: repr(content[-60:]))
def test_a_torn_or_hostile_history_is_none_and_the_next_action_begins_anew(folder, note, content):
    statefile.write(history.path(folder, "jobsiteA"), content)
    assert history.load(folder, "jobsiteA") == [] and history.last_good(folder, "jobsiteA", START) is None
    assert history.doubt(folder, "jobsiteA") == "%s: not a history of site jobsiteA: remove it" % history.path(folder, "jobsiteA")
    note(seconds=7)
    assert numbered(folder) == [7] and history.doubt(folder, "jobsiteA") == ""


def test_more_than_we_ever_write_is_cut(folder):
    statefile.write(history.path(folder, "jobsiteA"), json.dumps([data(seconds=number) for number in range(1000)]).encode())
    assert numbered(folder) == list(range(980, 1000))


@pytest.mark.parametrize("how", ["link", "hard link", "writable", "folder"])
def test_somebody_else_s_file_is_not_read_and_not_written_through(folder, state_folder, note, how):
    note()
    path, victim = state_folder / "cjc-jobsiteA.history", state_folder / "victim"
    path.rename(victim)
    before = victim.read_bytes()
    {"link": lambda: path.symlink_to(victim), "hard link": lambda: os.link(victim, path), "folder": path.mkdir,
     "writable": lambda: (path.write_bytes(before), path.chmod(0o666))}[how]()
    assert history.load(folder, "jobsiteA") == [] and str(path) in history.doubt(folder, "jobsiteA")
    said = history.add(folder, "jobsiteA", made(STOP))
    assert victim.read_bytes() == before and (said != "") is (how == "folder")
    if how != "folder":
        assert [entry.action for entry in history.load(folder, "jobsiteA")] == [STOP] and not path.is_symlink()


@pytest.mark.root
def test_a_folder_that_others_can_write_is_not_believed(folder, state_folder, note):
    note()
    state_folder.chmod(0o777)
    assert history.load(folder, "jobsiteA") == [] and "writable by others" in history.doubt(folder, "jobsiteA")
    assert "writable by others" in history.add(folder, "jobsiteA", made())
    state_folder.chmod(0o755)
    assert len(history.load(folder, "jobsiteA")) == 1


def test_what_cannot_be_written_is_said_and_leaves_the_old_one(folder, note, monkeypatch):
    note(seconds=1)

    def full(descriptor, data):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(os, "write", full)
    assert history.add(folder, "jobsiteA", made(seconds=2)) == "%s/cjc-jobsiteA.history: No space left on device" % folder
    monkeypatch.undo()
    assert numbered(folder) == [1] and os.listdir(folder) == ["cjc-jobsiteA.history"]
    assert history.add("/proc/none", "jobsiteA", made()) != ""


# -- the clock -----------------------------------------------------------------------------------------------------------------------------


def test_the_clock_times_the_steps_one_after_the_other(monkeypatch):
    now = iter([100.0, 100.5, 101.75, 104.0, 104.0625])
    monkeypatch.setattr(history, "monotonic", lambda: next(now))
    monkeypatch.setattr(history, "time", lambda: 1764299527.1234)
    clock = Clock(START)
    assert clock.step == ""
    clock.begin("disk")
    clock.begin("site")
    assert clock.step == "site"
    entry = clock.entry("failed", "site: x\n\x1b[2Jy")
    assert entry.as_json() == {"action": "start", "began": 1764299527.123, "seconds": 4.062, "outcome": "failed", "reason": "site: x\\x0a\\x1b[2Jy",
                               "idle": False, "steps": [("disk", 1.25), ("site", 2.25)]}


def test_without_steps(monkeypatch):
    clock = Clock(STOP)
    clock.idle = True
    entry = clock.entry("misconfigured", "parameter port: x")
    assert (entry.steps, entry.idle, entry.action) == ([], True, "stop") and abs(entry.began - time.time()) < 60 and 0 <= entry.seconds < 60


# -- what it costs -------------------------------------------------------------------------------------------------------------------------

IMPORTED = """
import sys
sys.path.insert(0, %r)
from cjc_agent import actions
from cjc_agent.tools import statefile, record
before = set(sys.modules)
from cjc_agent.tools import history
for number in range(2):
    history.add(sys.argv[1], "a", history.Clock("start").entry("good", ""))
assert len(history.load(sys.argv[1], "a")) == 2
print(*sorted(set(sys.modules) - before))
"""


def test_a_start_has_to_wait_for_no_import(folder):
    said = subprocess.run([sys.executable, "-I", "-S", "-c", IMPORTED % str(AGENT), folder], capture_output=True, text=True, check=True, timeout=30)
    assert said.stdout.split() == ["cjc_agent.tools.history"] or set(said.stdout.split()) == {"_json", "cjc_agent.tools.history"}, said.stdout


def test_there_is_no_fsync(folder, note, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: pytest.fail("a start would have to wait for it"))
    note()
