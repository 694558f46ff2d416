"""The table of rules, and how the doctor says what was found."""
from __future__ import annotations

import json
import re
from types import SimpleNamespace

import pytest

from cjc_agent.frontends.verbs import doctor as verb
from cjc_agent.frontends.verbs.common import WrongUsage
from cjc_agent.operator import doctor, rules
from cjc_agent.operator.rule import ENGLISH, ERROR, INFO, JAPANESE, NOT_MOUNTED, SEVERITIES, WARNING, Finding, Group, unchecked
from cjc_agent.operator.rules import GROUPS, RULES
from unit.helpers import AGENT, ROOT

EVERY = list(RULES.values())
TEXTS = ("finding", "why", "remedy")


# -- the table -----------------------------------------------------------------------------------------------------------------------------


def test_ids_are_stable_words_of_their_own():
    listed = [rule.id for group in GROUPS for rule in group.rules]
    assert listed == sorted(listed) and len(set(listed)) == len(listed) >= 45
    assert all(re.fullmatch(r"CJC\d{3}", id) for id in listed)
    assert all(len({rule.id[:4] for rule in group.rules}) == 1 for group in GROUPS), "a group has a hundred of its own"


@pytest.mark.parametrize("rule", EVERY, ids=lambda rule: rule.id)
def test_a_rule_speaks_both_languages_and_they_name_the_same_facts(rule):
    assert rule.severity in SEVERITIES
    for name in TEXTS:
        english, japanese = getattr(rule, name), getattr(rule, name + "_ja")
        assert english.isascii() and english and "\n" not in english + japanese, name
        assert japanese == english or not japanese.isascii(), name
        assert set(re.findall(r"%\((\w+)\)s", english)) == set(re.findall(r"%\((\w+)\)s", japanese)), name
        assert "%" not in re.sub(r"%\(\w+\)s|%%", "", english + japanese), name


def test_whatever_the_agent_calls_by_a_rule_s_id_is_in_the_table():
    named = {id for path in AGENT.rglob("*.py") for id in re.findall(r"CJC\d{3}", path.read_text(encoding="utf-8"))}
    assert named == set(RULES)


def test_the_page_is_made_from_the_table():
    import importlib.util
    spec = importlib.util.spec_from_file_location("rules_page", ROOT / "packaging" / "rules_page.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    assert (ROOT / "docs" / "rules.md").read_text(encoding="utf-8") == made.page(), "run make docs"


# -- what is said ----------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def told(monkeypatch):
    """Two groups of rules, and a function that examines a node by checks that yield what they are given."""
    first, second = Group("First", "一"), Group("Second", "二")
    made = {word: group.rule("CJC90%d" % number, word, ("found %(what)s", "発見 %(what)s"), ("why", "理由"), ("do it", "対処せよ"))
            for number, (word, group) in enumerate([(INFO, first), (WARNING, second), (ERROR, second)])}
    monkeypatch.setattr(rules, "GROUPS", (first, second))

    def examine(*found, failing=None, accepted=()):
        first.checks[:], second.checks[:] = [lambda node: iter(found[:1])], [lambda node: iter(found[1:])]
        if failing:
            def a_check(node):
                raise failing
            first.checks.insert(0, a_check)
        settings = SimpleNamespace(site="jobsiteA")
        return doctor.examine(SimpleNamespace(settings=settings, name="node2", origin="resource jobsiteA-site", package=("jobcenter", "16.1-1")), accepted)
    return made, examine


def test_problems_come_first_and_the_summary_last(told):
    made, examine = told
    report = examine(made[INFO]("x", what="1"), made[WARNING]("/etc/y:2", what="2"), made[ERROR]("", what="3"), unchecked([made[ERROR]], NOT_MOUNTED))
    assert not report.clean and [finding.rule.severity for finding in report.findings] == [ERROR, WARNING, INFO]
    lines = doctor.text(report, ENGLISH, coloured=False).split("\n")
    assert lines == [
        "site jobsiteA on node node2, JobCenter 16.1-1, settings from resource jobsiteA-site", "",
        "Second", "  ERROR CJC902 found 3", "      why: why", "      do:  do it",
        "  WARNING CJC901 /etc/y:2: found 2", "      why: why", "      do:  do it", "",
        "First", "  info CJC900 x: found 1", "      why: why", "      do:  do it", "", "",
        "Not checkable here", "  the disk of the site DB is not mounted on this node (right on a standby): CJC902", "",
        "node2, site jobsiteA: 1 error, 1 warning, 1 note, 1 rule not checkable here"]


def test_in_japanese(told):
    made, examine = told
    text = doctor.text(examine(made[INFO]("x", what="1"), made[ERROR]("", what="3")), JAPANESE, coloured=False)
    assert "エラー CJC902 発見 3" in text and "影響: 理由" in text and text.endswith("node2（jobsiteA）: エラー 1、警告 0、情報 1、検査できない規則 0")


def test_a_group_of_which_a_part_could_not_be_checked_is_not_called_good(told):
    made, examine = told
    text = doctor.text(examine(unchecked([made[ERROR]], NOT_MOUNTED)), ENGLISH, coloured=False)
    assert "First: good\nSecond: good, as far as it could be checked\n" in text


def test_a_place_is_not_said_twice(told):
    made, examine = told
    text = doctor.text(examine(made[WARNING]("found", what="2"), made[ERROR]("/etc/y", what="/etc/y")), ENGLISH, coloured=False)
    assert "  WARNING CJC901 found 2\n" in text and "  ERROR CJC902 /etc/y: found /etc/y\n" in text


def test_what_is_only_good_to_know_is_no_problem(told):
    made, examine = told
    assert examine(made[INFO]("x", what="1")).clean and examine().clean and not examine(made[WARNING]("x", what="1")).clean


def test_a_warning_that_is_accepted_is_a_note_and_no_other_becomes_one(told):
    made, examine = told
    warning, info = made[WARNING]("/etc/y:2", what="2"), made[INFO]("x", what="1")
    report = examine(info, warning, accepted=["CJC901"])
    assert report.clean and doctor.as_json(report, ENGLISH)["summary"] == {"error": 0, "warning": 0, "info": 2}
    assert "  info CJC901 /etc/y:2: found 2\n" in doctor.text(report, ENGLISH, coloured=False)
    assert not examine(info, warning, made[ERROR]("", what="3"), accepted=["CJC901"]).clean and not examine(warning, accepted=["CJC900"]).clean


@pytest.mark.parametrize("id, words", [("CJC999", "there is no such rule"), ("cjc401", "there is no such rule"), ("", "there is no such rule"),
                                       ("CJC302", "this rule is an error")])
def test_what_cannot_be_accepted(id, words):
    with pytest.raises(WrongUsage, match="^--accept %s: %s" % (id, words)):
        verb._accepted(["CJC401", id])


def test_a_check_that_fails_is_a_finding_and_the_others_go_on(told):
    made, examine = told
    report = examine(made[INFO]("x", what="1"), made[ERROR]("y", what="2"), failing=ZeroDivisionError("oops"))
    assert [finding.rule.id for finding in report.findings] == ["CJC001", "CJC902", "CJC900"]
    assert 'the check "a_check" could not be completed: ZeroDivisionError: oops' in doctor.text(report, ENGLISH, False)


def test_nothing_that_is_found_moves_the_terminal_s_cursor(told):
    made, examine = told
    hostile = "a\n\x1b[2J\u202eb"
    text = doctor.text(examine(made[INFO](hostile, what=hostile)), ENGLISH, coloured=False)
    assert all(line.isprintable() for line in text.split("\n")) and "a\\x0a\\x1b[2J\\x202eb" in text


def test_colours_are_for_terminals(told, monkeypatch):
    made, examine = told
    report = examine(made[INFO]("x", what="1"), made[ERROR]("y", what="2"))
    assert re.sub(r"\x1b\[[0-9;]*m", "", doctor.text(report, ENGLISH, True)) == doctor.text(report, ENGLISH, False) != doctor.text(report, ENGLISH, True)
    monkeypatch.setattr("sys.stdout", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert verb._coloured()
    for name, value in (("NO_COLOR", ""), ("TERM", "dumb")):
        with monkeypatch.context() as changed:
            changed.setenv(name, value)
            assert not verb._coloured()
    monkeypatch.setattr("sys.stdout", SimpleNamespace(isatty=lambda: False))
    assert not verb._coloured()


def test_as_json(told):
    made, examine = told
    report = examine(made[WARNING]("/etc/y:2", what="2"), unchecked([made[ERROR], made[INFO]], NOT_MOUNTED))
    assert json.loads(json.dumps(doctor.as_json(report, ENGLISH))) == {
        "node": "node2", "site": "jobsiteA", "clean": False, "summary": {"error": 0, "warning": 1, "info": 0},
        "findings": [{"rule": "CJC901", "severity": "warning", "place": "/etc/y:2", "finding": "found 2", "why": "why", "remedy": "do it"}],
        "unchecked": [{"rules": ["CJC902", "CJC900"], "reason": NOT_MOUNTED.text}]}


def test_a_finding_lacks_no_fact():
    """Facts are given by name where it is found: a name that a text does not know would be a KeyError at 3 a.m."""
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (AGENT / "cjc_agent" / "operator").rglob("*.py"))
    for rule in EVERY:
        facts = dict.fromkeys(re.findall(r"%\((\w+)\)s", rule.finding + rule.why + rule.remedy), "x")
        assert all(Finding(rule, "", facts).words(language) for language in (ENGLISH, JAPANESE))
        assert all(re.search(r"\b%s=" % name, sources) for name in facts), rule.id
