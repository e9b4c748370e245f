"""The main loop of a run, written once for deployments and simulations: plan, send, collect, aggregate, commit.

Deadlines, partial cohorts and errors of single clients are normal events and recorded per round. Killed at
any instant, the run continues from the last commit of its :class:`RunStore` and ends with the same model.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, NotRequired, Protocol, TypedDict

import numpy as np
from numpy.typing import NDArray

from leptonic.algorithms import algorithm_for
from leptonic.errors import RunError
from leptonic.experiment import Experiment
from leptonic.integers import add, from_fixed
from leptonic.pipeline import Occasion, Pipeline, decode_scalars, pipeline_for
from leptonic.schedule import learning_rate
from leptonic.update import Mean
from leptonic_server.accumulator import Accumulator, accumulator_for
from leptonic_server.central_noise import NoisedRound, central_noise
from leptonic_server.clock import Clock, RealClock
from leptonic_server.cohort import Members, choose
from leptonic_server.commits import AtOnce, Commits, OneBehind, Told
from leptonic_server.evaluation import Evaluator
from leptonic_server.exchange import Asked, Exchange
from leptonic_server.optimizers import optimizer_for
from leptonic_server.post import RoundGrid
from leptonic_server.privacy_record import PrivacyRecords
from leptonic_server.rules import rule_for
from leptonic_server.state import RoundState
from leptonic_server.store import ClientRecord, RoundRecord, RunStore, now

__all__ = ["Coordinator", "Listener", "Phases", "Surroundings"]

PATIENCE = 20.0
"""Seconds that a round waits for members who were reachable before."""


class Listener(Told, Protocol):
    """Is told of a run's progress."""

    def round_begins(self, round_number: int, attempt: int, invited: int) -> None:
        """So many clients are about to be asked."""
        ...

    def client_answered(self, record: ClientRecord) -> None:
        """A client's reply was judged."""
        ...


class Surroundings(TypedDict):
    """What every coordinator is given; see :class:`Coordinator`."""

    store: RunStore
    grid: RoundGrid
    members: Members
    evaluator: Evaluator
    listener: Listener
    deadline: NotRequired[float | None]
    patience: NotRequired[float | None]
    clock: NotRequired[Clock | None]
    seeded_noise: NotRequired[bool]
    one_behind: NotRequired[bool]


class Phases:
    """Seconds of each phase of a round."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Add the time of the enclosed work to phase ``name``."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started


@dataclass(frozen=True)
class Evaluated:
    """The outcome of a round's evaluation: the server's and the clients' metrics, and what asking them took."""

    server: Mapping[str, float]
    clients: Mapping[str, float]
    asked: Asked


class Coordinator:
    """Runs one experiment to its last round.

    A simulation's asynchronous steps replace :meth:`_train`, and what a commit holds beside the state.

    deadline: seconds that a step waits, instead of the experiment's; a simulation without a scenario has none.
    patience: seconds that a round waits for members who were reachable before; with 0 it is enough that enough are.
    clock: of deadlines and patience, the machine's own unless given.
    seeded_noise: the server's privacy noise from the experiment's seed, which protects nobody; simulations only.
    one_behind: a round is at work while the one before is committed; for rounds that leave nothing elsewhere.
    """

    def __init__(
        self,
        experiment: Experiment,
        *,
        store: RunStore,
        grid: RoundGrid,
        members: Members,
        evaluator: Evaluator,
        listener: Listener,
        deadline: float | None = None,
        patience: float | None = None,
        clock: Clock | None = None,
        seeded_noise: bool = False,
        one_behind: bool = False,
    ) -> None:
        if store.run is None:
            raise RunError(f"{store.folder}: begin the run before coordinating it")
        self._experiment, self._store, self._members = experiment, store, members
        self._evaluator, self._listener = evaluator, listener
        self._commits: Commits = OneBehind(store, listener) if one_behind else AtOnce(store, listener)
        self._algorithm = algorithm_for(experiment)
        self._optimizer = optimizer_for(experiment.server_optimizer)
        self._rule = rule_for(experiment.aggregation)
        self._pipeline = pipeline_for(experiment, evaluator.layout.size)
        self._privacy = PrivacyRecords(experiment, self._pipeline, store)
        self._noise = central_noise(experiment, self._pipeline, seeded=seeded_noise)
        self._noised: NoisedRound | None = None
        self._deadline = experiment.federation.deadline if deadline is None else deadline
        self._patience = min(PATIENCE if patience is None else patience, self._deadline)
        self._expected = experiment.federation.clients
        self._clock = clock or RealClock()
        self._exchange = Exchange(grid, members, run=store.run, experiment=experiment.hash, clock=self._clock)

    def run(self) -> None:
        """Continue from the last committed round to the last round of the experiment."""
        with closing(self._commits):
            if self._store.last_round() is None:
                self._commit_first_model()
                self._commits.settle()
            state, following = self._restored(), (self._store.last_round() or 0) + 1
            tried = self._store.last_attempt(following)
            for number in range(following, self._experiment.training.rounds + 1):
                state, tried = self._round(number, state, tried), 0

    def _round(self, number: int, state: RoundState, tried: int) -> RoundState:
        """Try one round until enough clients are counted, and commit it. tried: attempts before this process began."""
        federation, failed = self._experiment.federation, set[int]()
        for attempt in range(tried + 1, tried + 1 + federation.attempts):
            phases = Phases()
            asked, mean = self._train(number, attempt, state, failed, phases)
            records = list(asked.records.values())
            if mean is not None:
                return self._finish(number, attempt, state, mean, asked, phases)
            self._commits.settle()
            self._store.record_clients(number, attempt, records, virtual_seconds=self._clock.virtual_seconds())
            failed |= {record.client for record in records if record.status in ("failed", "refused", "invalid")}
        raise RunError(
            f"round {number}: {len(asked.counted)} clients were counted and {self._experiment.needed} are needed, "
            f"after {federation.attempts} attempts{_first_reason(records)}. "
            f"The run stands at round {number - 1}; mend the cause and continue with --resume"
        )

    def _train(
        self, number: int, attempt: int, state: RoundState, failed: set[int], phases: Phases
    ) -> tuple[Asked, Mean | None]:
        """One attempt: invite a cohort and sum what it answers. The mean is None if too few were counted."""
        federation = self._experiment.federation
        with phases("plan"):
            cohort = choose(self._experiment, number, self._wait_for_members(), failed)
            content = state.broadcast(self._algorithm)
            total = accumulator_for(self._encoding(number, state), self._rule)
        self._listener.round_begins(number, attempt, len(cohort))
        with phases("collect"):
            asked = self._exchange.ask(
                "train",
                round_number=number,
                attempt=attempt,
                cohort=cohort,
                content=content,
                expected=self._pipeline.encoded_length,
                counted=self._counted(cohort),
                wanted=federation.wanted,
                deadline=self._deadline,
                take=lambda client, buffer: self._take(total, client, buffer),
                # A robust rule must see each client's own.
                take_sum=None if self._rule else lambda *carried: self._take(total, *carried),
                on_client=self._listener.client_answered,
            )
        if len(asked.counted) < self._experiment.needed:
            return asked, None
        with phases("aggregate"):
            return asked, total.result()

    def _counted(self, clients: Iterable[int]) -> dict[int, int]:
        """For each of these clients whose state matters: the last committed round in which it was counted."""
        return self._store.counted(clients) if self._algorithm.stateful else {}

    def _encoding(self, number: int, state: RoundState) -> Pipeline:
        """The round's encoding, with the server's noise where the server adds any."""
        if self._noise is None:
            return self._pipeline.at(Occasion(number))
        self._noised = self._noise.begin(number, state.privacy)
        return self._noise.encoding(self._noised, Occasion(number, self._noised.clip_norm))

    def _take(self, total: Accumulator, client: int, buffer: bytes | memoryview, clients: int = 1) -> None:
        contribution = self._pipeline.from_bytes(buffer)
        self._pipeline.check(contribution, clients=clients)
        total.add(client, contribution)

    def _finish(
        self, number: int, attempt: int, state: RoundState, mean: Mean, asked: Asked, phases: Phases
    ) -> RoundState:
        """Step the model, evaluate it, commit the round."""
        with phases("aggregate"):
            clients = self._experiment.federation.clients
            privacy = self._noised.after if self._noised else None
            after = state.step(mean, self._algorithm, self._optimizer, clients=clients, privacy=privacy)
        with phases("evaluate"):
            evaluated = self._evaluate(number, attempt, after, asked.counted)
        train = {name.removeprefix("train_"): value for name, value in mean.sums.items() if name.startswith("train_")}
        record = RoundRecord(
            round=number,
            attempt=attempt,
            model_sha256=self._evaluator.model_sha256(after.model),
            learning_rate=learning_rate(self._experiment.training, number - 1),
            cohort=len(asked.records),
            survivors=len(asked.counted),
            bytes_down=asked.bytes_down + evaluated.asked.bytes_down,
            bytes_up=asked.bytes_up + evaluated.asked.bytes_up,
            seconds=phases.seconds,
            metrics=evaluated.server,
            client_metrics=evaluated.clients,
            train=self._evaluator.summary(train),
            clamped=round(mean.sums.get("clamped", 0)),
            capped=round(mean.sums.get("capped", 0)),
            epsilon=max((r.epsilon for r in asked.records.values() if r.epsilon is not None), default=None),
            privacy=self._privacy.after(
                number, asked.records, clip_norm=self._noised.clip_norm if self._noised else None
            ),
            finished=now(),
            virtual_seconds=self._clock.virtual_seconds(),
        )
        self._commit(record, after, list(asked.records.values()))
        return after

    def _evaluate(self, number: int, attempt: int, state: RoundState, cohort: list[int]) -> Evaluated:
        """Evaluate where and when the experiment says."""
        settings, asked = self._experiment.evaluation, Asked()
        if number % settings.every and number != self._experiment.training.rounds:
            return Evaluated({}, {}, asked)
        server = self._evaluator.evaluate(state.model)
        if "clients" not in settings.on:
            return Evaluated(server, {}, asked)
        names = (*self._evaluator.task.metric_names, "examples")
        total = np.zeros(len(names), dtype=np.uint64)
        asked = self._exchange.ask(
            "evaluate",
            round_number=number,
            attempt=attempt,
            cohort=cohort,
            content=state.model.astype("<f4", copy=False).tobytes(),
            expected=total.nbytes,
            wanted=len(cohort),
            deadline=self._deadline,
            take=lambda _, buffer: add(total, decode_scalars(buffer, len(names))),
        )
        sums = dict(zip(names, from_fixed(total), strict=True))
        return Evaluated(server, self._evaluator.summary(sums), asked)

    def _wait_for_members(self) -> Mapping[int, int]:
        """The reachable members: all that were there before, given some seconds, or at least enough for a round."""
        needed, begun = self._experiment.needed, self._clock.now()
        enough, end = begun + self._patience, begun + self._deadline
        while True:
            online, moment = self._members.online(), self._clock.now()
            # Not by their number, for which a simulation would have to look at its whole population.
            if moment >= enough and len(list(islice(online, needed))) >= needed:
                break
            if self._patience and len(online) >= self._expected:
                break
            if moment >= end:
                raise RunError(
                    f"{len(online)} clients are reachable and a round needs {needed}: "
                    "start more clients and continue with --resume"
                )
            self._clock.pause(0.05, until=end)
        self._expected = len(online) if self._patience else 0
        return online

    def _commit_first_model(self) -> None:
        """Round 0: the model before training, evaluated."""
        model = self._evaluator.initial()
        record = RoundRecord(
            round=0,
            attempt=0,
            model_sha256=self._evaluator.model_sha256(model),
            learning_rate=0.0,
            cohort=0,
            survivors=0,
            bytes_down=0,
            bytes_up=0,
            seconds={},
            metrics=self._evaluator.evaluate(model),
            finished=now(),
            virtual_seconds=self._clock.virtual_seconds(),
        )
        privacy = self._noise.first() if self._noise else None
        self._commit(record, RoundState.first(model, self._algorithm, self._optimizer, privacy), [])

    def _restored(self) -> RoundState:
        """The state of the last committed round."""
        return RoundState.from_vectors(self._store.vectors())

    def _kept(self, state: RoundState) -> Mapping[str, NDArray[Any]]:
        """What is kept with a round, of which a resumed run restores the state."""
        return state.vectors()

    def _commit(self, record: RoundRecord, state: RoundState, clients: list[ClientRecord]) -> None:
        self._commits.commit(record, self._kept(state), clients)


def _first_reason(records: list[ClientRecord]) -> str:
    """Why a client of the last attempt was not counted, for the error message."""
    reasons = (f" (client {r.client}: {r.status}: {r.detail})" for r in records if r.status != "counted")
    return next(reasons, "")
