"""One deadline per action; every wait takes its share of what is left of it."""
from __future__ import annotations

from time import monotonic, sleep

TYPE_CHECKING = False  # `typing` costs the monitor 4 ms; type checkers know this name
if TYPE_CHECKING:
    from collections.abc import Iterator


class Deadline:
    """A point in time (monotonic clock) that must not be passed."""

    __slots__ = ("_begin", "_end")

    def __init__(self, seconds: float) -> None:
        self._begin = monotonic()
        self._end = self._begin + max(0.0, seconds)

    def left(self) -> float:
        """Seconds left, never below 0."""
        return max(0.0, self._end - monotonic())

    def total(self) -> float:
        """Seconds between its making and its end."""
        return self._end - self._begin

    def expired(self) -> bool:
        """Whether nothing is left."""
        return monotonic() >= self._end

    def part(self, seconds: float) -> Deadline:
        """A deadline `seconds` from now, but never later than this one."""
        return Deadline(min(seconds, self.left()))

    def share(self, fraction: float) -> Deadline:
        """A deadline after `fraction` of what is left now."""
        return Deadline(self.left() * fraction)

    def polls(self, first: float = 0.01, longest: float = 0.25) -> Iterator[None]:
        """Yield at least once, then again and again with growing pauses (seconds), until the deadline has passed."""
        pause = first
        while True:
            yield
            left = self.left()
            if left <= 0:
                return
            sleep(min(pause, left))
            pause = min(pause * 1.5, longest)


def budget(timeout: float) -> float:
    """Given the cluster's timeout for an action (seconds), return what the action may use.

    The rest is for saying so before the cluster kills us: 5 %, at least 1 s, at most 5 s; half of a timeout below 2 s.
    """
    margin = min(5.0, max(1.0, timeout * 0.05))
    return max(timeout - margin, timeout / 2)
