"""A strategy around one of Flower's own: the same rounds and the same steps, of means that were summed securely.

``configure_train`` takes the trips before the work, ``aggregate_train`` those after it. The strategy within is given
one reply, the weighted mean, in place of the clients': so FedAdam is FedAdam, and sees no single update.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from pydantic import ValidationError

from leptonic import experiment
from leptonic.errors import BelowThreshold, ExperimentError, ProtocolError
from leptonic.flower.content import model_of, moved, payload_digest, size_of
from leptonic.flower.terms import Terms
from leptonic.pipeline import Pipeline
from leptonic.secagg.binding import hashed
from leptonic.secagg.messages import Open, SessionSettings
from leptonic.secagg.server.office import Office
from leptonic.secagg.server.summing import Summing
from leptonic.secagg.server.unmasking import OpenedSum
from leptonic.secagg.terms import PHASE_TRAIN
from leptonic.update import Mean
from leptonic_server.flower.asking import LOGGER, Asking
from leptonic_server.flower.given_up import GivenUp
from leptonic_server.flower.offices import offices
from leptonic_server.flower.session import RoundSession
from leptonic_server.flower.summable import summable
from leptonic_server.secure.ending import mean_of

__all__ = ["SecureAggregation"]


@dataclass(frozen=True)
class _AtWork:
    """A round whose work was asked for. arrays: the model that its clients work on."""

    session: RoundSession
    summing: Summing
    pipeline: Pipeline
    arrays: ArrayRecord


class SecureAggregation(Strategy):  # type: ignore[misc]
    """One of Flower's strategies, whose server sees the sum of its clients' replies, and no single one.

    strategy: FedAvg, FedAvgM, FedAdam, FedAdagrad, FedYogi or FedProx. roster, key: files of the signed roster and of
    the coordinator's key. simulated_keys: keys that protect nobody, in their place. metrics: training metrics whose
    weighted means are wanted; the weight is the strategy's ``weighted_by_key``. weight_cap: larger weights are clamped
    to it. update_range: changes of a value are clamped to plus and minus this. adversary, colluders, drop_outs, bits:
    as in an experiment's ``[secure_aggregation]``. clear_evaluation: clients' evaluations come one by one, in the
    clear. timeout: seconds that a trip beside the training takes at most.

    A round that comes to no sum is logged with its error, and leaves the model as it is; the next one asks again once
    enough have given it up. Raises ExperimentError for what cannot be summed securely, BelowThreshold for a round of
    fewer nodes than any sum needs, and RunError for a sum that cannot be right.
    """

    def __init__(
        self,
        strategy: Strategy,
        *,
        roster: Path | str | None = None,
        key: Path | str | None = None,
        simulated_keys: bool = False,
        metrics: Sequence[str] = (),
        weight_cap: int = 2**16,
        update_range: float = 8.0,
        adversary: Literal["lying", "curious"] = "lying",
        colluders: int | None = None,
        drop_outs: int | None = None,
        bits: int = 32,
        clear_evaluation: bool = False,
        timeout: float = 600.0,
    ) -> None:
        self._inner = summable(strategy, clear_evaluation=clear_evaluation)
        self._offices, self._timeout = offices(roster, key, simulated_keys=simulated_keys), timeout
        try:
            self._secure = experiment.SecureAggregation(
                adversary=adversary, colluders=colluders, drop_outs=drop_outs, bits=bits
            )
        except ValidationError as error:
            raise ExperimentError(f"SecureAggregation(...): {error}") from None
        if weight_cap < 1 or not 0 < update_range < float("inf"):
            raise ExperimentError(f"weight_cap={weight_cap}, update_range={update_range}: both must be more than 0")
        weight = self._inner.weighted_by_key
        self._terms = Terms.of(
            update_range=update_range,
            weight_cap=weight_cap,
            weighted_by=weight,
            metrics=[name for name in metrics if name != weight],
        )
        self._given_up, self._serial = GivenUp(), 0
        self._at_work: _AtWork | None = None

    def summary(self) -> None:
        """Log what is summed, and the strategy within."""
        LOGGER.info("\t├──> Secure aggregation (leptonic-secagg/1):")
        LOGGER.info("\t│\t├── Strategy: %s", type(self._inner).__name__)
        LOGGER.info("\t│\t├── Adversary: %s coordinator", self._secure.adversary)
        LOGGER.info("\t│\t└── Metrics: %s", ", ".join(self._terms.metric_names) or "none")
        if self._offices.seed:
            LOGGER.warning("simulated keys: every message is made and checked, and nobody is protected")
        self._inner.summary()

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """The two trips before work, then the messages for it. None where the session has come to nothing."""
        self._at_work = None
        messages = list(self._inner.configure_train(server_round, arrays, config, grid))
        if not messages:
            return []
        content, nodes = _same_for_all(messages), [message.metadata.dst_node_id for message in messages]
        session, pipeline = self._session(server_round, content, nodes, grid, messages[0].metadata.message_type)
        try:
            self._given_up.give_up(session.office, session.asking, self._offices.seed)
            summing = session.summing(session.shared(nodes), content)
        except ProtocolError as error:
            return _failed(server_round, error)
        self._given_up.work(session.at_work(summing))
        self._at_work = _AtWork(session, summing, pipeline, model_of(content))
        return session.messages(summing, content, self._given_up.proofs)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """The two trips after work, then the step of the strategy within. None where there is no sum."""
        at_work, self._at_work = self._at_work, None
        replies = list(replies)
        errors = [reply for reply in replies if reply.has_error()]
        if at_work is not None:
            try:
                agreeing = at_work.session.summed(at_work.summing, replies)
                opened = at_work.session.opened(agreeing)
            except ProtocolError as error:
                _failed(server_round, error)
            else:
                self._given_up.opened()
                mean = self._mean(server_round, at_work, opened)
                errors.append(_reply(at_work, self._inner, mean))
        step: tuple[ArrayRecord | None, MetricRecord | None] = self._inner.aggregate_train(server_round, errors)
        return step

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """That of the strategy within: in the clear."""
        messages: Iterable[Message] = self._inner.configure_evaluate(server_round, arrays, config, grid)
        return messages

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """That of the strategy within."""
        metrics: MetricRecord | None = self._inner.aggregate_evaluate(server_round, replies)
        return metrics

    def _session(
        self, server_round: int, content: RecordDict, nodes: list[int], grid: Grid, message_type: str
    ) -> tuple[RoundSession, Pipeline]:
        """A session for these nodes."""
        settings = self._settings(content, nodes)
        office = self._offices.office(grid.get_node_ids())
        asking = Asking(grid, message_type, self._timeout)
        opening = self._opening(server_round, str(grid.run.run_id), office, settings)
        return RoundSession(office, asking, opening, self._terms, self._offices.seed), self._terms.pipeline(settings)

    def _settings(self, content: RecordDict, nodes: list[int]) -> SessionSettings:
        try:
            return self._terms.settings(self._secure, words=size_of(model_of(content)), invited=len(nodes))
        except BelowThreshold as error:
            raise BelowThreshold(f"{error}: raise the strategy's min_train_nodes and min_available_nodes") from None

    def _opening(self, server_round: int, run: str, office: Office, settings: SessionSettings) -> Open:
        # The clock, so that a second strategy of the same run goes on above this one's numbers.
        self._serial = max(self._serial + 1, time.time_ns() // 1000)
        return Open(
            federation=office.roster.content.federation,
            run=run.encode(),
            round=server_round,
            phase=PHASE_TRAIN,
            serial=self._serial,
            experiment=hashed(self._terms),
            roster=office.roster.hash,
            settings=settings,
        )

    def _mean(self, server_round: int, at_work: _AtWork, opened: OpenedSum) -> Mean:
        """The mean of an opened sum. Raises RunError if it cannot be one."""
        mean = mean_of(opened, at_work.pipeline, server_round)
        LOGGER.info("aggregate_train: the sum of %d clients was opened", len(opened.survivors))
        if mean.sums["clamped"]:
            LOGGER.warning("%d values were clamped: raise SecureAggregation's update_range", mean.sums["clamped"])
        if mean.sums["capped"]:
            LOGGER.warning("%d weights were clamped: raise SecureAggregation's weight_cap", mean.sums["capped"])
        return mean


def _same_for_all(messages: list[Message]) -> RecordDict:
    """What every client is sent. Raises ExperimentError if not all are sent the same."""
    contents = {id(message.content): message.content for message in messages}
    if len({payload_digest(content) for content in contents.values()}) > 1:
        raise ExperimentError("the strategy sends clients different content: what is summed is work on the same")
    content: RecordDict = messages[0].content
    return content


def _reply(at_work: _AtWork, strategy: Strategy, mean: Mean) -> Message:
    """The mean, as if one client had sent it."""
    weight = mean.sums["weight"]
    metrics = {name: mean.sums[name] / weight for name in at_work.pipeline.sum_names}
    records = RecordDict(
        {
            strategy.arrayrecord_key: moved(at_work.arrays, mean.vectors["model"]),
            "metrics": MetricRecord({strategy.weighted_by_key: weight, **metrics}),
        }
    )
    return Message(records, 0, at_work.session.asking.message_type)


def _failed(server_round: int, error: ProtocolError) -> list[Message]:
    """Say that a round has come to no sum."""
    LOGGER.error("round %d has no sum, the model stays: %s: %s", server_round, type(error).__name__, error)
    return []
