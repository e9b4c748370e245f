"""Times each engine on a few clients of the first rounds, and goes on with the fastest.

No work is done twice: the clients that are timed are clients of the round.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from leptonic.wire import Reply, Request
from leptonic_simulations.grid import Engine

__all__ = ["AutomaticEngine", "Candidate"]

Answer = tuple[Reply, bytes | memoryview]

WARM_UP = 1
"""Clients that an engine trains before it is timed, each worker as many."""
PAYS = 3.0
"""An engine that costs time to start is tried only if so many times that is still to be done."""


@dataclass(frozen=True)
class Candidate:
    """An engine that may be chosen.

    at_once: clients that it trains together; twice as many are timed. cost: seconds that it takes to start.
    """

    name: str
    make: Callable[[], Engine]
    at_once: int = 1
    cost: float = 0.0


class AutomaticEngine:
    """Tries the candidates in order; the first also answers what is not training.

    size: the work that a request means, in any unit. wanted: replies that are asked for in every step.
    requests: how many the run has in all. decided: is told the choice, and why.
    """

    def __init__(
        self,
        candidates: Sequence[Candidate],
        *,
        size: Callable[[Request], float],
        wanted: int,
        requests: int,
        decided: Callable[[str, str], None],
    ) -> None:
        self._size, self._wanted, self._left, self._decided = size, wanted, requests, decided
        self._untried = list(candidates)
        self._engines: dict[str, Engine] = {candidates[0].name: candidates[0].make()}
        self._first = self._engines[candidates[0].name]
        self._chosen: Engine | None = None
        self._warm = False
        self._speeds: dict[str, float] = {}
        self._typical = 1.0

    def answers(self, requests: Sequence[Request], content: bytes | memoryview) -> Iterator[Answer]:
        """The replies; while engines are tried, each answers a part of the requests."""
        if requests and requests[0].step != "train":
            yield from (self._chosen or self._first).answers(requests, content)
            return
        # Replies beyond those wanted may never be asked for, and a trial must come to its end.
        rest, spare = list(requests[: self._wanted]), requests[self._wanted :]
        while rest and self._chosen is None:
            group, rest, fair = self._split(rest, min(len(requests), self._wanted))
            yield from self._tried(group, content, fair=fair)
        yield from (self._chosen or self._first).answers([*rest, *spare], content)

    def close(self) -> None:
        """Close every engine that was made."""
        for engine in self._engines.values():
            engine.close()

    def _split(self, rest: list[Request], cohort: int) -> tuple[list[Request], list[Request], bool]:
        """The requests that the present candidate is tried on, the others, and whether its time will count.

        Too few are no measure of an engine that trains many at once, unless there are never more.
        """
        count = self._untried[0].at_once * (2 if self._warm else WARM_UP)
        return rest[:count], rest[count:], self._warm and len(rest) >= min(count, cohort)

    def _tried(self, group: list[Request], content: bytes | memoryview, *, fair: bool) -> Iterator[Answer]:
        """Answer the group, and time the engine without what happens between its answers."""
        candidate = self._untried[0]
        if candidate.name not in self._engines:
            self._engines[candidate.name] = candidate.make()
        seconds, started = 0.0, time.perf_counter()
        for count, answer in enumerate(self._engines[candidate.name].answers(group, content), start=1):
            seconds += time.perf_counter() - started
            self._left -= 1
            if count == len(group):  # before the answer is given, with which the step may end
                self._warm = True
                if fair:
                    self._learn(sum(self._size(request) for request in group), len(group), seconds)
            yield answer
            started = time.perf_counter()

    def _learn(self, work: float, clients: int, seconds: float) -> None:
        self._typical = work / clients
        self._speeds[self._untried.pop(0).name] = seconds / work
        self._warm = False
        best = min(self._speeds.values())
        to_be_done = best * self._typical * self._left
        self._untried = [candidate for candidate in self._untried if to_be_done > PAYS * candidate.cost]
        if not self._untried:
            self._choose()

    def _choose(self) -> None:
        name = min(self._speeds, key=self._speeds.__getitem__)
        self._chosen = self._engines[name]
        for other in [other for other in self._engines if other != name]:
            self._engines.pop(other).close()
        timed = ", ".join(f"{other} {1000 * speed * self._typical:.2f} ms" for other, speed in self._speeds.items())
        self._decided(name, f"{timed} for a client")
