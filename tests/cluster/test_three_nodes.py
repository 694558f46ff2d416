"""Three nodes: the majority decides, wherever the site is; a node that is left alone starts nothing and keeps nothing."""
from __future__ import annotations

import time

import pytest

from cluster.cluster import Cluster
from cluster.drill import Drill
from cluster.node import Node

CLUSTER = {"count": 3}


def started(drill: Drill, nodes: list[Node], since: float) -> set[str]:
    """On which of the nodes anything of the site has come up since then."""
    return {event.node for event in list(drill.observer.events)
            if event.t >= since and event.kind in ("mounted", "vip here", "site started")} & {node.name for node in nodes}


def is_left_alone(cluster: Cluster, node: Node) -> bool:
    """Whether the node knows that it is alone, has no quorum, and has done all that it does about it."""
    told = node.run("crm_mon", "-1", "--output-as=xml", check=False).stdout
    idle = "S_IDLE" in node.run("crmadmin", "-S", node.name, check=False).stdout
    return idle and 'with_quorum="false"' in told and cluster.status(node).online == {node.name}


@pytest.mark.parametrize("node", ["node1", "node2"])
def test_cable_cut_of_the_sites_node_is_decided_by_the_majority(drill: Drill, node: str) -> None:
    drill.bring(node)
    since = time.monotonic()
    outage = drill.cut_cable()
    assert outage.before == node != outage.after
    drill.rejoined()
    assert drill.cluster.power.fenced_since(since) == [node]
    assert drill.where() == outage.after


def test_power_cut_of_the_sites_node_brings_it_up_on_exactly_one_of_the_others(drill: Drill) -> None:
    drill.bring("node1")
    since = time.monotonic()
    after = drill.power_cut().after
    drill.rejoined()
    assert started(drill, drill.cluster.nodes, since) == {after} != {"node1"}
    assert drill.cluster.power.fenced_since(since) == ["node1"]


def test_two_lost_nodes_leave_a_third_that_starts_nothing_until_one_is_back(drill: Drill) -> None:
    drill.bring("node1")
    power, (node1, node2, node3) = drill.cluster.power, drill.cluster.nodes
    since = time.monotonic()
    power.stay_off = {"node1"}
    node1.power_cut()
    node2.power_cut()
    drill.cluster.wait(lambda: started(drill, [node3], since) or is_left_alone(drill.cluster, node3), "node3 knows that it is alone")
    assert not started(drill, [node3], since) and not power.fenced_since(since), "one of three decides nothing"
    assert drill.cluster.status(node3).unclean == {"node1", "node2"}
    back = time.monotonic()
    node2.power_on()
    after = drill.wait_serving()
    assert power.fenced_since(since) == ["node1"], "who is back needs no fencing, who is not does: and stays off"
    assert started(drill, drill.cluster.nodes, since) == {after}
    assert drill.wait_event("mounted", since).t > power.fenced[-1][0] > back


def test_node_that_is_left_alone_with_the_site_stops_it(drill: Drill) -> None:
    drill.bring("node3")
    node1, node2, node3 = drill.cluster.nodes
    since = time.monotonic()
    node1.power_cut()
    node2.power_cut()
    drill.wait_event("vip gone", since, "node3")
    drill.cluster.wait(lambda: is_left_alone(drill.cluster, node3), "node3 has done all that it will do")
    state = drill.observer.state()["node3"]
    assert state.boot and not state.disks and not state.vips and not state.sites, "stopped in good order: nobody was left to fence node3"
    assert not drill.cluster.power.fenced_since(since)
    node1.power_on()
    drill.wait_serving()
