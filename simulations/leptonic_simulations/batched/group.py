"""Local training of a group of clients at once: from their works to their updates."""

from collections.abc import Sequence

import torch
from torch import Tensor

from leptonic.errors import DataError, LeptonicError
from leptonic.update import LocalUpdate
from leptonic_client.data import steps_of
from leptonic_client.steps import diverged
from leptonic_client.training import LocalTrainer, LocalWork
from leptonic_simulations.batched.stack import Forward, Pieces, Stack, StackCorrector
from leptonic_simulations.batched.steps import plain_steps, schedule

__all__ = ["GroupTrainer", "Outcome"]

Outcome = LocalUpdate | LeptonicError


class GroupTrainer:
    """Trains clients whose rows are of these shared examples."""

    def __init__(self, trainer: LocalTrainer, features: Tensor, labels: Tensor) -> None:
        self._trainer = trainer
        self._features, self._labels = features.to(trainer.device), labels.to(trainer.device)
        self._forward, self._pieces = Forward(trainer.model), Pieces.of(trainer.model)

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
        stack = Stack(works[0].start, self._pieces, len(works), trainer.device)
        corrections = [trainer.algorithm.correction(work.sent, work.state) for work in works]
        plan = schedule(trainer, works)
        sums = plain_steps(
            stack,
            plan,
            trainer=trainer,
            forward=self._forward,
            features=self._features,
            labels=self._labels,
            correct=StackCorrector(stack, corrections),
            learning_rate=trainer.rate(works[0]),
        )
        visited = (plan.weights > 0).sum(dim=(0, 2)).tolist()
        finite = torch.isfinite(sums).all(dim=0).tolist()
        names = trainer.task.metric_names
        outcomes: list[Outcome] = []
        for index, (work, delta) in enumerate(zip(works, stack.deltas(), strict=True)):
            if not finite[index]:
                outcomes.append(diverged())
                continue
            metrics = dict(zip(names, sums[:, index].tolist(), strict=True)) | {"examples": float(visited[index])}
            outcomes.append(trainer.update_of(work, delta, steps=plan.steps[index], metrics=metrics))
        return outcomes
