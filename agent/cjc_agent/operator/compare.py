"""`cjc-agent doctor --save` and `cjc-agent compare`: what differs between nodes, and what of it matters."""
from __future__ import annotations

from cjc_agent.operator.doctor import Report


def save(report: Report, path: str) -> None:
    """Write this node's facts. Raise OSError."""
    raise NotImplementedError
