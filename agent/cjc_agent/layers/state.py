"""What a layer answers: RUNNING, STOPPED or FAILED, and one line of reason."""
from __future__ import annotations

RUNNING, STOPPED, FAILED = "running", "stopped", "failed"


class State:
    """`status` is RUNNING, STOPPED or FAILED; `reason` names the object and, when something is wrong, what to do."""

    __slots__ = ("status", "reason")

    def __init__(self, status: str, reason: str = "") -> None:
        self.status, self.reason = status, reason

    @property
    def running(self) -> bool:
        """Whether all of the layer is up."""
        return self.status == RUNNING

    @property
    def stopped(self) -> bool:
        """Whether nothing of the layer is left: seen, not assumed."""
        return self.status == STOPPED


class LayerError(Exception):
    """A layer could not be brought up or taken down; the text names the object and what to do."""
