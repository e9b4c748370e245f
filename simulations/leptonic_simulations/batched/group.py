"""Local training of a group of clients at once: from their works to their updates."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from leptonic.algorithms import Correction
from leptonic.errors import DataError, LeptonicError
from leptonic.update import LocalUpdate
from leptonic_client.data import steps_of
from leptonic_client.steps import diverged
from leptonic_client.training import LocalTrainer, LocalWork
from leptonic_simulations.batched.schedule import Schedule, schedule
from leptonic_simulations.batched.span import LARGEST_SPAN, SpanTrainer, coefficients, fully_connected
from leptonic_simulations.batched.stack import Forward, Pieces, Stack, StackCorrector
from leptonic_simulations.batched.steps import plain_steps

__all__ = ["GroupTrainer", "Outcome"]

Outcome = LocalUpdate | LeptonicError
Trained = tuple[NDArray[np.float32], Tensor]
"""Deltas (k, d) and metric sums (metrics, k) float64."""


class GroupTrainer:
    """Trains clients whose rows are of these shared examples."""

    def __init__(self, trainer: LocalTrainer, features: Tensor, labels: Tensor) -> None:
        self._trainer = trainer
        self._features, self._labels = features.to(trainer.device), labels.to(trainer.device)
        self._forward, self._pieces = Forward(trainer.model), Pieces.of(trainer.model)
        self._layers = fully_connected(trainer.model, trainer.experiment.training)

    def train(self, works: Sequence[LocalWork]) -> list[Outcome]:
        """The update of each work, or the error that this client alone ends with."""
        outcomes: dict[int, Outcome] = {
            work.client: DataError(f"client {work.client} has no training examples")
            for work in works
            if not len(work.data)
        }
        training = self._trainer.experiment.training
        able = [work for work in works if len(work.data)]
        able.sort(key=lambda work: -steps_of(training, len(work.data)))
        if able:
            outcomes |= zip((work.client for work in able), self._together(able), strict=True)
        return [outcomes[work.client] for work in works]

    def _together(self, works: Sequence[LocalWork]) -> list[Outcome]:
        trainer = self._trainer
        trainer.model.train()
        corrections = [trainer.algorithm.correction(work.sent, work.state) for work in works]
        plan = schedule(trainer, works)
        few = plan.rows.shape[0] * plan.rows.shape[2] <= LARGEST_SPAN
        train = self._in_span if self._layers and few else self._stacked
        deltas, sums = train(works, plan, corrections)
        visited = (plan.weights > 0).sum(dim=(0, 2)).tolist()
        finite = torch.isfinite(sums).all(dim=0).tolist()
        names = trainer.task.metric_names
        outcomes: list[Outcome] = []
        for index, (work, delta) in enumerate(zip(works, deltas, strict=True)):
            if not finite[index]:
                outcomes.append(diverged())
                continue
            metrics = dict(zip(names, sums[:, index].tolist(), strict=True)) | {"examples": float(visited[index])}
            outcomes.append(trainer.update_of(work, delta, steps=plan.steps[index], metrics=metrics))
        return outcomes

    def _stacked(self, works: Sequence[LocalWork], plan: Schedule, corrections: Sequence[Correction]) -> Trained:
        stack = Stack(works[0].start, self._pieces, len(works), self._trainer.device)
        sums = plain_steps(
            stack,
            plan,
            trainer=self._trainer,
            forward=self._forward,
            features=self._features,
            labels=self._labels,
            correct=StackCorrector(stack, corrections[0].proximal, stacked_offsets(corrections, self._trainer.device)),
            learning_rate=self._trainer.rate(works[0]),
        )
        return stack.deltas(), sums

    def _in_span(self, works: Sequence[LocalWork], plan: Schedule, corrections: Sequence[Correction]) -> Trained:
        trainer, training = self._trainer, self._trainer.experiment.training
        rows, weights = (part.transpose(0, 1).flatten(1).to(trainer.device) for part in (plan.rows, plan.weights))
        offsets = stacked_offsets(corrections, trainer.device)
        start = torch.from_numpy(np.array(works[0].start)).to(trainer.device)
        table = coefficients(
            training, rate=trainer.rate(works[0]), proximal=corrections[0].proximal, steps=plan.steps[0]
        )
        with torch.no_grad():
            span = SpanTrainer(start, self._layers or [], self._features[rows], self._labels[rows], offsets)
            span.train(list(plan.phases()), weights, table, task=trainer.task, clip_norm=training.gradient_clip_norm)
            deltas = span.deltas(table, plan.steps).cpu().numpy()
            return deltas, span.sums(weights > 0, trainer.task)


def stacked_offsets(corrections: Sequence[Correction], device: torch.device) -> Tensor | None:
    """The offsets of all clients, (k, d), or None if no client has one; zero for a client that kept nothing yet."""
    some = next((correction.offset for correction in corrections if correction.offset is not None), None)
    if some is None:
        return None
    none = np.zeros_like(some)
    offsets = [none if correction.offset is None else correction.offset for correction in corrections]
    return torch.from_numpy(np.stack(offsets)).to(device)
