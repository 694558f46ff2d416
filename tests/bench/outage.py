"""`make bench`: the outage of our group and of the standard group, alternating, on one cluster: planned move and power cut.

The standard group is what a user sets up without us: Filesystem, IPaddr2 and a start script (tests/cluster/standard-group) around the same
SIMULATOR. Each has a disk, a VIP and a site of its own. Exits 1 when a median of ours is above the standard's. ROUNDS=10.

After a power cut the cluster first has to notice and to fence: that is the same for both, and varies by more than a second. What the
groups differ in is what comes after it; the bar is on that.
"""
from __future__ import annotations

import os
import pathlib
import statistics
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from cluster import configuration
from cluster.cluster import SITE_A, SITE_B, Cluster, SiteOnCluster
from cluster.drill import Drill

ROUNDS = int(os.environ.get("ROUNDS", "10"))
OURS, THEIRS = SITE_A, SITE_B
STANDARD = """primitive jobsiteB-disk ocf:heartbeat:Filesystem params device=/dev/sdc1 directory=/share2 fstype=ext4 \\
    op start timeout=60s op stop timeout=60s op monitor interval=10s timeout=40s
primitive jobsiteB-vip ocf:heartbeat:IPaddr2 params ip=10.0.2.51 cidr_netmask=24 op monitor interval=10s timeout=20s
primitive jobsiteB-site lsb:jobcenter-site op start timeout=180s op stop timeout=180s op monitor interval=10s timeout=30s
group jobsiteB jobsiteB-disk jobsiteB-vip jobsiteB-site
"""
Samples = dict[str, dict[str, list[float]]]
MOVE, CUT, AFTER = "move", "power cut", "  after fencing"
BARS = {MOVE: 1.0, AFTER: 1.0}


def power_cut(drill: Drill, victim: SiteOnCluster, other: SiteOnCluster) -> tuple[float, float]:
    """Cut node1, with `victim` on it and `other` on node2; return the outage and what of it came after the fencing, in seconds."""
    for site, place in ((victim, "node1"), (other, "node2")):
        drill.bring(place, site)
    since = time.monotonic()
    drill.cluster.node("node1").power_cut()
    drill.wait_serving("node2", victim)
    outage = drill.client.outage(victim.name, since)
    fenced = next(t for t, name in drill.cluster.power.fenced if t >= since and name == "node1")
    back = next(t for t, node in drill.client.answers(victim.name, fenced) if node == "node2")
    drill.rejoined()
    return outage, back - fenced


def measure(drill: Drill) -> Samples:
    """The outages in seconds: what was done -> group -> values."""
    samples: Samples = {what: {"ours": [], "standard": []} for what in (MOVE, CUT, AFTER)}
    for number in range(ROUNDS + 1):
        for name, site in (("ours", OURS), ("standard", THEIRS)):
            there = "node2" if drill.where(site) == "node1" else "node1"
            seconds = drill.move(there, site).seconds
            if number:  # the first round warms the caches
                samples[MOVE][name].append(seconds)
    for _ in range(ROUNDS):
        for name, site, other in (("ours", OURS, THEIRS), ("standard", THEIRS, OURS)):
            seconds, after = power_cut(drill, site, other)
            samples[CUT][name].append(seconds)
            samples[AFTER][name].append(after)
    return samples


def report(samples: Samples) -> int:
    """Print min / median / max and the ratios; return 1 when a median of ours is above the standard group's."""
    print("outage as the client sees it, asking every 10 ms; %d alternating pairs; seconds min / median / max" % ROUNDS)
    missed = 0
    for what, groups in samples.items():
        medians = {name: statistics.median(values) for name, values in groups.items()}
        for name, values in groups.items():
            print("  %-16s %-9s %5.2f / %5.2f / %5.2f" % (what, name, min(values), medians[name], max(values)))
        ratio = medians["ours"] / medians["standard"]
        bar = BARS.get(what)
        missed |= int(bar is not None and ratio > bar)
        print("  %-16s ratio     %5.2f%s" % (what, ratio, " (bar %.2f)" % bar if bar else ""))
    return missed


def main() -> int:
    """Measure and print; return whether a bar was missed."""
    cluster = Cluster(2, sites=(OURS, THEIRS))
    cluster.up()
    cluster.load(configuration.file_for_the_lab("one-site.crm"))
    cluster.load(STANDARD)
    cluster.idle()
    with Drill(cluster) as drill:
        for site in (OURS, THEIRS):
            drill.wait_serving(site=site)
        samples = measure(drill)
        code = report(samples)
        if any(drill.observer.counts().values()):
            print("the observer saw two nodes with the same thing: %s" % drill.observer.counts())
            code = 1
    cluster.down()
    return code


if __name__ == "__main__":
    sys.exit(main())
