"""What a drill does and looks at when a node is lost and has to be fenced."""
from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from cluster import configuration
from cluster.drill import Drill
from cluster.node import Node

ONE_SITE = configuration.file_for_the_lab("one-site.crm", quick=True)
MOST_ATTEMPTS = 10  # Pacemaker's default of stonith-max-attempts


def at_node1(drill: Drill) -> tuple[Node, Node]:
    """Have the site on node1; return the two nodes."""
    drill.bring("node1")
    return drill.cluster.node("node1"), drill.cluster.node("node2")


def load(drill: Drill, *changes: tuple[str, str]) -> None:
    """Load the configuration once more with these texts replaced."""
    text = ONE_SITE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    drill.cluster.load(text)
    drill.cluster.idle()


def started(drill: Drill, node: Node, since: float) -> list[str]:
    """What of the site has come up on that node since then, and what is there now."""
    seen = [event.kind for event in list(drill.observer.events)
            if event.node == node.name and event.t >= since and event.kind in ("mounted", "vip here", "site started")]
    state = drill.observer.state()[node.name]
    return seen + sorted(state.disks) + sorted(state.vips) + sorted(state.sites)


def failed_fencings(asked: Node, target: str) -> list[str]:
    """For each time that `target` could not be fenced what crm_mon says of it on the node asked, the newest first."""
    history = asked.run("crm_mon", "-1", "--fence-history=3", "--output-as=xml").stdout
    return ["%s of %s failed: %s" % (event.get("action"), target, event.get("exit-reason") or "no reason is given")
            for event in ElementTree.fromstring(history).iter("fence_event") if event.get("target") == target and event.get("status") == "failed"]


def words_of_fence_agent(asked: Node) -> str:
    """What the fence agent said last on the node asked, by pacemaker's log: crm_mon does not show it (2.1.5)."""
    return asked.sh(r"sed -n 's/.*fence_lab\[[0-9]*\] stderr: \[ \(.*\) \]$/\1/p' /var/log/pacemaker/pacemaker.log | tail -n 1", check=False).strip()


def failed_action(asked: Node, operation: str) -> str:
    """The exit reason of a failed operation ("jobsiteA-site_start_0") as the operator reads it in crm_mon, "" when there is none."""
    told = ElementTree.fromstring(asked.run("crm_mon", "-1", "--output-as=xml").stdout)
    return next((failure.get("exitreason", "") for failure in told.iter("failure") if failure.get("op_key") == operation), "")
