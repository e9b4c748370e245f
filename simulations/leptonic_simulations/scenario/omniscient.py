"""Liars who know every honest update of their round: an engine around the engine that does the honest work.

The honest clients of a cohort train first. Of their updates only sums are kept; from these the liars' common
update is made, encoded as every update is, and sent by each of them.
"""

from collections.abc import Iterator, Sequence
from typing import cast

from leptonic.experiment import Attack
from leptonic.integers import add, from_fixed
from leptonic.pipeline import Contribution, LatticePipeline
from leptonic.privacy.accounting import ExamplePlan
from leptonic.update import LocalUpdate
from leptonic.wire import Reply, Request
from leptonic_client.participant import Answer, success
from leptonic_simulations.clients import SimulatedClients
from leptonic_simulations.grid import Engine
from leptonic_simulations.scenario.lies import Moments, lie_from

__all__ = ["OmniscientEngine"]


class Seen:
    """What is known of the honest updates of one attempt of a round. liars: how many were asked so far."""

    def __init__(self, pipeline: LatticePipeline, numbers: tuple[int, int]) -> None:
        self._pipeline, self.numbers, self.liars = pipeline, numbers, 0
        self.moments = Moments(pipeline.lattice, pipeline.size)
        self._scalars = pipeline.zero().scalars

    def add(self, contribution: Contribution) -> None:
        """Take in one honest update."""
        self.moments.add(self._pipeline.decode(contribution).vectors["model"])
        add(self._scalars, contribution.scalars)

    def sums(self) -> dict[str, float]:
        """The mean of the honest clients' metric sums: a liar's are nothing to notice."""
        names = self._pipeline.sum_names
        means = from_fixed(self._scalars)[len(self._scalars) - len(names) :] / self.moments.count
        return dict(zip(names, means.tolist(), strict=True))


class OmniscientEngine:
    """Has the honest work done by ``engine``, and answers for the liars when it is done."""

    def __init__(self, engine: Engine, clients: SimulatedClients, attack: Attack) -> None:
        self._engine, self._clients, self._attack = engine, clients, attack
        # Client-level privacy, which encodes otherwise, is refused with liars who know the others' updates.
        self._pipeline = cast(LatticePipeline, clients.trainer.pipeline)
        self._seen = Seen(self._pipeline, (0, 0))

    def answers(
        self, requests: Sequence[Request], content: bytes | memoryview
    ) -> Iterator[tuple[Reply, bytes | memoryview]]:
        """The honest replies in the engine's order, then the liars' in the order of the requests."""
        if not requests or requests[0].step != "train":
            yield from self._engine.answers(requests, content)
            return
        numbers = (requests[0].round, requests[0].attempt)
        if self._seen.numbers != numbers:
            self._seen = Seen(self._pipeline, numbers)
        lying = [request for request in requests if request.client in self._clients.liars]
        honest = [request for request in requests if request.client not in self._clients.liars]
        for reply, answer in self._engine.answers(honest, content):
            if reply.status == "done":
                self._seen.add(self._pipeline.from_bytes(answer))
            yield reply, answer
        if not self._seen.moments.count:
            # Nothing to go by: they do as they are asked.
            yield from self._engine.answers(lying, content)
        elif lying:
            yield from self._lies(lying)

    def close(self) -> None:
        """Close the engine."""
        self._engine.close()

    def _lies(self, requests: Sequence[Request]) -> Iterator[tuple[Reply, bytes]]:
        self._seen.liars += len(requests)
        liars, honest = self._seen.liars, self._seen.moments
        vector, sums = lie_from(self._attack, honest, clients=honest.count + liars, liars=liars), self._seen.sums()
        for request in requests:
            liar = self._clients.client(request.client)
            weight = float(liar.plan.public_size if isinstance(liar.plan, ExamplePlan) else len(liar.data))
            update = LocalUpdate({"model": vector}, weight=weight, sums=sums)
            answer = Answer(self._pipeline.encode(update).to_bytes())
            yield success(request, answer, seconds=0.0), answer.content
