from __future__ import annotations

import time

import pytest

from cjc_agent.tools import deadline as module
from cjc_agent.tools.deadline import Deadline, budget


@pytest.mark.parametrize("timeout, usable", [(180, 175), (100, 95), (60, 57), (30, 28.5), (20, 19), (5, 4), (2, 1), (1, 0.5), (0.5, 0.25)])
def test_budget_keeps_time_to_answer(timeout, usable):
    assert budget(timeout) == pytest.approx(usable)


@pytest.mark.parametrize("timeout", [0.01, 0.9, 1, 1.9, 2, 2.1, 19, 21, 99, 101, 3600])
def test_budget_is_always_positive_and_below_the_timeout(timeout):
    assert 0 < budget(timeout) < timeout


class Clock:
    """A monotonic clock that moves when somebody sleeps."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        self.slept = []
        monkeypatch.setattr(module, "monotonic", lambda: self.now)
        monkeypatch.setattr(module, "sleep", self.sleep)

    def sleep(self, seconds):
        assert seconds > 0
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def test_left_total_and_expired(clock):
    deadline = Deadline(10)
    assert (deadline.left(), deadline.total(), deadline.expired()) == (10, 10, False)
    clock.now += 9
    assert (deadline.left(), deadline.expired()) == (1, False)
    clock.now += 1
    assert (deadline.left(), deadline.expired()) == (0, True)
    clock.now += 5
    assert (deadline.left(), deadline.total()) == (0, 10)


def test_a_negative_span_is_an_expired_deadline(clock):
    assert Deadline(-3).expired() and Deadline(-3).left() == 0


def test_part_never_ends_later_than_the_whole(clock):
    whole = Deadline(10)
    assert whole.part(4).left() == 4
    assert whole.part(40).left() == 10
    clock.now += 8
    assert whole.part(4).left() == 2
    assert whole.part(-1).left() == 0


def test_share_is_of_what_is_left_now(clock):
    whole = Deadline(10)
    assert whole.share(0.5).left() == 5
    clock.now += 6
    assert whole.share(0.5).left() == 2
    clock.now += 6
    assert whole.share(0.5).expired()


def test_polls_grow_and_end_at_the_deadline(clock):
    rounds = sum(1 for _ in Deadline(3).polls(first=0.1, longest=0.5))
    assert clock.now == pytest.approx(1003)
    assert clock.slept[:4] == pytest.approx([0.1, 0.15, 0.225, 0.3375])
    assert max(clock.slept) == pytest.approx(0.5)
    assert rounds == len(clock.slept) + 1, "the last look comes after the last pause"


def test_polls_yield_once_even_when_nothing_is_left(clock):
    assert sum(1 for _ in Deadline(0).polls()) == 1
    assert clock.slept == []


def test_polls_on_the_real_clock():
    began = time.monotonic()
    assert sum(1 for _ in Deadline(0.05).polls(first=0.01, longest=0.01)) >= 2
    assert 0.05 <= time.monotonic() - began < 5
