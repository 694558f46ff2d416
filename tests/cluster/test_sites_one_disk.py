"""Two sites on one disk, which the cluster mounts: always on the same node, and apart from that each for itself."""
from __future__ import annotations

from cluster.cluster import SiteOnCluster
from cluster.drill import Drill, daemons
from cluster.untouched import Untouched

FIRST = SiteOnCluster("jobsiteA", "10.0.2.50", "sdb1", "/share", "siteA")
SECOND = SiteOnCluster("jobsiteB", "10.0.2.51", "sdb1", "/share", "siteB")
DISK_RESOURCE = "jobs-disk"  # as docs/pacemaker names it
CLUSTER = {"files": ["two-sites-one-disk.crm"], "sites": (FIRST, SECOND)}


def together(drill: Drill, node: str = "") -> str:
    """Wait until both sites answer (on that node), which took no start elsewhere that failed; return where."""
    first, second = (drill.wait_serving(node, site) for site in (FIRST, SECOND))
    assert first == second
    assert "Failed Resource Actions" not in drill.cluster.any_node().run("crm_mon", "-1").stdout
    return first


def test_both_start_where_the_disk_is(drill: Drill) -> None:
    together(drill)
    drill.cluster.crm("resource", "stop", DISK_RESOURCE)
    drill.cluster.wait(lambda: not any(node.mounted() for node in drill.cluster.nodes), "the disk is unmounted")
    drill.cluster.idle()
    assert not any(pids for node in drill.cluster.nodes for site in (FIRST, SECOND) for pids in daemons(node, site).values())
    drill.cluster.crm("resource", "start", DISK_RESOURCE)
    where = together(drill)
    assert drill.cluster.status().where[DISK_RESOURCE] == [where]


def test_one_is_stopped_and_started_and_the_other_does_not_notice(drill: Drill) -> None:
    where = together(drill)
    for stopped, other in ((FIRST, SECOND), (SECOND, FIRST)):
        with Untouched(drill, other):
            drill.cluster.crm("resource", "stop", stopped.name)
            drill.cluster.wait(lambda stopped=stopped: not drill.where(stopped), "%s is stopped" % stopped.name)  # type: ignore[misc]
            drill.cluster.idle()
            assert not any(daemons(drill.cluster.node(where), stopped).values())
            drill.cluster.crm("resource", "start", stopped.name)
            drill.wait_serving(where, stopped)
            drill.cluster.idle()


def test_a_killed_daemon_of_one_does_not_hurt_the_other(drill: Drill) -> None:
    where = together(drill)
    with Untouched(drill, SECOND):
        assert drill.kill_daemon().after == where
        drill.cluster.idle()


def test_power_cut_takes_the_disk_and_both_sites_to_the_other_node(drill: Drill) -> None:
    there = drill.cluster.others(together(drill))[0].name
    assert drill.power_cut().after == there
    assert together(drill, there) == there
    drill.rejoined()
    assert together(drill) == there


def test_one_is_moved_by_hand_and_takes_the_disk_and_the_other_along(drill: Drill) -> None:
    there = drill.cluster.others(together(drill))[0].name
    assert drill.move(there).after == there
    assert together(drill) == there
