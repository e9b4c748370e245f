"""Virtual time: it stands still while anything is computed, and jumps from event to event."""

import math
from collections.abc import Callable

from leptonic.errors import RunError

__all__ = ["NextEvent", "VirtualClock"]

NextEvent = Callable[[float], float]
"""The moment of the first event after a given one, infinity if there is none."""


class VirtualClock:
    """Counts virtual seconds since the run began. start: where a resumed run continues."""

    def __init__(self, start: float = 0.0) -> None:
        self._now = start
        self._events: list[NextEvent] = []

    def follow(self, next_event: NextEvent) -> None:
        """Let pauses end at these events."""
        self._events.append(next_event)

    def now(self) -> float:
        """Virtual seconds since the run began."""
        return self._now

    def pause(self, seconds: float, *, until: float) -> None:
        """Go on to the next event, or to ``until``, whichever comes first: polling in between would find nothing.

        Raises RunError if neither ever comes.
        """
        then = min([until, *(event(self._now) for event in self._events)])
        if math.isinf(then):
            raise RunError("nothing will ever happen in this scenario: every round needs a finite deadline")
        self._now = max(self._now, then)

    def virtual_seconds(self) -> float:
        """The same, for the run's record."""
        return self._now
