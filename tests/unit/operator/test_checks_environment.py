"""Environment checks: whose environment counts, and what is not known. The rest is real in tests/agent/test_doctor.py."""
from __future__ import annotations

from types import SimpleNamespace

import pytest

from cjc_agent.layers.ownership import Census
from cjc_agent.operator.checks import environment
from cjc_agent.operator.rule import Unchecked
from cjc_agent.tools import processes
from cjc_agent.tools.processes import Process

RECORDED, RESIDENT, LISTENER, STRANGER, HOLDER, LATER = (Process(pid, 1, pid, 0, 100 + pid, "S", "p%d" % pid) for pid in range(11, 17))


def node(answers, complete=True):
    """A node on which `answers` is pid -> whether its environment has NQS_SITE ("yes" or ""), or None where that hangs."""
    census = Census()
    census.complete = complete
    census.daemons = {one.pid: one for one in (RECORDED, RESIDENT, LISTENER, STRANGER, HOLDER, LATER)}
    census.listeners = {LISTENER.pid: LISTENER, STRANGER.pid: STRANGER}
    census.product = [LISTENER.pid, LATER.pid]
    asked = []

    def each(name, items, function):
        asked.extend(items)
        return {pid: answers.get(pid, "yes") for pid in items}
    site = SimpleNamespace(daemons=[RECORDED.identity, (LATER.pid, 1)], resident=RESIDENT.identity)
    return SimpleNamespace(census=census, each=each, asked=asked, stack=SimpleNamespace(site=site), settings=SimpleNamespace(site="a"))


@pytest.fixture(autouse=True)
def alive(monkeypatch):
    """Pids that have ended meanwhile."""
    gone = set()
    monkeypatch.setattr(processes, "alive", lambda process: process.pid not in gone)
    return gone


def test_recorded_ones_and_the_product_s_listeners_are_looked_at():
    made = node({})
    assert list(environment.daemons_without(made)) == [] and made.asked == [RECORDED.pid, RESIDENT.pid, LISTENER.pid]


def test_all_are_named_in_one_finding(alive):
    answers = dict.fromkeys((RECORDED.pid, RESIDENT.pid, LISTENER.pid), "")
    told, = environment.daemons_without(node(answers))
    assert told.rule is environment.WITHOUT and told.facts["who"].count("[") == 3
    alive.update((RECORDED.pid, RESIDENT.pid))
    told, = environment.daemons_without(node(answers))
    assert "p13[13]" in told.facts["who"] and told.facts["who"].count("[") == 1


@pytest.mark.parametrize("answers, complete", [({LISTENER.pid: None}, True), ({}, False)])
def test_what_is_not_known_is_not_checkable(answers, complete):
    told, = environment.daemons_without(node(answers, complete))
    assert isinstance(told, Unchecked) and told.rules == (environment.WITHOUT,)


def test_the_hung_environment_of_a_daemon_and_a_hung_file_are_not_checkable(monkeypatch):
    monkeypatch.setattr(processes, "table", lambda: {1: Process(1, 0, 1, 0, 1, "S", "init"), 12: Process(12, 1, 12, 0, 5, "D", "clppm"), 13: RESIDENT})
    asked = SimpleNamespace(each=lambda name, items, function: dict.fromkeys(items))
    told = list(environment.cluster(asked))
    assert [one.facts["what"] for one in told] == ["init[1]", "clppm[12]"] and all(one.rules == (environment.IN_A_DAEMON,) for one in told)
    told = list(environment.files(asked))
    assert len(told) == 4 and all(one.rules == (environment.IN_A_FILE,) for one in told)
