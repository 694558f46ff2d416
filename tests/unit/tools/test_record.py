from __future__ import annotations

import json

import pytest

from cjc_agent.tools import processes, record, statefile
from cjc_agent.tools.record import Record
from cjc_agent.tools.statefile import Untrusted


def made(site="jobsiteA", **more):
    values = {"settings": {"site": site, "site_db": "/share/job_site", "licence_pattern": "CJC 日本"}, "instance": "jc", "boot": processes.boot_id(),
              "disk": {"device": "/dev/sdb1", "path": "/dev/sdb1", "number": "8:17"}, "port": 20816, "daemons": [(100, 5), (200, 7)], "resident": None}
    return Record(**{**values, **more})


def fields(of):
    return {name: getattr(of, name) for name in Record.__slots__}


@pytest.fixture
def folder(state_folder):
    return str(state_folder)


@pytest.mark.parametrize("before", [None, [], [(400, 11), (500, 13)]])
@pytest.mark.parametrize("port", [20816, 65535, 0])
@pytest.mark.parametrize("resident", [None, (300, 9)])
def test_round_trip(folder, resident, port, before):
    """A start that has not finished: what carried the variable before, and maybe a port that could not be read."""
    before = made(resident=resident, port=port, before=before)
    record.save(folder, before)
    assert fields(record.load(folder, "jobsiteA")) == fields(before)
    assert record.path(folder, "jobsiteA") == folder + "/cjc-jobsiteA.json"
    record.remove(folder, "jobsiteA")
    assert record.load(folder, "jobsiteA") is None
    record.remove(folder, "jobsiteA")


def test_a_record_of_another_boot_counts_for_nothing(folder):
    record.save(folder, made(boot="00000000-0000-0000-0000-000000000000"))
    assert record.load(folder, "jobsiteA") is None


def test_a_record_of_another_site_is_not_believed(folder, state_folder):
    record.save(folder, made("jobsiteB"))
    (state_folder / "cjc-jobsiteB.json").rename(state_folder / "cjc-jobsiteA.json")
    with pytest.raises(Untrusted, match="not a record of site jobsiteA"):
        record.load(folder, "jobsiteA")


def data(**changed):
    value = {**fields(made()), **changed}
    return {name: part for name, part in value.items() if part != "LEFT OUT"}


WHOLE = json.dumps(data())
HOSTILE = [b"", b"{", b"null", b"[]", b"5", b'"x"', b"\xff\xfe", b"\0" * 50, WHOLE.encode()[:-1], WHOLE.encode()[:50], (WHOLE + WHOLE).encode(),
           (WHOLE + "x").encode(), b"[" * 100000]
HOSTILE += [json.dumps(data(**{name: value})).encode() for name, value in [
    ("settings", "LEFT OUT"), ("settings", None), ("settings", []), ("settings", "x"), ("settings", {}), ("settings", {"site": 5}),
    ("settings", {"site": "jobsiteA", "vip": ["x"]}), ("settings", {"site": "jobsiteA", "vip": None}), ("instance", 5), ("instance", None), ("boot", None),
    ("boot", ["x"]), ("disk", None), ("disk", []), ("disk", {"number": 5}), ("port", "20816"), ("port", 0.0), ("port", False), ("port", -1), ("port", 65536),
    ("port", 20816.0), ("port", True), ("port", None), ("port", "LEFT OUT"), ("daemons", None), ("daemons", 5), ("daemons", [5]), ("daemons", [[1, 2]]),
    ("daemons", [[0, 2]]), ("daemons", [[-5, 2]]), ("daemons", [[5]]), ("daemons", [[5, 6, 7]]), ("daemons", [["5", 6]]), ("daemons", [[5, "6"]]),
    ("daemons", [[5.0, 6]]), ("daemons", [[True, 6]]), ("daemons", {"ab": 1}), ("daemons", "LEFT OUT"), ("resident", 5), ("resident", [1, 2]),
    ("resident", "ab"), ("resident", []), ("resident", "LEFT OUT"), ("before", 5), ("before", True), ("before", "ab"), ("before", [5]), ("before", [[1, 2]]),
    ("before", [[5]]), ("before", [["5", 6]]), ("before", [[5, None]]), ("before", [[True, 6]]), ("before", {"ab": 1}), ("before", "LEFT OUT"),
    ("disk", {"path": "/dev/x\0"}), ("disk", {"path": "/dev/\ud800"}), ("instance", "\0"),
]]


@pytest.mark.parametrize("content", HOSTILE, ids=lambda content: repr(content[-60:]))
def test_torn_and_hostile_records_are_not_believed(folder, content):
    statefile.write(record.path(folder, "jobsiteA"), content)
    with pytest.raises(Untrusted):
        record.load(folder, "jobsiteA")


def test_the_whole_one_is_believed(folder):
    statefile.write(record.path(folder, "jobsiteA"), WHOLE.encode())
    assert record.load(folder, "jobsiteA").daemons == [(100, 5), (200, 7)]


def test_no_start_that_has_not_finished_is_not_one_before_which_nothing_ran(folder):
    assert made().before is None
    for before in (None, []):
        record.save(folder, made(before=before))
        assert record.load(folder, "jobsiteA").before == before


def test_a_record_behind_a_link_is_not_believed(folder, state_folder):
    record.save(folder, made())
    (state_folder / "cjc-jobsiteA.json").rename(state_folder / "elsewhere")
    (state_folder / "cjc-jobsiteA.json").symlink_to("elsewhere")
    with pytest.raises(Untrusted):
        record.load(folder, "jobsiteA")


def test_find_by_instance_and_by_site_db(folder):
    record.save(folder, made("a", instance="one", settings={"site": "a", "site_db": "/share/a"}))
    record.save(folder, made("b", instance="two", settings={"site": "b", "site_db": "/share/b"}))
    statefile.write(record.path(folder, "broken"), b"{")
    statefile.write(folder + "/cjc-a.lock", b"1 start 1\n")

    def site(instance, site_db):
        found = record.find(folder, instance, site_db)
        return found and found.settings["site"]
    assert site("one", "") == "a" and site("two", "") == "b"
    assert site("", "/share/b") == "b" and site("three", "/share/a") == "a"
    assert site("one", "/share/b") == "a" and site("two", "/share/a") == "b", "the instance is the better evidence"
    assert site("", "") is None and site("three", "/share/c") is None


def test_find_does_not_take_a_nameless_record_for_a_nameless_call(folder):
    record.save(folder, made("a", instance="", settings={"site": "a"}))
    assert record.find(folder, "", "") is None


def test_find_passes_over_other_boots_and_missing_folders(folder):
    record.save(folder, made(boot="other"))
    assert record.find(folder, "jc", "/share/job_site") is None
    assert record.find(folder + "/none", "jc", "/share/job_site") is None


def test_hostile_text_through_the_fallback(folder, monkeypatch):
    monkeypatch.delattr("_json.make_scanner")
    for content in HOSTILE:
        assert record._understood(content) is None or json.loads(content)["settings"].get("site") != "jobsiteA"
    assert record._understood(WHOLE.encode()).port == 20816


def test_a_record_is_plain_json_with_one_line_for_each_thing(folder, state_folder):
    record.save(folder, made())
    text = (state_folder / "cjc-jobsiteA.json").read_text()
    assert json.loads(text) == json.loads(json.dumps(data())) and len(text.split("\n")) == len(Record.__slots__) + 3
