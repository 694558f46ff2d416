"""`make demo`: a cluster site fails over on a real Pacemaker cluster, while jobs are submitted all the time. Exits 0 only if nothing was lost.

    failover.py [--keep DESCRIPTOR]      (in a room of its own: tests/lab/run_in_node.py)

With --keep the cluster stays, above all when the story went wrong. Without, it ends with this process at the latest: so does its room.
"""
from __future__ import annotations

import os
import pathlib
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from cluster import configuration
from cluster.cluster import Cluster, missing_programs
from cluster.drill import Drill, Outage
from cluster.room import stay
from cluster.timeline import Timeline
from demo.story import JOBS_PER_SECOND, WRONG, perform, run

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
    code = perform(cluster, tell, begin, story)
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


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(run(main, sys.argv[1:]))
