"""When each answer arrives, and so whose work is worth doing at all.

Follows the coordinator's own rules (the first so many that arrive before the deadline) one step ahead, so that
clients whose answer nobody would take are not trained. What is due together is worked on together, in whatever
order the engine likes: the clock stands at the last of these arrivals, and all of them are taken.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from leptonic.experiment import Federation
from leptonic.wire import Reply, Request
from leptonic_server.clock import Clock
from leptonic_simulations.scenario.journeys import Journey

__all__ = ["Timetable"]


@dataclass(frozen=True, order=True)
class Arrival:
    """One answer on its way. place: in the order of the requests, which decides between equal times."""

    time: float
    place: int
    name: str = field(compare=False)
    lost: bool = field(compare=False)


@dataclass
class Step:
    """One step of a round. missing: answers that are still wanted."""

    numbers: tuple[int, int, str]
    end: float
    missing: int
    waiting: dict[str, Arrival] = field(default_factory=dict)


class Timetable:
    """A :class:`leptonic_simulations.grid.Schedule` by virtual time."""

    def __init__(self, federation: Federation, clock: Clock, journey: Callable[[Request], Journey]) -> None:
        self._federation, self._clock, self._journey = federation, clock, journey
        self._step = Step((0, 0, ""), 0.0, 0)
        self._lost: set[str] = set()

    def sent(self, name: str, request: Request) -> None:
        """A request leaves now."""
        now, step = self._clock.now(), self._step
        if step.numbers != (request.round, request.attempt, request.step):
            wanted = self._federation.wanted if request.step == "train" else self._federation.clients
            numbers = (request.round, request.attempt, request.step)
            self._step = step = Step(numbers, now + self._federation.deadline, wanted)
            self._lost.clear()
        journey = self._journey(request)
        time = now + journey.seconds
        if journey.fate != "never_trains" and time < step.end:
            lost = journey.fate == "is_lost"
            step.waiting[name] = Arrival(time, len(step.waiting), name, lost)

    def due(self, names: Sequence[str]) -> list[str]:
        """Those of these letters that are worked on now."""
        together = self._together(self._step.waiting[name] for name in names if name in self._step.waiting)
        if not together or self._moment(together) > self._clock.now():
            return []
        for arrival in together:
            del self._step.waiting[arrival.name]
            if arrival.lost:
                self._lost.add(arrival.name)
        return [arrival.name for arrival in together]

    def arrives(self, name: str, reply: Reply) -> bool:
        """Whether the reply that was made to a letter reaches the coordinator."""
        if name in self._lost:
            self._lost.remove(name)
            return False
        self._step.missing -= reply.status == "done"
        return True

    def forget(self, names: Iterable[str]) -> None:
        """Nobody waits for these any more."""
        for name in names:
            self._step.waiting.pop(name, None)

    def next_event(self, now: float) -> float:
        """The next moment at which something is due."""
        together = self._together(self._step.waiting.values())
        return max(now, self._moment(together)) if together else math.inf

    def _together(self, waiting: Iterable[Arrival]) -> list[Arrival]:
        """The first that arrive, as many as are wanted, with those among them that will be lost."""
        chosen: list[Arrival] = []
        # A reply that was judged invalid is still missed, though nobody said so here: then one more is due.
        left = max(1, self._step.missing)
        for arrival in sorted(waiting):
            if not left:
                break
            chosen.append(arrival)
            left -= not arrival.lost
        return chosen

    @staticmethod
    def _moment(together: Sequence[Arrival]) -> float:
        return max(arrival.time for arrival in together)
