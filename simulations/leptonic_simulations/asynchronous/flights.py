"""Who trains when, from which version of the model, and who answers next: known before any of the work is done.

Nothing here looks at a model. How long an answer takes and whether it comes is drawn from the experiment's seed, so
the arrivals of a step are known before its first client is trained, and clients who answer in vain never are.
"""

import heapq
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from leptonic import randomness
from leptonic.errors import RunError
from leptonic.experiment import Asynchronous, Experiment
from leptonic_server.clock import Clock
from leptonic_server.cohort import Members, others
from leptonic_simulations.scenario.journeys import Journey

__all__ = ["Flight", "Flights", "Travel"]

Travel = Callable[[int, int, int], Journey]
"""The journey of a client's answer: client, version of the model from which it starts, and which try of this it is."""

_ENDS, _CLIENTS = "underway.ends", "underway.clients"


@dataclass(frozen=True, order=True)
class Flight:
    """One client's work, under way. end: virtual seconds at which it is over. place: decides between equal times.

    version: of the model from which it began. silent: nothing comes, and at ``end`` it is given up.
    """

    end: float
    place: int
    client: int = field(compare=False)
    version: int = field(compare=False)
    silent: bool = field(compare=False)


class Flights:
    """Keeps ``concurrency`` clients training, and says who is through next.

    A client that is through waits for the server's next step: from the same version it would make the same update
    again. A silent one may be drawn again at once. version: of the present model, the number of steps made.
    """

    def __init__(self, experiment: Experiment, settings: Asynchronous, *, travel: Travel, clock: Clock) -> None:
        self._experiment, self._settings, self._travel, self._clock = experiment, settings, travel, clock
        self._underway: list[Flight] = []
        self._places = 0
        self.begin_step(0)

    def begin_step(self, version: int) -> None:
        """The server has a new model: those who are through are free, and the draw of clients begins anew."""
        self.version = version
        self._through = set[int]()
        self._silences: dict[int, int] = {}
        self._draw = randomness.generator(self._experiment.seed, "scenario", "asynchronous", version)

    def next(self, members: Members) -> Flight:
        """Let time pass until someone is through or is given up. members: who can be drawn, at any time.

        Everyone who is through at a moment is so before others begin at that moment. Raises RunError where nobody
        trains and nobody can be drawn for a whole deadline.
        """
        end = self._clock.now() + self._experiment.federation.deadline
        while not self._underway or self._underway[0].end > self._clock.now():
            self._fill(members)
            if not self._underway and self._clock.now() >= end:
                raise RunError(
                    f"step {self.version + 1}: nobody trains and nobody is there to begin, for federation.deadline; "
                    "see scenario.availability and why clients failed, and continue with --resume"
                )
            self._clock.pause(0.0, until=self._underway[0].end if self._underway else end)
        flight = heapq.heappop(self._underway)
        if not flight.silent:
            self._through.add(flight.client)
        elif flight.version == self.version:
            self._silences[flight.client] = self._silences.get(flight.client, 0) + 1
        return flight

    def versions(self) -> set[int]:
        """Versions of the model whose updates are still to come and will be young enough."""
        oldest = self.version - (math.inf if self._settings.max_staleness is None else self._settings.max_staleness)
        return {flight.version for flight in self._underway if flight.version >= oldest and not flight.silent}

    def vectors(self) -> dict[str, NDArray[np.int64] | NDArray[np.float64]]:
        """What is under way, in the order in which it began: ends (n,), and client, version, silent as (n, 3)."""
        flights = sorted(self._underway, key=lambda flight: flight.place)
        rows = [(flight.client, flight.version, flight.silent) for flight in flights]
        return {
            _ENDS: np.array([flight.end for flight in flights], dtype=np.float64),
            _CLIENTS: np.array(rows, dtype=np.int64).reshape(-1, 3),
        }

    def restore(self, vectors: Mapping[str, NDArray[np.generic]], version: int) -> None:
        """Continue after the step that made ``version``, the inverse of :meth:`vectors`."""
        rows = zip(vectors[_ENDS].tolist(), vectors[_CLIENTS].tolist(), strict=True)
        self._underway = [
            Flight(end, place, client, begun, bool(silent)) for place, (end, (client, begun, silent)) in enumerate(rows)
        ]
        heapq.heapify(self._underway)
        self._places = len(self._underway)
        self.begin_step(version)

    def _fill(self, members: Members) -> None:
        """Let free clients begin until there are enough."""
        missing = self._settings.concurrency - len(self._underway)
        if missing <= 0:
            return
        busy = {flight.client for flight in self._underway} | self._through
        online = members.online()
        for client in others(self._draw, self._experiment.federation.clients, busy, missing, online.__contains__):
            self._begin(client)

    def _begin(self, client: int) -> None:
        deadline = self._experiment.federation.deadline
        journey = self._travel(client, self.version, 1 + self._silences.get(client, 0))
        silent = journey.fate != "arrives" or journey.seconds >= deadline
        end = self._clock.now() + (deadline if silent else journey.seconds)
        heapq.heappush(self._underway, Flight(end, self._places, client, self.version, silent))
        self._places += 1
