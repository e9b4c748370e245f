"""Local training of a group of clients at once: from their works to their updates."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from leptonic.algorithms import Correction
from leptonic.errors import DataError, LeptonicError, RunError
from leptonic.experiment import ExamplePrivacy, Training
from leptonic.models.layered import Layered
from leptonic.tasks import DerivedTask
from leptonic.update import LocalUpdate, Vector
from leptonic_client.data import gathered, steps_of
from leptonic_client.training import LocalTrainer, LocalWork
from leptonic_simulations.batched.course import Descent, course
from leptonic_simulations.batched.schedule import Schedule, schedule
from leptonic_simulations.batched.span import SpanTrainer, pays, spannable
from leptonic_simulations.batched.stack import Forward, Pieces, Stack, StackCorrector
from leptonic_simulations.batched.steps import plain_steps
from leptonic_simulations.batched.threads import dealt, side_by_side

__all__ = ["GroupTrainer", "Outcome"]

Outcome = LocalUpdate | LeptonicError
Trained = tuple[Sequence[Vector], NDArray[np.float64]]
"""Deltas, k of (d,), and metric sums (metrics, k)."""


class GroupTrainer:
    """Trains clients whose rows are of these shared examples."""

    def __init__(self, trainer: LocalTrainer, features: Tensor, labels: Tensor) -> None:
        self._trainer = trainer
        self._features, self._labels = features.to(trainer.device), labels.to(trainer.device)
        self._forward, self._pieces = Forward(trainer.model), Pieces.of(trainer.model)
        self._layered = spannable(trainer.model, trainer.experiment.training)
        self._derived = trainer.task if isinstance(trainer.task, DerivedTask) else None
        self._checked = False
        self.in_parts = bool(self._layered and self._layered.convolutions)
        """Whether each thread trains clients of its own."""

    def train(self, works: Sequence[LocalWork]) -> list[Outcome]:
        """The update of each work, or the error that this client alone ends with."""
        outcomes: dict[int, Outcome] = {
            work.client: DataError(f"client {work.client} has no training examples")
            for work in works
            if not len(work.data) and work.protection is None
        }
        training = self._trainer.experiment.training
        able = [work for work in works if work.client not in outcomes]
        able.sort(key=lambda work: -_steps(work, training))
        if able:
            outcomes |= zip((work.client for work in able), self._together(able), strict=True)
        return [outcomes[work.client] for work in works]

    def _together(self, works: Sequence[LocalWork]) -> list[Outcome]:
        trainer = self._trainer
        trainer.model.train()
        corrections = [trainer.algorithm.correction(work.sent, work.state) for work in works]
        if isinstance(trainer.experiment.privacy, ExamplePrivacy):
            try:
                self._check_private()
            except LeptonicError as error:
                return [error] * len(works)
            return self._private(works, corrections)
        plan = schedule(trainer, works)
        if self._layered is None or not pays(self._layered, plan.rows.shape[0] * plan.rows.shape[2]):
            deltas, sums = self._stacked(works, plan, corrections)
        elif self.in_parts:
            deltas, sums = self._side_by_side(self._layered, works, plan, corrections)
        else:
            deltas, sums = self._in_span(self._layered, works, plan, corrections)
        visited = (plan.weights.numpy() > 0).sum(axis=(0, 2))
        names = trainer.task.metric_names
        outcomes: list[Outcome] = []
        for index, (work, delta) in enumerate(zip(works, deltas, strict=True)):
            metrics = dict(zip(names, sums[:, index].tolist(), strict=True)) | {"examples": float(visited[index])}
            try:
                outcomes.append(trainer.update_of(work, delta, steps=plan.steps[index], metrics=metrics))
            except RunError as error:
                outcomes.append(error)
        return outcomes

    def _private(self, works: Sequence[LocalWork], corrections: Sequence[Correction]) -> list[Outcome]:
        """No metric leaves DP-SGD, not even whether it diverged: the encoding refuses what is not finite."""
        # Here, since Opacus takes seconds to import.
        from leptonic_simulations.batched.private import PerExample, private_schedule, private_steps

        stack = Stack(works[0].start, self._pieces, len(works), self._trainer.device)
        plan = private_schedule(works)
        private_steps(
            stack,
            plan,
            works=works,
            trainer=self._trainer,
            gradients_of=PerExample(self._forward, self._trainer.task),
            features=self._features,
            labels=self._labels,
            correct=self._corrector(stack, corrections),
        )
        deltas = zip(works, stack.deltas(), plan.steps, strict=True)
        return [self._trainer.update_of(work, delta, steps=steps, metrics={}) for work, delta, steps in deltas]

    def _check_private(self) -> None:
        """Raises PrivacyError for a model or a loss whose gradients are not each of one example, as one alone does."""
        if not self._checked:
            from leptonic.privacy.compatibility import check_model, made_up

            probe = made_up(self._trainer.spec.input_shape, self._features.dtype)
            check_model(self._trainer.model, probe.to(self._trainer.device))
            self._trainer.check_losses()
            self._checked = True

    def _corrector(self, stack: Stack, corrections: Sequence[Correction]) -> StackCorrector:
        return StackCorrector(stack, corrections[0].proximal, stacked_offsets(corrections, self._trainer.device))

    def _stacked(self, works: Sequence[LocalWork], plan: Schedule, corrections: Sequence[Correction]) -> Trained:
        stack = Stack(works[0].start, self._pieces, len(works), self._trainer.device)
        sums = plain_steps(
            stack,
            plan,
            trainer=self._trainer,
            forward=self._forward,
            features=self._features,
            labels=self._labels,
            correct=self._corrector(stack, corrections),
            learning_rate=self._trainer.rate(works[0]),
        )
        return list(stack.deltas()), sums.numpy()

    def _side_by_side(
        self, model: Layered, works: Sequence[LocalWork], plan: Schedule, corrections: Sequence[Correction]
    ) -> Trained:
        """A part of the clients for each thread."""
        parts = dealt(len(works), torch.get_num_threads())
        trained = side_by_side(
            lambda part: self._in_span(
                model, [works[at] for at in part], plan.of(part), [corrections[at] for at in part]
            ),
            parts,
        )
        order = np.argsort(np.concatenate(parts))
        deltas = [delta for own, _ in trained for delta in own]
        return [deltas[at] for at in order], np.concatenate([sums for _, sums in trained], axis=1)[:, order]

    def _in_span(
        self, model: Layered, works: Sequence[LocalWork], plan: Schedule, corrections: Sequence[Correction]
    ) -> Trained:
        trainer, training = self._trainer, self._trainer.experiment.training
        rows, weights = plan.rows.to(trainer.device), plan.weights.to(trainer.device)
        offsets = stacked_offsets(corrections, trainer.device)
        start = torch.from_numpy(np.array(works[0].start)).to(trainer.device)
        steps, _, batch = rows.shape
        descent = Descent(
            rate=trainer.rate(works[0]),
            momentum=training.momentum,
            decay=training.weight_decay,
            proximal=corrections[0].proximal,
        )
        with torch.no_grad():
            span = SpanTrainer(
                start,
                model,
                gathered(self._features, rows.transpose(0, 1).flatten(1)),
                gathered(self._labels, rows),
                offsets,
                course=course(descent, steps=steps, batch=batch, device=trainer.device),
                clip_norm=training.gradient_clip_norm,
                task=trainer.task,
                derived=self._derived,
            )
            span.train(list(plan.phases()), weights)
            deltas = span.deltas(plan.steps).cpu().numpy()
            return list(deltas), span.sums(weights > 0).numpy()


def _steps(work: LocalWork, training: Training) -> int:
    return work.protection.plan.steps_per_round if work.protection else steps_of(training, len(work.data))


def stacked_offsets(corrections: Sequence[Correction], device: torch.device) -> Tensor | None:
    """The offsets of all clients, (k, d), or None if no client has one; zero for a client that kept nothing yet."""
    some = next((correction.offset for correction in corrections if correction.offset is not None), None)
    if some is None:
        return None
    none = np.zeros_like(some)
    offsets = [none if correction.offset is None else correction.offset for correction in corrections]
    return torch.from_numpy(np.stack(offsets)).to(device)
