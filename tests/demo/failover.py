"""`make demo`: a cluster site fails over on a real Pacemaker cluster, while jobs are submitted all the time. Exits 0 only if nothing was lost.

    failover.py [--keep DESCRIPTOR]      (in a room of its own: tests/lab/run_in_node.py)

With --keep the cluster stays, above all when the story went wrong. Without, it ends with this process at the latest: so does its room.
"""
from __future__ import annotations

import os
import pathlib
import select
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from cluster import configuration
from cluster.client import ClientError
from cluster.cluster import Cluster, WaitedInVain, missing_programs
from cluster.drill import Drill, Outage, Verdict
from cluster.node import CommandFailed, NotOff
from cluster.room import stay
from cluster.timeline import Timeline

JOBS_PER_SECOND, JOB_SECONDS = 10, 0.3
WRONG = (WaitedInVain, AssertionError, CommandFailed, NotOff, ClientError, RuntimeError, OSError, subprocess.SubprocessError)
LEFT = "Nothing of it is left on this machine.", "It stays when the story has ended: make cluster-down."


def begin(cluster: Cluster, drill: Drill, tell: Timeline) -> None:
    """Bring the cluster up and the site into it."""
    site = cluster.sites[0]
    tell.tell("[1] two nodes are switched on: corosync, Pacemaker, one fence device each", "bold")
    cluster.up()
    tell.tell("    both are online; site DB made on the shared disk: SIMULATOR cjcmksite -d %s -n %s" % (site.site_db, site.name))
    tell.tell("[2] crm configure load update docs/pacemaker/one-site.crm: the VIP, then the site with its disk", "bold")
    cluster.load(configuration.file_for_the_lab("one-site.crm", quick=True))
    where = drill.wait_serving()
    cluster.idle()
    tell.tell("    %s answers on %s; a client asks it every 10 ms and submits %d jobs a second" % (site.name, where, JOBS_PER_SECOND), "good")


def story(cluster: Cluster, drill: Drill, tell: Timeline) -> list[Outage]:
    """What is done to the cluster, in order; return the outages."""
    outages: list[Outage] = []

    def done(outage: Outage, drill_on: str = "") -> None:
        outages.append(outage)
        tell.tell("    the client was without an answer for %.2f s%s" % (outage.seconds, drill_on), "good")

    tell.tell("[3] moved by hand, before work on node1: crm resource move %s node2" % drill.site.name, "bold")
    done(drill.move("node2"))
    tell.tell("[4] a daemon of JobCenter is killed: the monitor has to see it (every 2 s here, 10 s in the file)", "bold")
    done(drill.kill_daemon())
    drill.clean_up()
    tell.tell("    ... and back to node1 by hand")
    done(drill.move("node1"))
    tell.tell("[5] node1 loses its power under load: what was not synced is lost", "bold")
    since = time.monotonic()
    done(drill.power_cut("node1"), fenced_first(drill, since))
    drill.rejoined()
    tell.tell("    node1 is back, and gets nothing. Back to it by hand")
    done(drill.move("node1"))
    tell.tell("[6] node1's cable is cut: it lives on and does not know; node2 must not trust that it is dead", "bold")
    since = time.monotonic()
    done(drill.cut_cable("node1"), fenced_first(drill, since))
    drill.rejoined()
    return outages


def fenced_first(drill: Drill, since: float) -> str:
    """Words for: node1 was seen to be off, at the cluster's request, before node2 mounted its disk. Raise AssertionError when it was not so."""
    mounted = drill.wait_event("mounted", since, "node2", drill.site.disk).t
    fenced = [moment for moment, name in drill.cluster.power.fenced if name == "node1" and since <= moment < mounted]
    assert fenced, "node2 mounted the disk before it had node1 fenced"
    return "; node2 had node1 fenced %.2f s before it touched the disk" % (mounted - fenced[0])


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


def perform(cluster: Cluster, tell: Timeline) -> int:
    """From switching on to the verdict; return 0 when nothing was lost."""
    with Drill(cluster, JOBS_PER_SECOND, JOB_SECONDS, tell.event, tell.violation) as drill:
        begin(cluster, drill, tell)
        outages = story(cluster, drill, tell)
        tell.tell("[7] the client stops submitting; every job it got an acknowledgement for is looked up; the site is stopped", "bold")
        verdict = drill.verdict()
        report(outages, verdict, tell)
    print("\nNothing was lost." if verdict.good else "\nTHIS IS NOT WHAT SHOULD HAPPEN: see above.", flush=True)
    return 0 if verdict.good else 1


def main(arguments: list[str]) -> int:
    """Tell the story; return 0 when nothing was lost."""
    if missing_programs():
        print("demo: missing on this machine: %s: install them (Debian: apt-get install ...)" % ", ".join(missing_programs()), file=sys.stderr)
        return 2
    keep = arguments[:1] == ["--keep"]
    tell = Timeline(time.monotonic(), True if os.environ.get("FORCE_COLOR") else None)
    print("cjc-agent: a cluster site fails over. JobCenter is a SIMULATOR (tests/simulator); Pacemaker, corosync, crmsh, fencing, disks, addresses\n"
          "and processes are real, on two nodes in namespaces of their own. %s\n" % LEFT[keep], flush=True)
    cluster = Cluster(2)
    try:
        code = perform(cluster, tell)
    except WRONG as error:
        if stopped(error):
            raise
        first, _, more = str(error).partition("\n")
        tell.tell("the demo FAILED: %s" % (first or type(error).__name__), "bad")
        print(more, file=sys.stderr, flush=True)
        code = 1
    if keep:
        start_again(cluster)
        stay(int(arguments[1]), code)
    cluster.down()
    return code


def start_again(cluster: Cluster) -> None:
    """Start the site, which the verdict stopped, if that can be done."""
    try:
        cluster.start(cluster.sites[0])
        cluster.idle()
    except WRONG as error:
        print("the site was not started again: %s" % error, file=sys.stderr, flush=True)


def stopped(error: BaseException) -> int:
    """141 when nobody reads what we print (`make demo | head -3`), 130 when it was Ctrl-C, 0 when the error is one.

    Standard output itself is asked: it may be the observer's thread that could not print.
    """
    output = select.poll()
    output.register(1, 0)
    if output.poll(0):
        return 141
    return 130 if KeyboardInterrupt in (type(error), type(error.__context__)) else 0


def run(arguments: list[str]) -> int:
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


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(run(sys.argv[1:]))
