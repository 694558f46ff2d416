"""What operators do to a running site: probes, cleanup, maintenance, patches, new parameters. Nothing moves or stops that need not."""
from __future__ import annotations

import json
import os
import signal
import time
import xml.etree.ElementTree as ElementTree
from typing import Callable

from cluster.cluster import SiteOnCluster
from cluster.drill import Drill, daemons
from cluster.node import Node
from cluster.untouched import Untouched, events

MONITOR_SECONDS = 2.0  # as for_the_lab sets it
THRESHOLD = 3  # failures that move the site, as docs/pacemaker sets it; also the number of its monitors
PENDING = "-1"  # op-status in the CIB
LOG = "/var/log/pacemaker/pacemaker.log"
RECORD = "/run/resource-agents/cjc-%s.json"


# -- looking ------------------------------------------------------------------------------------------------------------------------

def record(drill: Drill, node: Node) -> dict[str, str]:
    """The settings in the agent's record on a node."""
    settings: dict[str, str] = json.loads(node.path(RECORD % drill.site.name).read_text())["settings"]
    return settings


def newest(drill: Drill, resource: str, node: str, operation: str) -> tuple[int, int]:
    """(call number, exit code) of the newest such operation of a resource that has ended on a node; -1, -1 when the cluster knows of none."""
    tree = ElementTree.fromstring(drill.cluster.any_node().run("cibadmin", "--query").stdout)
    rows = tree.findall("./status/node_state[@uname='%s']//lrm_resource[@id='%s']/lrm_rsc_op[@operation='%s']" % (node, resource, operation))
    ended = [row for row in rows if row.get("op-status") != PENDING]
    return max(((int(row.get("call-id", -1)), int(row.get("rc-code", -1))) for row in ended), default=(-1, -1))


def reloads(drill: Drill, node: Node) -> int:
    """How many calls of reload-agent have ended on a node, by pacemaker's log."""
    return node.path(LOG).read_text().count("Result of reload-agent operation for %s" % resource(drill.site))


def pieces(drill: Drill) -> list[str]:
    """The nodes that have the disk mounted or daemons of the site."""
    return [name for name, state in drill.observer.state().items() if state.disks or state.sites]


def failures(drill: Drill, node: str) -> int:
    """How often the site's resource has failed on a node, as `crm resource failcount` counts."""
    said = drill.cluster.crm("resource", "failcount", resource(drill.site), "show", node)
    return int(said.rpartition("value=")[2])


def resource(site: SiteOnCluster) -> str:
    """The name of the agent's resource, as docs/pacemaker names it."""
    return site.name + "-site"


def hold(seconds: float, condition: Callable[[], bool], what: str) -> None:
    """Watch for that long that a condition holds: what the cluster must not do cannot be waited for."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert condition(), what
        time.sleep(0.05)


# -- doing --------------------------------------------------------------------------------------------------------------------------

def by_hand(drill: Drill, node: Node, *verbs: str) -> None:
    """JobCenter's own command, as the operator types it on the node."""
    for verb in verbs:
        node.sh("NQS_SITE=%s /usr/lib/nqs/cjcpw %s" % (drill.site.name, verb))


def kill_by_hand(drill: Drill, node: Node, role: str) -> float:
    """SIGKILL one daemon; return the time."""
    since = time.monotonic()
    for pid in daemons(node, drill.site)[role]:
        os.kill(pid, signal.SIGKILL)
    drill.wait_event("site incomplete", since, node.name)
    return since


def set_parameter(drill: Drill, name: str, value: str) -> None:
    """Change a parameter of the running resource, as the operator does."""
    drill.cluster.any_node().run("crm_resource", "--resource", resource(drill.site), "--set-parameter", name, "--parameter-value", value)


# -- the tests ----------------------------------------------------------------------------------------------------------------------

def test_a_probe_on_a_standby_node_without_the_disk_says_not_running(drill: Drill) -> None:
    with Untouched(drill) as untouched:
        standby, = drill.cluster.others(untouched.node.name)
        disk = standby.path("/dev/" + drill.site.disk)
        number = disk.stat().st_rdev
        call = newest(drill, resource(drill.site), standby.name, "monitor")[0]
        disk.unlink()
        try:
            drill.cluster.any_node().run("crm_resource", "--refresh", "--resource", resource(drill.site))
            drill.cluster.wait(lambda: newest(drill, resource(drill.site), standby.name, "monitor")[0] > call, "%s was probed anew" % standby.name)
            drill.cluster.idle()
            assert newest(drill, resource(drill.site), standby.name, "monitor")[1] == 7
            assert not drill.cluster.status().failed
        finally:
            os.mknod(disk, 0o60660, number)
    assert not drill.cluster.power.fenced_since(drill.client.began)


def test_the_cluster_software_of_the_standby_node_is_restarted_and_the_site_does_not_notice(drill: Drill) -> None:
    with Untouched(drill) as untouched:
        standby, = drill.cluster.others(untouched.node.name)
        for program in ("pacemakerd", "corosync"):
            pids = standby.pids(program)
            assert pids
            for pid in pids:
                os.kill(pid, signal.SIGTERM)
            drill.cluster.wait(lambda program=program: not standby.pids(program), "%s has ended on %s" % (program, standby.name))  # type: ignore[misc]
        drill.cluster.wait(lambda: drill.cluster.status(untouched.node).online == {untouched.node.name}, "%s has left" % standby.name)
        standby.sh("ip address flush dev eth0 && exec setsid -f /bin/sh /etc/lab-boot >/var/log/boot.log 2>&1 </dev/null")
        drill.rejoined()
    assert not drill.cluster.power.fenced_since(drill.client.began)


def test_cleanup_after_a_recovery_clears_the_failure_and_touches_nothing(drill: Drill) -> None:
    node = drill.where()
    assert failures(drill, node) == 0
    drill.kill_daemon()
    drill.cluster.idle()
    assert failures(drill, node) >= 1  # two monitors may have seen it
    with Untouched(drill):
        drill.cluster.crm("resource", "cleanup", resource(drill.site))
        drill.cluster.wait(lambda: failures(drill, node) == 0, "the failure is forgotten")
        drill.cluster.idle()


def test_in_maintenance_mode_the_operator_alone_acts_and_the_cluster_adopts_what_he_started(drill: Drill) -> None:
    node = drill.cluster.node(drill.where())
    drill.cluster.crm("configure", "property", "maintenance-mode=true")
    drill.cluster.idle()
    since = kill_by_hand(drill, node, "sched")
    hold(3 * MONITOR_SECONDS, lambda: not daemons(node, drill.site)["sched"], "nobody has started the daemon")
    assert events(drill, since, drill.site, "site started", "site gone", "unmounted", "vip gone") == []
    by_hand(drill, node, "stop", "start")
    with Untouched(drill):
        call = newest(drill, resource(drill.site), node.name, "monitor")[0]
        drill.cluster.crm("configure", "property", "maintenance-mode=false")
        drill.cluster.wait(lambda: newest(drill, resource(drill.site), node.name, "monitor")[0] > call, "the cluster looks again")
        drill.cluster.idle()
        assert newest(drill, resource(drill.site), node.name, "monitor")[1] == 0
        assert not drill.cluster.status().failed


def test_an_unmanaged_site_is_patched_by_hand_and_managed_again(drill: Drill) -> None:
    node = drill.cluster.node(drill.where())
    other, = drill.cluster.others(node.name)
    drill.cluster.crm("resource", "unmanage", drill.site.name)
    drill.cluster.idle()
    by_hand(drill, node, "stop")
    drill.cluster.wait(lambda: failures(drill, node.name) >= THRESHOLD, "all monitors have seen it", every=0.5)
    assert not any(daemons(node, drill.site).values()), "the cluster has started something"
    node.path("/usr/lib/nqs/patched").touch()
    by_hand(drill, node, "start")
    with Untouched(drill):
        drill.cluster.crm("resource", "cleanup", drill.site.name)  # else the failures of meanwhile move the site once it is managed
        drill.cluster.idle()
        drill.cluster.crm("resource", "manage", drill.site.name)
        drill.cluster.idle()
    outage = drill.kill_daemon()
    assert (outage.before, outage.after) == (node.name, node.name)
    assert drill.move(other.name).after == other.name


def test_a_reloadable_parameter_is_taken_over_without_a_restart(drill: Drill) -> None:
    node = drill.cluster.node(drill.where())
    assert record(drill, node)["vip_wait"] == "10s"
    with Untouched(drill):
        count = reloads(drill, node)
        set_parameter(drill, "vip_wait", "12s")
        drill.cluster.wait(lambda: reloads(drill, node) > count, "reload-agent was called")
        drill.cluster.idle()
        assert record(drill, node)["vip_wait"] == "12s"
        assert reloads(drill, node) == count + 1
        assert not drill.cluster.status().failed


def test_a_parameter_that_is_not_reloadable_restarts_the_site_where_it_is(drill: Drill) -> None:
    node = drill.cluster.node(drill.where())
    mounts = "grep ' %s ' /proc/mounts" % drill.site.directory
    assert "noatime" not in node.sh(mounts)
    before, since = daemons(node, drill.site), time.monotonic()
    set_parameter(drill, "options", "noatime")
    drill.wait_new_daemons(node.name, before)
    drill.cluster.idle()
    assert "noatime" in node.sh(mounts)
    assert events(drill, since, drill.site, "vip gone") == []
    assert not drill.cluster.status().failed


def test_a_bad_value_does_no_harm_that_the_good_value_does_not_mend(drill: Drill) -> None:
    node = drill.cluster.node(drill.where())
    count = reloads(drill, node)
    set_parameter(drill, "vip", "not-an-address")
    drill.cluster.wait(lambda: reloads(drill, node) > count, "reload-agent was called")
    drill.cluster.idle()
    drill.cluster.wait(lambda: drill.where() or not pieces(drill), "the site is whole or gone")
    set_parameter(drill, "vip", drill.site.vip)
    drill.cluster.crm("resource", "cleanup", drill.site.name)
    drill.wait_serving()
    drill.cluster.idle()
    assert not drill.cluster.status().failed
    assert not drill.cluster.power.fenced_since(drill.client.began)
