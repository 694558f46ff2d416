"""What differs between saved nodes, and what of it matters; and files that nobody has saved."""
from __future__ import annotations

import copy
import io
import json
import os
import re
from argparse import Namespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cjc_agent.frontends import cli
from cjc_agent.frontends.verbs import compare as verb
from cjc_agent.operator import compare, saved
from cjc_agent.operator.compare import Comparison, Incomparable
from cjc_agent.operator.rule import ENGLISH, JAPANESE, SEVERITIES
from cjc_agent.operator.rules import RULES
from cjc_agent.operator.saved import NotSaved

NODE = {
    "kind": "cjc-agent node", "format": 1, "node": "node1", "time": "2026-11-28T03:00:00+00:00", "site": "jobsiteA", "settings from": "/etc/cjc-agent/a.conf",
    "summary": {"error": 0, "warning": 0, "info": 0}, "findings": [], "unchecked": [],
    "facts": {
        "versions": {"JobCenter": "jobcenter 16.1-1", "cjc-agent": "1.0", "Python": "3.9.1", "kernel": "5.14.0-1"},
        "digests": {"licence": "a" * 64, "cjcpw": "b" * 64},
        "parameters": {"site": "jobsiteA", "device": "/dev/sdb1", "port": "", "trace": "0", "environment": ""},
        "local daemon.conf": {"ipaddress": "local 10.0.0.10", "local_daemon": "common SITE", "listen_port": "default 20816", "ipcheck": "default "},
        "local places": {"ipaddress": "/usr/spool/nqs/daemon.conf:2", "local_daemon": "/usr/lib/nqs/rc/daemon.conf:1"},
        "site daemon.conf": {"ipaddress": "default ", "local_daemon": "common SITE", "listen_port": "default 20816"},
        "site places": {"local_daemon": "/usr/lib/nqs/rc/daemon.conf:1"},
        "node": {"uid of jobs": "1001", "disk": "mounted"}},
    "unknown": {}}
WORDS = {"en": ["it is wrong", "it fails", "mend it"], "ja": ["誤りです", "失敗します", "修正してください"]}


def finding(rule, severity="error"):
    return {"rule": rule, "severity": severity, "place": "/etc/x:1", **WORDS}


@pytest.fixture
def write(tmp_path):
    """Write a saved node, NODE with changes: `section/name` -> value, or a key of the file -> value. Return its path."""
    made = []

    def _write(name="node1", **changes):
        value = copy.deepcopy(NODE)
        value["node"] = name
        for key, text in changes.items():
            section, dot, fact = key.partition("/")
            if dot:
                value["facts"][section][fact] = text
            else:
                value[key] = text
        made.append(tmp_path / ("%d.json" % len(made)))
        made[-1].write_text(json.dumps(value))
        return str(made[-1])
    return _write


def held(*paths):
    """The nodes, compared."""
    return Comparison([saved.load(path) for path in paths])


def said(made):
    """(rule, severity, what differs, or the nodes where it was found) of all that matters."""
    return [(one.rule.id, one.severity, one.what[0]) if isinstance(one, compare.Difference) else (one.first.rule, one.severity, sorted(one.found))
            for one in made.matters]


# -- facts -----------------------------------------------------------------------------------------------------------------------------------


def test_what_is_not_known_of_a_node_is_told_as_not_compared(write):
    made = held(write(), write("node2", **{"versions/JobCenter": "jobcenter 16.1-1"}))
    assert made.notes(ENGLISH) == []
    value = copy.deepcopy(NODE["facts"])
    del value["versions"]["JobCenter"], value["digests"]["licence"]
    made = held(write(), write("node2", facts=value), write("node3"))
    assert not made.matters
    assert made.notes(ENGLISH) == ["not compared, because it is not known of all nodes: JobCenter's version (node2); the licence file (digest) (node2)"]
    assert "node2" in made.notes(JAPANESE)[0] and made.notes(ENGLISH)[0] in compare.text(made, ENGLISH)


def test_a_parameter_that_is_not_given_on_one_node(write):
    made = held(write(), write("node2", **{"parameters/options": "nodev"}), write("node3", **{"parameters/options": ""}))
    assert made.matters[0].values["node2"] == "nodev" and made.matters[0].values["node3"] == compare.NOT_SET


def test_what_is_each_node_s_own_is_no_difference(write):
    made = held(write(), write("node2", time="2026-11-28T12:00:00+09:00", **{"local daemon.conf/ipaddress": "local 10.0.0.11",
                                                                          "node/disk": "not mounted"}))
    assert (made.differences, made.only, made.matters, made.notes(ENGLISH)) == ([], [], [], [])
    assert compare.text(made, ENGLISH) == (
        "site jobsiteA: node1, saved 2026-11-28 03:00 +0000; node2, saved 2026-11-28 12:00 +0900\n\n"
        "node1, node2: 0 differences that matter (0 errors), 0 that do not")


PLACE = "/usr/lib/nqs/rc/daemon.conf:2"


@pytest.mark.parametrize(("key", "value", "expected"), [
    ("versions/JobCenter", "jobcenter 16.0-1", [("CJC210", "error", "JobCenter's version")]),
    ("digests/licence", "c" * 64, [("CJC610", "warning", "the licence file (digest)")]),
    ("digests/cjcpw", "c" * 64, [("CJC611", "warning", "cjcpw (digest)")]),
    ("versions/cjc-agent", "1.1", [("CJC614", "warning", "cjc-agent's version")]),
    ("node/uid of jobs", "1002", [("CJC613", "error", "uid of jobs")]),
    ("parameters/port", "20817", [("CJC612", "warning", "parameter `port`")]),
    ("parameters/environment", "TZ (digest of the values 01)", [("CJC612", "warning", "parameter `environment`")]),
    ("parameters/device", "/dev/sdc1", []), ("parameters/device", "host:/export", [("CJC612", "warning", "parameter `device`")]), ("parameters/trace", "1", []),
    ("local daemon.conf/listen_port", "local 20817", [("CJC114", "warning", "listen_port of the local site")]),
    ("site daemon.conf/listen_port", "common 20817", [("CJC114", "warning", "listen_port of the cluster site")]),
    ("site daemon.conf/listen_port", "site 20817", []),
    ("site daemon.conf/jnwengine_opt", "common x", [("CJC615", "warning", "jnwengine_opt of the cluster site")]),
    ("local daemon.conf/local_daemon", "common OFF", []), ("site daemon.conf/local_daemon", "common OFF", []),
    ("versions/kernel", "5.14.0-2", []), ("versions/Python", "3.11.2", []), ("versions/psutil", "5.9", [])])
def test_what_matters(write, key, value, expected):
    made = held(write(), write("node2"), write("node3", **{key: value}))
    assert said(made) == expected
    for language in (ENGLISH, JAPANESE):
        text = compare.text(made, language)
        assert all(rule in text and "node3" in text for rule, _, _ in expected)
    assert compare.as_json(made, ENGLISH)["same"] is not bool(expected)


def test_the_port_is_told_by_the_rule_that_refuses_the_start(write):
    """Where the parameter `port` is set, the node with another listen_port refuses it."""
    changes = {"parameters/port": "20816"}
    made = held(write(**changes), write("node2", **changes, **{"site daemon.conf/listen_port": "common 20817", "site places/listen_port": PLACE}))
    assert said(made) == [("CJC115", "error", "listen_port of the cluster site")]
    assert made.matters[0].values == {"node1": "20816", "node2": "20817 (/usr/lib/nqs/rc/daemon.conf:2)"}


def test_other_commands_are_no_news_where_the_version_is_another(write):
    assert said(held(write(), write("node2", **{"versions/JobCenter": "jobcenter 16.0-1", "digests/cjcpw": "c" * 64}))) == [
        ("CJC210", "error", "JobCenter's version")]


def test_what_a_node_does_not_know_does_not_differ(write):
    facts = {section: {} for section in NODE["facts"]}
    assert held(write(), write("node2", facts=facts)).differences == []
    assert held(write(), write("node2", facts={})).differences == []


def test_a_key_that_one_node_does_not_have(write):
    made = held(write(**{"site daemon.conf/some_key": "common 1 2", "site places/some_key": PLACE}), write("node2"))
    assert said(made)[0][0] == "CJC615" and made.matters[0].values == {"node1": "1 2 (/usr/lib/nqs/rc/daemon.conf:2)", "node2": "-"}


# -- findings ----------------------------------------------------------------------------------------------------------------------------------


def test_findings_of_some_nodes_only(write):
    everywhere, info = finding("CJC105", "warning"), finding("CJC122", "info")
    made = held(write(findings=[everywhere, info]), write("node2", findings=[finding("CJC204"), everywhere]), write("node3", findings=[everywhere]))
    assert said(made) == [("CJC204", "error", ["node2"])] and made.everywhere == ["CJC105"]
    text = compare.text(made, ENGLISH).split("\n")
    assert text[2:6] == ["Differences that matter", "  ERROR CJC204 only on node2: /etc/x:1: it is wrong", "      why: it fails", "      do:  mend it"]
    assert "  info CJC122 only on node1: /etc/x:1: it is wrong" in text and "found on all nodes alike, see the doctor: CJC105" in text
    japanese = compare.text(made, JAPANESE)
    assert "エラー CJC204 node2 のみ: /etc/x:1: 誤りです" in japanese and "対処: 修正してください" in japanese


def test_what_the_other_node_could_not_check_is_no_difference(write):
    """A standby does not see the site's own file."""
    unchecked = [{"rules": ["CJC109", "CJC117"], "en": "x", "ja": "x"}]
    made = held(write(findings=[finding("CJC117")]), write("node2", unchecked=unchecked))
    assert made.matters == [] and [one.unsure for one in made.only] == [True]
    assert "Found on some nodes, not checkable on the others\n  ERROR CJC117 only on node1" in compare.text(made, ENGLISH)
    assert said(held(write(findings=[finding("CJC117")]), write("node2", unchecked=unchecked), write("node3"))) == [("CJC117", "error", ["node1"])]


def test_every_rule_that_it_names_is_one_of_the_doctor_s():
    named = {rule for row in test_what_matters.pytestmark[0].args[1] for rule, _, _ in row[2]} | {"CJC115"}
    assert named <= RULES.keys() and {"CJC610", "CJC611", "CJC612", "CJC613", "CJC614", "CJC615"} <= named


# -- the files -----------------------------------------------------------------------------------------------------------------------------------


def test_the_same_node_twice_and_long_ago(write):
    before, after = write(time="2026-11-26T00:00:00+00:00"), write(**{"versions/JobCenter": "jobcenter 16.2-1"})
    made = held(before, after)
    assert list(made.nodes) == ["node1 (%s)" % before, "node1 (%s)" % after] and len(made.notes(ENGLISH)) == len(made.notes(JAPANESE)) == 2
    text = compare.text(made, ENGLISH)
    assert "saved more than a day apart" in text and "the same node more than once: node1 (%s), node1 (%s)" % (before, after) in text
    assert held(before, before).matters == []


def test_different_sites_are_refused(write):
    with pytest.raises(Incomparable) as caught:
        held(write(), write("node2", site="jobsiteB"))
    assert "0.json: jobsiteA" in str(caught.value) and "1.json: jobsiteB" in str(caught.value) and not caught.value.words(JAPANESE).isascii()


def test_a_newer_format_is_refused_with_words(write):
    with pytest.raises(NotSaved, match=r"newer cjc-agent \(format 2\)") as caught:
        saved.load(write(format=2))
    assert not caught.value.words(JAPANESE).isascii()


KIND = b'{"kind": "cjc-agent node"'


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"{}", KIND + b"}", b"[" * 100_000, KIND + b', "format": 1e999}',
                                  KIND + b', "format": ' + b"9" * 5000 + b"}", b"\0" * 10, KIND + b', "format": true}'])
def test_what_nobody_has_saved(tmp_path, data):
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(NotSaved, match="no file that `cjc-agent doctor --save` has written|newer"):
        saved.load(str(tmp_path / "x"))


@pytest.mark.parametrize(("key", "value"), [
    ("time", "yesterday"), ("time", "2026-11-28T03:00:00"), ("node", 1), ("site", None), ("summary", {}), ("summary", {"error": -1, "warning": 0, "info": 0}),
    ("findings", 7), ("findings", [1]), ("findings", [{**finding("CJC204"), "severity": "fatal"}]), ("findings", [{**finding("CJC204"), "en": ["x"]}]),
    ("unchecked", [[]]), ("facts", []), ("facts", {"versions": []}), ("facts", {"versions": {"kernel": 5}}), ("format", 0), ("format", "1")])
def test_one_that_was_changed_by_hand(write, key, value):
    with pytest.raises(NotSaved, match="no file"):
        saved.load(write(**{key: value}))


def test_what_is_no_plain_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "missing", "/dev/zero", "a\0b"):
        with pytest.raises(NotSaved):
            saved.load(str(path))


HOSTILE = st.sampled_from(["\x1b[2J", "\u202e", "\ud800", "\n\r\t\0", "site x y", "%s%(x)s"])
ANY_TEXT = st.text(st.characters(), max_size=20)
ANY = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
                   lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3), max_leaves=6)


def holders(value):
    """All dictionaries and lists in a value."""
    yield value
    for inner in value.values() if isinstance(value, dict) else value:
        if isinstance(inner, (dict, list)):
            yield from holders(inner)


@settings(max_examples=250, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_hostile_contents_make_neither_a_traceback_nor_an_escape(tmp_path, capsys, data):
    """One value somewhere in the file is replaced by anything."""
    value = copy.deepcopy({**NODE, "findings": [finding("CJC204")], "unchecked": [{"rules": ["CJC117"], "en": "x", "ja": "x"}]})
    leaves = [(holder, key) for holder in holders(value) for key in (holder if isinstance(holder, dict) else range(len(holder)))]
    here, key = leaves[data.draw(st.integers(0, len(leaves) - 1))]
    here[key] = data.draw(HOSTILE | ANY_TEXT if isinstance(here[key], str) and data.draw(st.integers(0, 3)) else ANY)
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text(json.dumps(NODE))
    second.write_text(json.dumps(value))
    for as_json, language in ((False, "en"), (True, "en"), (False, "ja")):
        code = verb.run(Namespace(files=[str(first), str(second)], json=as_json, lang=language))
        out, said = capsys.readouterr()
        assert code in (0, 1, 2) and (code == 2) == bool(said) and (code == 2) != bool(out)
        assert all(line.isprintable() for line in (out + said).split("\n"))


def test_the_verb(write, capsys):
    one, other = write(), write("node2", **{"versions/JobCenter": "jobcenter 16.0-1"})
    for words, code, where, text in (
            ([one, one], 0, 0, "0 differences that matter"), ([one, other], 1, 0, "ERROR CJC210"), ([one], 2, 1, "two files or more"),
            ([one, "/missing"], 2, 1, "cjc-agent: /missing: no file"), (["--lang", "ja", one, "/missing"], 2, 1, "保存し直してください"),
            ([], 2, 1, "required: FILE"), (["--lang", "ja", one, other], 1, 0, "エラー CJC210 JobCenter のバージョン")):
        assert cli.main(["compare", *words]) == code
        assert text in capsys.readouterr()[where]
    assert cli.main(["compare", "--json", one, other]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["differences"][0]["values"] == {"node1": "jobcenter 16.1-1", "node2": "jobcenter 16.0-1"} and found["same"] is False


def test_a_terminal_in_euc_jp(write, monkeypatch):
    """It has no character for everything that somebody may have in a file."""
    shown = io.TextIOWrapper(io.BytesIO(), encoding="euc_jp")
    monkeypatch.setattr("sys.stdout", shown)
    assert cli.main(["compare", "--lang", "ja", write(), write("node2", **{"versions/kernel": "5.14 \U0001f600"})]) == 0
    assert "kernel: node1 5.14.0-1, node2 5.14 \\U0001f600" in shown.buffer.getvalue().decode("euc_jp")


def test_both_languages_say_the_same():
    for key, (english, japanese) in compare.SAY.items():
        assert english.isascii() and (not japanese.isascii() or english == japanese), key
        assert key == "summary" or re.findall(r"%[sd]", japanese) == re.findall(r"%[sd]", english), key
    assert set(SEVERITIES) == set(NODE["summary"])
