"""The optimiser steps of many clients' local training: every step is one tensor program over all of them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from leptonic_client.data import gathered
from leptonic_client.steps import Precision
from leptonic_client.training import LocalTrainer
from leptonic_simulations.batched.schedule import Schedule
from leptonic_simulations.batched.stack import Forward, Stack, StackCorrector
from leptonic_simulations.batched.trajectory import Trajectory

__all__ = ["plain_steps"]


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
            batch, target = gathered(features, chosen), gathered(labels, chosen)
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
