"""The batched engine: the clients of a step in groups, each group one tensor program.

What the clients do around training (reserving a release, loading and keeping state, encoding) is done by the
same :class:`Participant` as everywhere; only the arithmetic of local training is shared, and the encoding where
nobody looks at single contributions. Sums are made in another order than by one client alone, so results agree
with the sequential engine's to rounding.
"""

import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from leptonic.errors import LeptonicError
from leptonic.experiment import ExamplePrivacy
from leptonic.update import LocalUpdate
from leptonic.wire import Reply, Request
from leptonic_client.participant import failure, success
from leptonic_client.training import LocalWork
from leptonic_simulations.batched.group import GroupTrainer, Outcome
from leptonic_simulations.batched.threads import dealt, side_by_side
from leptonic_simulations.clients import SimulatedClients
from leptonic_simulations.sums import with_sum

__all__ = ["BatchedEngine"]

GROUP_VALUES = 8 * 2**20
"""Parameters of clients that are trained in lockstep: what a step reads and writes should stay near the processor."""
GRADIENT_VALUES = 64 * 2**20
"""Values of a group's gradients of single examples, under privacy: 256 MB."""
MOST_CLIENTS = 64
PAIRED_VALUES, SHARED_VALUES = 2**17, 2**20
"""Parameters of a group from which on two threads, and from which on all, share its work.

Threads of a small program wait for each other longer than they work; on a busy machine ten times as long.
"""

Done = tuple[Request, LocalWork, LocalUpdate]


class BatchedEngine:
    """Trains the cohort group by group; other steps one client after another.

    threads: of the tensor program, which may be more than the experiment's, since bits differ anyway.
    sums: whether a group's contributions are encoded as one sum, where nobody looks at a single one.
    """

    def __init__(self, clients: SimulatedClients, *, threads: int, sums: bool = False) -> None:
        self._clients, self._threads, self._sums = clients, threads, sums
        self._group = GroupTrainer(clients.trainer, clients.data.features, clients.data.labels)
        size, experiment = clients.trainer.layout.size, clients.experiment
        fit = GROUP_VALUES // size * (threads if self._group.in_parts else 1)
        if isinstance(experiment.privacy, ExamplePrivacy):
            together = -(-experiment.training.batch_size // experiment.training.accumulation_steps)
            fit = min(fit, GRADIENT_VALUES // (size * together))
        self._most = max(1, min(MOST_CLIENTS, fit))

    def answers(self, requests: Sequence[Request], content: bytes | memoryview) -> Iterator[tuple[Reply, bytes]]:
        """The replies of each group: failures, then the others in the order of the requests."""
        if not requests or requests[0].step != "train":
            for request in requests:
                yield self._clients.respond(request, content)
            return
        groups = -(-len(requests) // self._most)
        for group in np.array_split(np.arange(len(requests)), groups):
            yield from self._train([requests[at] for at in group], content)

    def close(self) -> None:
        """There is nothing to close."""

    def _train(self, requests: Sequence[Request], content: bytes | memoryview) -> Iterator[tuple[Reply, bytes]]:
        started = time.perf_counter()
        works: dict[int, LocalWork] = {}
        outcomes: dict[int, Outcome] = {}
        self._clients.expect([request.client for request in requests])
        for request in requests:
            try:
                client, session = self._clients.client(request.client), self._clients.session(request)
                works[request.client] = client.prepare(request, content, session)
            except LeptonicError as error:
                outcomes[request.client] = error
        outcomes |= zip(works, self._trained(list(works.values())), strict=True)
        share = (time.perf_counter() - started) / len(requests)
        done: list[Done] = []
        for request in requests:
            outcome = outcomes[request.client]
            if isinstance(outcome, LocalUpdate):
                done.append((request, works[request.client], outcome))
            else:
                yield failure(request, outcome, str(outcome)), b""
        if self._sums and done and (together := self._summed(done, share)):
            yield from together
        else:
            yield from (self._alone(*each, share) for each in done)

    def _trained(self, works: list[LocalWork]) -> list[Outcome]:
        before, values = torch.get_num_threads(), len(works) * self._clients.trainer.layout.size
        worth = 1 if values < PAIRED_VALUES else 2 if values < SHARED_VALUES else self._threads
        torch.set_num_threads(min(worth, self._threads))
        try:
            return self._group.train(works)
        finally:
            torch.set_num_threads(before)

    def _summed(self, done: Sequence[Done], seconds: float) -> list[tuple[Reply, bytes]] | None:
        """Replies of which the last carries the sum of all; None if one of them must be told alone what is wrong."""
        try:
            total = self._encoded([update for _, _, update in done])
            answers = [
                self._clients.client(request.client).settle(request, work, update, total)
                for request, work, update in done
            ]
        except LeptonicError:
            return None
        replies = [success(each[0], answer, seconds=seconds) for each, answer in zip(done, answers, strict=True)]
        return list(with_sum(replies, total))

    def _encoded(self, updates: Sequence[LocalUpdate]) -> bytes:
        """The sum of these updates, made in parts where there is enough for several threads."""
        pipeline, values = self._clients.trainer.pipeline, len(updates) * self._clients.trainer.layout.size
        parts = dealt(len(updates), max(1, min(self._threads, values // SHARED_VALUES)))
        total, *others = side_by_side(lambda part: pipeline.encode_sum([updates[at] for at in part]), parts)
        for other in others:
            total.add(other)
        return total.to_bytes()

    def _alone(self, request: Request, work: LocalWork, update: LocalUpdate, seconds: float) -> tuple[Reply, bytes]:
        try:
            answer = self._clients.client(request.client).contribute(request, work, update)
        except LeptonicError as error:
            return failure(request, error, str(error)), b""
        return success(request, answer, seconds=seconds), answer.content
