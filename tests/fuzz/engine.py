"""Runs one check on many inputs: seeded, counted, and each within a time."""
from __future__ import annotations

import itertools
import os
import signal
import time

import hypothesis
from hypothesis import strategies

from fuzz.recipe import Recipe

INPUTS = int(os.environ.get("FUZZ", "2500"))  # for each parser
CALLS = max(100, INPUTS // 100)  # of the wrapper: a process each
RECIPE = 64  # bytes that hypothesis draws for one input
AT_ONCE = 10  # recipes in one draw, which costs 0.4 ms whatever it has in it
DRAWS = 500  # from one seed: hypothesis remembers what it has tried, and slows down with it
OPTIONS = hypothesis.settings(database=None, deadline=None, suppress_health_check=list(hypothesis.HealthCheck), print_blob=False,
                              phases=(hypothesis.Phase.generate, hypothesis.Phase.shrink))
PATIENCE = 10  # seconds that one input may take; the slowest takes milliseconds

table: dict[str, tuple[int, float]] = {}  # parser -> different inputs, seconds; shown when all tests are through


class Hang(BaseException):
    """An input took too long. No Exception: hypothesis would try, with more hangs, to make it smaller."""


def fuzz(parser, make, check, number=None, at_once=AT_ONCE, size=RECIPE):
    """Call `check` with `number` (INPUTS) different inputs, each made by `make` from a Recipe of `size` bytes. What `check` raises fails the test.

    hypothesis draws the recipes from the seeds 0, 1, 2 ..., and makes the recipe of a failing input as small as it can; the input is shown.
    """
    number = INPUTS if number is None else number
    began, different = time.monotonic(), set()

    def once(recipes):
        for start in range(0, len(recipes), size):
            value = make(Recipe(recipes[start:start + size]))
            different.add(hash(repr(value)))
            try:
                _guarded(check, value)
            except Exception:
                hypothesis.note("the input: %r" % (value,))
                raise

    for seed in itertools.count():
        if len(different) >= number:
            break
        before = len(different)
        some = hypothesis.settings(OPTIONS, max_examples=min(DRAWS, max(50, (number - len(different)) // at_once)))
        drawn = strategies.binary(min_size=size * at_once, max_size=size * at_once)
        hypothesis.seed(seed)(some(hypothesis.given(drawn)(once)))()
        assert len(different) > before, "%s: no more than %d different inputs" % (parser, before)
    table[parser] = (len(different), time.monotonic() - began)


def _guarded(check, value):
    """Check one input, at most PATIENCE seconds."""
    def give_up(*_):
        raise Hang("%d s and no end with %.2000r" % (PATIENCE, value))
    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        check(value)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def is_one_line(text, longest=2000):
    """Whether a terminal or a log shows it as one line, and nothing else happens."""
    return text.isprintable() and len(text) <= longest
