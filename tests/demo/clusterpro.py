"""`make demo-clusterpro`: a cluster site under start.sh, stop.sh and genw.sh, which a SIMULATOR of CLUSTERPRO runs on two nodes, while jobs are
submitted all the time. Exits 0 only if nothing was lost. In a room of its own (tests/lab/run_in_node.py), with which all of it ends.
"""
from __future__ import annotations

import os
import pathlib
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from cluster.drill import Drill, Outage
from cluster.timeline import Timeline
from clusterpro import registration
from clusterpro.simulator import Simulator, missing_programs
from demo.story import JOBS_PER_SECOND, perform, run

FAULTS = "/usr/spool/nqs/simulator.faults"


def begin(simulator: Simulator, drill: Drill, tell: Timeline) -> None:
    """Switch the nodes on, register the site, start its group."""
    site = simulator.sites[0]
    tell.tell("[1] two nodes are switched on; a SIMULATOR stands in for CLUSTERPRO on them", "bold")
    simulator.up()
    tell.tell("    site DB made on the shared disk: SIMULATOR cjcmksite -d %s -n %s" % (site.site_db, site.name))
    tell.tell("[2] cjc-agent render clusterpro --conf %s --group %s --resource %s --output ..." % (
        registration.CONF % site.name, site.name, registration.resource_of(site)), "bold")
    commands = registration.register(simulator, site, registration.settings(site))
    tell.tell("    its %d clpcfset commands, and clpcfctrl --push: all accepted by SIMULATOR clpcfset and clpcfctrl" % len(commands))
    tell.tell("    (here the monitor looks every second and not every 30 s; disk and address are the group's own resources)", "dim")
    simulator.start_group(site.name)
    where = drill.wait_serving()
    tell.tell("    %s answers on %s; a client asks it every 10 ms and submits %d jobs a second" % (site.name, where, JOBS_PER_SECOND), "good")


def story(simulator: Simulator, drill: Drill, tell: Timeline) -> list[Outage]:
    """What is done to the cluster, in order; return the outages."""
    outages: list[Outage] = []

    def done(outage: Outage) -> None:
        outages.append(outage)
        tell.tell("    the client was without an answer for %.2f s" % outage.seconds, "good")

    tell.tell("[3] the group is moved by hand, before work on node1", "bold")
    done(drill.move("node2"))
    tell.tell("[4] a daemon of JobCenter is killed: genw.sh has to see it, and is asked once more", "bold")
    done(drill.kill_daemon())
    drill.clean_up()
    tell.tell("    ... and back to node1 by hand")
    done(drill.move("node1"))
    tell.tell("[5] node1 loses its power under load: what was not synced is lost", "bold")
    since = time.monotonic()
    done(drill.power_cut("node1"))
    off, mounted = drill.wait_event("down", since, "node1").t, drill.wait_event("mounted", since, "node2").t
    assert off < mounted, "node2 mounted the disk before node1 was off"
    drill.rejoined()
    assert drill.where() == "node2", "node1 came back and got something"
    tell.tell("    node1 was off before node2 touched the disk; it is back, and gets nothing")
    tell.tell("[6] cjcpw does not start on node1 any more, and nobody knows: the group is moved there", "bold")
    done(not_started(simulator, drill, "node1"))
    return outages


def not_started(simulator: Simulator, drill: Drill, node: str) -> Outage:
    """Move the group to a node on which cjcpw fails: start.sh must say so, and the group come back. Raise AssertionError when it does not."""
    before, since = drill.where(), time.monotonic()
    simulator.node(node).path(FAULTS).write_text("start = fail:20\n")
    simulator.move_group(drill.site.name, node)
    codes = [(run.node, run.code) for run in simulator.scripts_run("start.sh", since)]
    assert codes == [(node, 1), (before, 0)], "start.sh did not tell the truth, or was not run where it should be: %s" % codes
    drill.wait_serving(before)
    return drill.outage("move to where it fails", before, since)


def main(arguments: list[str]) -> int:
    """Tell the story; return 0 when nothing was lost."""
    if missing_programs():
        print("demo: missing on this machine: %s: install them (Debian: apt-get install ...)" % ", ".join(missing_programs()), file=sys.stderr)
        return 2
    tell = Timeline(time.monotonic(), True if os.environ.get("FORCE_COLOR") else None)
    print("cjc-agent: a cluster site fails over with CLUSTERPRO's scripts. CLUSTERPRO is a SIMULATOR (tests/clusterpro): it runs the scripts as\n"
          "public samples show it and claims no more. JobCenter is a SIMULATOR, too (tests/simulator); disks, addresses, processes and power cuts\n"
          "are real, on two nodes in namespaces of their own. Nothing of it is left on this machine.\n", flush=True)
    simulator = Simulator(tell=lambda node, words: tell.tell("SIMULATOR: " + words, "dim", node))
    code = perform(simulator, tell, begin, story)
    simulator.down()
    return code


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(run(main, sys.argv[1:]))
