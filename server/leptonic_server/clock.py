"""The time that a run keeps: the machine's own, or a simulation's."""

import time
from typing import Protocol

__all__ = ["Clock", "RealClock"]


class Clock(Protocol):
    """What the coordinator and the exchange know of time."""

    def now(self) -> float:
        """Seconds since some fixed moment; never goes back."""
        ...

    def pause(self, seconds: float, *, until: float) -> None:
        """Let about so many seconds pass, but stop at ``until``; a virtual clock goes on to its next event."""
        ...

    def virtual_seconds(self) -> float | None:
        """Virtual seconds since the run began, for the run's record; None where time is real."""
        ...


class RealClock:
    """The machine's monotonic clock."""

    def now(self) -> float:
        """Seconds since the machine started, about."""
        return time.monotonic()

    def pause(self, seconds: float, *, until: float) -> None:
        """Sleep."""
        time.sleep(max(0.0, min(seconds, until - self.now())))

    def virtual_seconds(self) -> None:
        """None: a round's phases are timed instead."""
        return
