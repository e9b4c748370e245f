"""The optimiser steps of many clients' local training: every step is one tensor program over all of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from leptonic.tasks import Task
from leptonic_client.data import passes, steps_of
from leptonic_client.steps import Precision
from leptonic_client.training import LocalTrainer, LocalWork
from leptonic_simulations.batched.stack import Forward, Stack, StackCorrector

__all__ = ["Schedule", "Trajectory", "plain_steps"]

MEASURED = 2**18
"""Outputs that are kept until their metrics are computed together."""


@dataclass(frozen=True)
class Schedule:
    """Which examples each client's steps visit; clients in descending order of their steps.

    rows: (steps, clients, batch) int64; a short batch is filled up with its own first example.
    weights: (steps, clients, batch) float32, one over the batch's examples; 0 for what fills up.
    steps: of each client.
    """

    rows: Tensor
    weights: Tensor
    steps: list[int]

    def phases(self) -> Iterator[tuple[range, int]]:
        """Steps that the same clients train in, and how many clients those are."""
        done, active = 0, len(self.steps)
        while active:
            until = self.steps[active - 1]
            if until > done:
                yield range(done, until), active
            done = until
            while active and self.steps[active - 1] == done:
                active -= 1


def schedule(trainer: LocalTrainer, works: Sequence[LocalWork]) -> Schedule:
    """The batches that each client would visit alone."""
    training = trainer.experiment.training
    steps = [steps_of(training, len(work.data)) for work in works]
    width = min(training.batch_size, max(len(work.data) for work in works))
    rows = np.zeros((steps[0], len(works), width), np.int64)
    weights = np.zeros(rows.shape, np.float32)
    for client, work in enumerate(works):
        own = work.data.rows.numpy()
        step = 0
        for visited in passes(training, len(own), trainer.shuffle(work)):
            full, rest = divmod(len(visited), width)
            rows[step : step + full, client] = own[visited[: full * width]].reshape(full, width)
            weights[step : step + full, client] = 1 / width
            step += full
            if rest:
                # Filled up from within: what is not finite there is not finite for this client anyway.
                rows[step, client] = np.resize(own[visited[full * width :]], width)
                weights[step, client, :rest] = 1 / rest
                step += 1
    return Schedule(torch.from_numpy(rows), torch.from_numpy(weights), steps)


class Trajectory:
    """Sums each client's metrics over the examples as they are visited, many steps at a time."""

    def __init__(self, task: Task, clients: int) -> None:
        self._task = task
        self._kept: list[tuple[Tensor, Tensor, Tensor]] = []
        self._held = 0
        self.sums = torch.zeros(len(task.metric_names), clients, dtype=torch.float64)

    def visit(self, outputs: Tensor, labels: Tensor, visited: Tensor) -> None:
        """outputs: (k, n, classes), labels and visited: (k, n)."""
        if self._kept and self._kept[0][0].shape != outputs.shape:
            self.flush()
        self._kept.append((outputs.detach(), labels, visited))
        self._held += outputs.numel()
        if self._held > MEASURED:
            self.flush()

    def flush(self) -> None:
        """Add what was kept."""
        if not self._kept:
            return
        outputs, labels, visited = (torch.stack(part) for part in zip(*self._kept, strict=True))
        clients = outputs.shape[1]
        measures = self._task.measures(outputs.flatten(0, 2), labels.flatten()).view(-1, *labels.shape)
        summed = (measures * visited).to("cpu", torch.float64).sum(dim=(1, 3))
        self.sums[:, :clients] += summed
        self._kept, self._held = [], 0


def plain_steps(
    stack: Stack,
    plan: Schedule,
    *,
    trainer: LocalTrainer,
    forward: Forward,
    features: Tensor,
    labels: Tensor,
    correct: StackCorrector,
    learning_rate: float,
) -> Tensor:
    """Train the stack without privacy. features, labels: the shared examples, on the trainer's device.

    Returns the metric sums of each client, (metrics, clients) float64.
    """
    settings, device = trainer.experiment.training, trainer.device
    precision = Precision(settings.precision, device)
    rows, weights = plan.rows.to(device), plan.weights.to(device)
    visited = weights > 0
    seen = Trajectory(trainer.task, len(plan.steps))
    for steps, clients in plan.phases():
        optimizer = stack.take(clients, settings, learning_rate)
        for step in steps:
            chosen = rows[step, :clients]
            batch, target = features[chosen], labels[chosen]
            with precision.autocast():
                outputs = forward(stack.parameters, batch)
                losses = trainer.task.losses(outputs.flatten(0, 1), target.flatten())
                loss = (losses.view_as(target) * weights[step, :clients]).sum()
            set_gradients(stack.parameters, loss, correct=correct, clip_norm=settings.gradient_clip_norm)
            optimizer.step()
            seen.visit(outputs, target, visited[step, :clients])
    seen.flush()
    return seen.sums


def set_gradients(
    parameters: Sequence[Tensor], loss: Tensor, *, correct: StackCorrector, clip_norm: float | None
) -> None:
    """Set each parameter's gradient of the loss, clipped and corrected."""
    found = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=correct.corrects)
    # What the loss does not reach has no gradient, so that not even weight decay moves it, unless it is corrected.
    reached = [(parameter, g.contiguous()) for parameter, g in zip(parameters, found, strict=True) if g is not None]
    gradients: Sequence[Tensor] = [gradient for _, gradient in reached]
    if clip_norm is not None:
        gradients = clipped(gradients, clip_norm)
    for (parameter, _), gradient in zip(reached, correct(gradients), strict=True):
        parameter.grad = gradient


def clipped(gradients: Sequence[Tensor], norm: float) -> Sequence[Tensor]:
    """Each client's gradient scaled down to at most this norm, as torch's clip_grad_norm_ does."""
    squares = torch.stack([gradient.flatten(1).square().sum(dim=1) for gradient in gradients]).sum(dim=0)
    factors = (norm / (squares.sqrt() + 1e-6)).clamp(max=1.0)
    return [gradient * factors.view(-1, *[1] * (gradient.ndim - 1)) for gradient in gradients]
