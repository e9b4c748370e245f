"""The coordinator of an asynchronous simulation: each step takes the next ``buffer`` updates, wherever they began.

A step of the model is made of updates that began at its last version or at older ones. With s the staleness, the
number of steps since an update's client was given the model, the change is

    sum_i w_i (1 + s_i)^-a delta_i / sum_i w_i,

w_i as aggregation.weighting says: the older the updates, the smaller the step. Sources: Nguyen et al. 2022, arXiv
2106.06639, Algorithm 1, with w_i = 1 and a = 1/2; the polynomial weight is that of Xie et al. 2019, arXiv 1903.03934.
The words of each encoded contribution are multiplied by it and rounded (:meth:`leptonic.pipeline.Pipeline.discounted`),
so that the sum is one of integers and does not depend on order; at staleness 0 it is that of a synchronous round.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from leptonic.errors import RunError
from leptonic.experiment import Asynchronous, Experiment
from leptonic.pipeline import Contribution, LatticePipeline
from leptonic.update import Mean, Vector
from leptonic_server.clock import Clock
from leptonic_server.cohort import Members
from leptonic_server.coordinator import Coordinator, Listener, Phases
from leptonic_server.evaluation import Evaluator
from leptonic_server.exchange import Asked
from leptonic_server.post import RoundGrid
from leptonic_server.state import RoundState
from leptonic_server.store import ClientRecord, RoundRecord, RunStore
from leptonic_simulations.asynchronous.flights import Flight, Flights

__all__ = ["AsynchronousCoordinator", "staleness_weight"]

_STARTED = "started."


def staleness_weight(staleness: int, exponent: float) -> float:
    """(1 + s)^-a. staleness: steps of the server. Returns a number in (0, 1]."""
    return float((1.0 + staleness) ** -exponent)


@dataclass
class Seen:
    """What a step has met, for its record. in_vain: clients that fell silent or failed."""

    staleness: list[int] = field(default_factory=list)
    stale: int = 0
    in_vain: int = 0

    def summary(self) -> dict[str, float]:
        """Staleness of the counted updates, and how many were dropped for theirs."""
        return {
            "staleness_mean": float(np.mean(self.staleness)),
            "staleness_max": float(max(self.staleness)),
            "stale_dropped": float(self.stale),
        }


class AsynchronousCoordinator(Coordinator):
    """A :class:`Coordinator` whose rounds are the steps of an asynchronous server.

    flights: who trains, by the coordinator's clock. free: who can be drawn. members: everyone, who can be asked.
    The grid must answer at once: when an answer arrives, the flights say, and evaluation takes no virtual time.
    """

    def __init__(
        self,
        experiment: Experiment,
        settings: Asynchronous,
        *,
        store: RunStore,
        grid: RoundGrid,
        members: Members,
        evaluator: Evaluator,
        listener: Listener,
        clock: Clock,
        flights: Flights,
        free: Members,
    ) -> None:
        super().__init__(
            experiment,
            store=store,
            grid=grid,
            members=members,
            evaluator=evaluator,
            listener=listener,
            deadline=math.inf,
            clock=clock,
        )
        self._settings, self._flights, self._free = settings, flights, free
        self._models: dict[int, Vector] = {}
        self._seen = Seen()

    def _train(
        self, number: int, attempt: int, state: RoundState, failed: set[int], phases: Phases
    ) -> tuple[Asked, Mean | None]:
        """Take updates until the buffer is full, and sum them."""
        asked, total, self._seen = Asked(), self._pipeline.zero(), Seen()
        self._models[number - 1] = state.model
        self._listener.round_begins(number, attempt, self._settings.buffer)
        while missing := self._settings.buffer - len(self._seen.staleness):
            self._check_progress(number, asked)
            with phases("plan"):
                arrivals = self._arrivals(missing, asked)
            with phases("collect"):
                self._collect(arrivals, asked, total)
        with phases("aggregate"):
            return asked, self._pipeline.decode(total)

    def _arrivals(self, count: int, asked: Asked) -> list[Flight]:
        """The next so many whose updates are young enough; who comes in vain before them is recorded."""
        found: list[Flight] = []
        while len(found) < count and not self._lost_patience:
            flight = self._flights.next(self._free)
            staleness, oldest = self._flights.version - flight.version, self._settings.max_staleness
            if flight.silent:
                self._seen.in_vain += 1
                asked.records[flight.client] = ClientRecord(flight.client, "late", "no answer by federation.deadline")
            elif oldest is not None and staleness > oldest:
                self._seen.stale += 1
                asked.bytes_up += self._pipeline.encoded_length
                detail = f"its update was {staleness} steps old, of max_staleness = {oldest}"
                asked.records[flight.client] = ClientRecord(flight.client, "late", detail)
            else:
                found.append(flight)
                continue
            asked.bytes_down += 4 * self._pipeline.size
        return found

    def _collect(self, arrivals: list[Flight], asked: Asked, total: Contribution) -> None:
        """Have the work of these flights done, those of a version together, and take what it gives."""
        by_version = sorted(arrivals, key=lambda flight: (flight.version, flight.place))
        for version, flights in groupby(by_version, key=lambda flight: flight.version):
            part = self._ask(version, [flight.client for flight in flights], total)
            asked.records |= part.records
            asked.bytes_down += part.bytes_down
            asked.bytes_up += part.bytes_up
            self._seen.in_vain += len(part.records) - len(part.counted)

    def _ask(self, version: int, clients: list[int], total: Contribution) -> Asked:
        staleness = self._flights.version - version
        share = staleness_weight(staleness, self._settings.staleness_exponent)
        # Client-level privacy, which encodes otherwise, is refused without rounds.
        pipeline = cast(LatticePipeline, self._pipeline)

        def take(_: int, buffer: bytes | memoryview) -> None:
            contribution = self._pipeline.from_bytes(buffer)
            self._pipeline.check(contribution)
            total.add(pipeline.discounted(contribution, share))
            self._seen.staleness.append(staleness)

        return self._exchange.ask(
            "train",
            # What trains from version v is round v + 1, as where rounds are synchronous.
            round_number=version + 1,
            attempt=1,
            cohort=clients,
            content=self._models[version].astype("<f4", copy=False).tobytes(),
            expected=self._pipeline.encoded_length,
            wanted=len(clients),
            deadline=self._deadline,
            take=take,
            on_client=self._listener.client_answered,
        )

    @property
    def _lost_patience(self) -> bool:
        attempts = self._experiment.federation.attempts
        return self._seen.in_vain > attempts * (self._settings.concurrency + self._settings.buffer)

    def _check_progress(self, number: int, asked: Asked) -> None:
        if self._lost_patience:
            missed = [record for record in asked.records.values() if record.status != "counted"]
            raise RunError(
                f"step {number}: {len(asked.counted)} of {self._settings.buffer} updates came, and "
                f"{self._seen.in_vain} clients were asked in vain, more than federation.attempts allows "
                f"(client {missed[-1].client}: {missed[-1].status}: {missed[-1].detail}). "
                f"The run stands at step {number - 1}; mend the cause and continue with --resume"
            )

    def _restored(self) -> RoundState:
        """The state, and what was under way when it was committed."""
        vectors, version = self._store.vectors(), self._store.last_round() or 0
        self._flights.restore(vectors, version)
        self._models = {
            int(name.removeprefix(_STARTED)): vector for name, vector in vectors.items() if name.startswith(_STARTED)
        }
        return RoundState.from_vectors(
            {name: vector for name, vector in vectors.items() if not name.startswith(("underway.", _STARTED))}
        )

    def _kept(self, state: RoundState) -> Mapping[str, NDArray[Any]]:
        """The state, what is under way, and the older models from which that began."""
        needed = self._flights.versions()
        self._models = {version: model for version, model in self._models.items() if version in needed}
        started = {f"{_STARTED}{version}": model for version, model in self._models.items()}
        return {**state.vectors(), **self._flights.vectors(), **started}

    def _commit(self, record: RoundRecord, state: RoundState, clients: list[ClientRecord]) -> None:
        """Commit a step; from here on clients begin with its model."""
        self._flights.begin_step(record.round)
        if record.round:
            record = replace(record, train={**record.train, **self._seen.summary()})
        super()._commit(record, state, clients)
