"""Three nodes: the majority decides, wherever the site is; a node that is left alone starts nothing and keeps nothing."""
from __future__ import annotations

import time

import pytest

from cluster.cluster import Cluster
from cluster.drill import Drill
from cluster.node import Node

CLUSTER = {"count": 3}


def at(drill: Drill, node: str) -> None:
    """Have the site on that node."""
    if drill.where() != node:
        drill.move(node)


def started(drill: Drill, nodes: list[Node], since: float) -> set[str]:
    """On which of the nodes anything of the site has come up since then."""
    return {event.node for event in list(drill.observer.events)
            if event.t >= since and event.kind in ("mounted", "vip here", "site started")} & {node.name for node in nodes}


def has_given_up_without_quorum(cluster: Cluster, node: Node) -> bool:
    """Whether the node, left alone, has done all that it will do: its DC is idle, knows the loss, and has no quorum to act on it."""
    alone = cluster.status(node).online == {node.name}
    quorum = "Quorate:          Yes" in node.sh("corosync-quorumtool -s", check=False)
    return alone and not quorum and "S_IDLE" in node.run("crmadmin", "-S", node.name, check=False).stdout


@pytest.mark.parametrize("node", ["node1", "node2"])
def test_cable_cut_of_the_sites_node_is_decided_by_the_majority(drill: Drill, node: str) -> None:
    at(drill, node)
    since = time.monotonic()
    outage = drill.cut_cable()
    assert outage.before == node != outage.after
    drill.rejoined()
    assert drill.cluster.power.fenced_since(since) == [node]
    assert drill.where() == outage.after


def test_power_cut_of_the_sites_node_brings_it_up_on_exactly_one_of_the_others(drill: Drill) -> None:
    at(drill, "node1")
    since = time.monotonic()
    after = drill.power_cut().after
    drill.rejoined()
    assert started(drill, drill.cluster.nodes, since) == {after} != {"node1"}
    assert drill.cluster.power.fenced_since(since) == ["node1"]
