"""`make demo`: a cluster site fails over on a real Pacemaker cluster, while jobs are submitted all the time. Exits 0 only if nothing was lost.

    failover.py [--keep DESCRIPTOR]      (in a room of its own: tests/lab/run_in_node.py)
"""
from __future__ import annotations

import os
import pathlib
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
WRONG = (WaitedInVain, AssertionError, CommandFailed, NotOff, ClientError, RuntimeError, subprocess.SubprocessError)


def begin(cluster: Cluster, drill: Drill, tell: Timeline) -> None:
    """Bring the cluster up and the site into it."""
    site = cluster.sites[0]
    tell.tell("[1] two nodes are switched on: corosync, Pacemaker, one fence device each", "bold")
    cluster.up()
    tell.tell("    both are online; site DB made on the shared disk: SIMULATOR cjcmksite -d %s -n %s" % (site.site_db, site.name))
    tell.tell("[2] crm configure load update docs/pacemaker/one-site.crm: the VIP, then the site with its disk", "bold")
    cluster.load(configuration.for_the_lab((configuration.FOLDER / "one-site.crm").read_text(), quick=True))
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
    done(drill.power_cut("node1"), "; node2 had node1 fenced before it touched the disk")
    drill.rejoined()
    tell.tell("    node1 is back, and gets nothing. Back to it by hand")
    done(drill.move("node1"))
    tell.tell("[6] node1's cable is cut: it lives on and does not know; node2 must not trust that it is dead", "bold")
    done(drill.cut_cable("node1"), "; node1 was fenced")
    drill.rejoined()
    return outages


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


def main(arguments: list[str]) -> int:
    """Tell the story; return 0 when nothing was lost."""
    if missing_programs():
        print("demo: missing on this machine: %s: install them (Debian: apt-get install ...)" % ", ".join(missing_programs()), file=sys.stderr)
        return 2
    began = time.monotonic()
    tell = Timeline(began, True if os.environ.get("FORCE_COLOR") else None)
    print("cjc-agent: a cluster site fails over. JobCenter is a SIMULATOR (tests/simulator); Pacemaker, corosync, crmsh, fencing, disks, addresses\n"
          "and processes are real, on two nodes in namespaces of their own. Nothing of it is left on this machine.\n", flush=True)
    cluster = Cluster(2)
    code = 1
    try:
        with Drill(cluster, JOBS_PER_SECOND, JOB_SECONDS, tell.event, tell.violation) as drill:
            begin(cluster, drill, tell)
            outages = story(cluster, drill, tell)
            tell.tell("[7] the client stops submitting; every job it got an acknowledgement for is looked up; the site is stopped", "bold")
            verdict = drill.verdict()
            report(outages, verdict, tell)
            code = 0 if verdict.good else 1
            print("\nNothing was lost." if verdict.good else "\nTHIS IS NOT WHAT SHOULD HAPPEN: see above.", flush=True)
    except WRONG as error:
        tell.tell("the demo FAILED: %s" % (str(error).split("\n")[0] or type(error).__name__), "bad")
        print(error, file=sys.stderr, flush=True)
    if arguments[:1] == ["--keep"]:
        cluster.crm("resource", "start", drill.site.name)
        stay(int(arguments[1]), code)
    cluster.down()
    return code


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main(sys.argv[1:]))
