"""What the stories that are told of failing clusters share: how they are performed, what is reported in the end, how they are interrupted."""
from __future__ import annotations

import os
import select
import subprocess
import sys
from typing import Callable, TypeVar

from cluster.client import ClientError
from cluster.drill import Drill, Outage, Verdict
from cluster.node import CommandFailed, NotOff
from cluster.nodes import Nodes, WaitedInVain
from cluster.timeline import Timeline

JOBS_PER_SECOND, JOB_SECONDS = 10, 0.3
WRONG = (WaitedInVain, AssertionError, CommandFailed, NotOff, ClientError, RuntimeError, OSError, subprocess.SubprocessError)
AnyNodes = TypeVar("AnyNodes", bound=Nodes)


def perform(cluster: AnyNodes, tell: Timeline, begin: Callable[[AnyNodes, Drill, Timeline], object],
            story: Callable[[AnyNodes, Drill, Timeline], list[Outage]]) -> int:
    """From switching on to the verdict: `begin` brings the site up, `story` does to it what is told; return 0 when nothing was lost.

    A story that goes wrong ends it; it says why, and the code is 1.
    """
    try:
        with Drill(cluster, JOBS_PER_SECOND, JOB_SECONDS, tell.event, tell.violation) as drill:
            begin(cluster, drill, tell)
            outages = story(cluster, drill, tell)
            tell.tell("[7] the client stops submitting; every job it got an acknowledgement for is looked up; the site is stopped", "bold")
            verdict = drill.verdict()
            report(outages, verdict, tell)
    except WRONG as error:
        if stopped(error):
            raise
        first, _, more = str(error).partition("\n")
        tell.tell("the demo FAILED: %s" % (first or type(error).__name__), "bad")
        print(more, file=sys.stderr, flush=True)
        return 1
    print("\nNothing was lost." if verdict.good else "\nTHIS IS NOT WHAT SHOULD HAPPEN: see above.", flush=True)
    return 0 if verdict.good else 1


def report(outages: list[Outage], verdict: Verdict, tell: Timeline) -> None:
    """The tables at the end."""
    print()
    tell.table([(outage.event, "%s -> %s" % (outage.before, outage.after), "%.2f s" % outage.seconds) for outage in outages],
               ("event", "site", "outage"))
    print()
    rows: list[tuple[str, object]] = []
    for account in verdict.accounts.values():
        rows += [("jobs acknowledged", len(account.acknowledged)), ("jobs done", len(account.done)),
                 ("jobs run again (ended by a stop, or with their node)", len(account.run_again)),
                 ("jobs lost", len(account.lost) + len(account.waiting)), ("jobs run twice at once", len(account.twice))]
    rows += [(kind + "s", count) for kind, count in verdict.violations.items()]
    tell.table(rows, ("at the end", "count"))
    for account in verdict.accounts.values():
        if account.lost or account.waiting or account.twice:
            print("\n" + account.words())
    problems = [text for text in (*verdict.integrity.values(), *verdict.fsck.values()) if text]
    print("\nsite DB (SQLite) and file system: %s. The observer looked %d times, %.0f ms apart at the most." % (
        "NOT CLEAN: " + "; ".join(problems) if problems else "clean", verdict.samples, verdict.longest_gap * 1000))


def stopped(error: BaseException) -> int:
    """141 when nobody reads what we print (`make demo | head -3`), 130 when it was Ctrl-C, 0 when the error is one.

    Standard output itself is asked: it may be the observer's thread that could not print.
    """
    output = select.poll()
    output.register(1, 0)
    if output.poll(0):
        return 141
    return 130 if KeyboardInterrupt in (type(error), type(error.__context__)) else 0


def run(main: Callable[[list[str]], int], arguments: list[str]) -> int:
    """main(), but quiet when it is stopped: then the end of the room takes the cluster down."""
    try:
        return main(arguments)
    except BaseException as error:
        code = stopped(error)
        if not code:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for what is not printed yet, by Python at its end or by a thread
        if code == 130:
            print("demo: interrupted", file=sys.stderr)
        return code
