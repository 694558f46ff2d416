"""`make long`: a night in short. 10 moves and 10 power cuts in turn, from one node to the other, under a steady stream of jobs; then the accounts.

Exits 0 only if no acknowledged job was lost, nothing ran or was mounted twice at once, and database and file system are clean. FAILOVERS=20.
A run that breaks off says what it saw until then.
"""
from __future__ import annotations

import os
import pathlib
import statistics
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from cluster import configuration
from cluster.cluster import Cluster
from cluster.drill import Drill, Outage
from cluster.timeline import Timeline

FAILOVERS = os.environ.get("FAILOVERS", "20")
JOBS_PER_SECOND = 10


def failovers(drill: Drill, tell: Timeline, outages: list[Outage]) -> None:
    """Moves and power cuts in turn. After each pair the site is moved once more, uncounted, so that the nodes take turns at losing their power.

    The outages are added to `outages` as they come.
    """
    for number in range(int(FAILOVERS)):
        before = drill.where()
        other = drill.cluster.others(before)[0].name
        outage = drill.move(other) if number % 2 == 0 else drill.power_cut()
        drill.rejoined()
        outages.append(outage)
        tell.tell("%2d  %-9s  %s -> %s  %.2f s" % (number + 1, outage.event, outage.before, outage.after, outage.seconds))
        if number % 2:
            drill.move(outage.before)


def report(outages: list[Outage]) -> None:
    """A line for each kind of event."""
    for event in ("move", "power cut"):
        seconds = [outage.seconds for outage in outages if outage.event == event]
        lost = ["%s %d times" % (node, sum((outage.event, outage.before) == (event, node) for outage in outages)) for node in ("node1", "node2")]
        if seconds:
            print("%-9s  %2d times, outage %.2f / %.2f / %.2f s (min / median / max); nodes that lost the site: %s" % (
                event, len(seconds), min(seconds), statistics.median(seconds), max(seconds), ", ".join(lost)))


def main() -> int:
    """Run and print; return whether anything was wrong, 2 for wrong use."""
    if not FAILOVERS.isdecimal() or int(FAILOVERS) == 0:
        print("long: FAILOVERS is a number from 1 on, not '%s'" % FAILOVERS, file=sys.stderr)
        return 2
    tell = Timeline(time.monotonic())
    cluster = Cluster(2)
    cluster.up()
    cluster.load(configuration.file_for_the_lab("one-site.crm", quick=True))
    outages: list[Outage] = []
    verdict = None
    drill = Drill(cluster, JOBS_PER_SECOND, on_violation=tell.violation)
    try:
        with drill:
            drill.wait_serving()
            drill.rejoined()
            failovers(drill, tell, outages)
            verdict = drill.verdict()
    finally:
        report(outages)
        print(verdict.words() if verdict else "BROKEN OFF after %d of %s, before the jobs were counted; seen until then: %s" % (
            len(outages), FAILOVERS, ", ".join("%d %ss" % (count, kind) for kind, count in drill.observer.counts().items())), flush=True)
    cluster.down()
    return 0 if verdict.good else 1


if __name__ == "__main__":
    sys.exit(main())
