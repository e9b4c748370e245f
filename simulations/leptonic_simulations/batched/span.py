"""Local SGD of fully connected networks without ever forming a client's weights.

All clients of a round start from the same weights W0, and what SGD adds to a layer's weights is a sum of outer
products of its inputs and output gradients. With A the inputs and G the gradients of the steps so far,

    W_t = alpha_t W0 + beta_t offset + sum_s gamma_ts G_s^T A_s,

where momentum, weight decay and the algorithm's proximal term only change the scalars. So every product with
W_t is one product with W0, which all clients share, and products with as many vectors as there were examples:

    A_t W_t^T = alpha_t A_t W0^T + beta_t A_t offset^T + sum_s gamma_ts (A_t A_s^T) G_s.

A bias is a weight whose input is always 1, which adds 1 to each A_t A_s^T. For a few small steps, as in most
simulations of many clients, this reads and writes the weights once instead of five times per step.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from leptonic.experiment import Training
from leptonic.models.logistic import Logistic
from leptonic.models.mlp import Mlp
from leptonic.tasks import DerivedTask, Task

__all__ = ["LARGEST_SPAN", "SpanTrainer", "fully_connected"]

LARGEST_SPAN = 128
"""Examples that a client visits in a round, up to which this pays."""


def fully_connected(model: nn.Module, training: Training) -> list[nn.Linear] | None:
    """The layers of a network of Linear layers with ReLU between them, if SGD in float32 trains all of it."""
    if training.optimizer != "sgd" or training.precision != "float32":
        return None
    if type(model) not in (Logistic, Mlp) or not all(parameter.requires_grad for parameter in model.parameters()):
        return None
    return [module for module in model.modules() if isinstance(module, nn.Linear)]


def coefficients(training: Training, *, rate: float, proximal: float, steps: int) -> NDArray[np.float64]:
    """W_t for t = 0 .. steps as combinations of (W0, offset, gradient of step 0, 1, ...): (steps + 1, steps + 2)."""
    weights = np.zeros(steps + 2)
    weights[0] = 1.0
    start, buffer, table = weights.copy(), np.zeros(steps + 2), [weights]
    for step in range(steps):
        gradient = (training.weight_decay + proximal) * weights - proximal * start
        gradient[1] += 1.0
        gradient[2 + step] += 1.0
        buffer = training.momentum * buffer + gradient
        weights = weights - rate * buffer
        table.append(weights)
    return np.array(table)


@dataclass
class Layer:
    """One layer of all clients, over the steps of a round.

    weight (outputs, inputs), bias (outputs,): W0. offset: (k, outputs, inputs) and (k, outputs), or None.
    inputs (k, R, inputs), gradients (k, R, outputs): of every example of every step, zero until it comes.
    known: :meth:`products` of all inputs, where those are the examples themselves.
    """

    weight: Tensor
    bias: Tensor
    offset: tuple[Tensor, Tensor] | None
    inputs: Tensor
    gradients: Tensor
    known: list[Tensor] | None = None

    def products(self, inputs: Tensor) -> list[Tensor]:
        """What W0, and what the offset if there is one, make of inputs (k, n, inputs)."""
        made: list[Tensor] = [F.linear(inputs, self.weight, self.bias)]
        if self.offset is not None:
            weight, bias = (part[: len(inputs)] for part in self.offset)
            made.append(inputs @ weight.mT + bias[:, None])
        return made

    def base(self, inputs: Tensor, at: slice, now: NDArray[np.float64]) -> Tensor:
        """What the present weights make of a step's inputs but for its gradients. now: their coefficients."""
        if self.known is None:
            output, *offset = self.products(inputs)
        else:
            output, *offset = (part[: inputs.shape[0], at] for part in self.known)
        if now[0] != 1.0:
            output = output * now[0]
        return output + now[1] * offset[0] if offset else output

    def back(self, gradient: Tensor, past: Tensor, now: NDArray[np.float64], gamma: Tensor) -> Tensor:
        """The gradient (k, n, inputs) of the layer's inputs. past: output gradients of earlier examples."""
        clients, before = len(gradient), past.shape[1]
        result: Tensor = (gradient @ self.weight) * now[0]
        if self.offset is not None:
            result = result + now[1] * (gradient @ self.offset[0][:clients])
        if before:
            result = torch.baddbmm(result, (gradient @ past.mT) * gamma[:before], self.inputs[:clients, :before])
        return result


class SpanTrainer:
    """Trains one group of clients; made for it, used once."""

    def __init__(
        self,
        start: Tensor,
        shapes: Sequence[nn.Linear],
        features: Tensor,
        labels: Tensor,
        offsets: Tensor | None,
        *,
        task: Task,
    ) -> None:
        """start: (d,). features: (k, R, *shape), labels (steps, k, batch) of all R visits. offsets: (k, d)."""
        self._labels, self._task = labels, task
        self._derived = task if isinstance(task, DerivedTask) else None
        clients, visits = features.shape[:2]
        self._layers: list[Layer] = []
        at = 0
        for module in shapes:
            size, (rows, columns) = module.weight.numel(), module.weight.shape
            cut = (slice(at, at + size), slice(at + size, at + size + rows))
            of = None
            if offsets is not None:
                of = offsets[:, cut[0]].reshape(clients, rows, columns), offsets[:, cut[1]]
            inputs = features.flatten(2) if not self._layers else features.new_zeros(clients, visits, columns)
            gradients = features.new_zeros(clients, visits, rows)
            self._layers.append(Layer(start[cut[0]].view(rows, columns), start[cut[1]], of, inputs, gradients))
            at += size + rows
        self._layers[0].known = self._layers[0].products(self._layers[0].inputs)
        self._logits = features.new_zeros(*labels.shape, self._layers[-1].bias.shape[0])

    def train(
        self,
        phases: Sequence[tuple[range, int]],
        weights: Tensor,
        table: NDArray[np.float64],
        *,
        clip_norm: float | None,
    ) -> None:
        """All steps. weights: (steps, k, batch), of each visit in its step's loss. table: of :func:`coefficients`."""
        batch = weights.shape[2]
        gammas = torch.from_numpy(table[:, 2:]).repeat_interleave(batch, dim=1).to(weights)
        for steps, clients in phases:
            for step in steps:
                now = slice(step * batch, (step + 1) * batch)
                output = self._forward(clients, now, table[step], gammas[step])
                self._logits[step, :clients] = output
                gradient = self._loss_gradient(output, self._labels[step, :clients], weights[step, :clients])
                self._backward(clients, now, gradient, table[step], gammas[step])
                if clip_norm is not None:
                    self._clip(clients, now, clip_norm)

    def deltas(self, table: NDArray[np.float64], steps: Sequence[int]) -> Tensor:
        """How far each client's weights have moved after its own number of steps, (k, d)."""
        batch = self._labels.shape[2]
        ends = torch.from_numpy(table[list(steps)]).to(self._logits)
        gammas = ends[:, 2:].repeat_interleave(batch, dim=1)[:, :, None]
        parts = []
        for layer in self._layers:
            scaled = layer.gradients * gammas
            weight, bias = scaled.mT @ layer.inputs, scaled.sum(dim=1)
            if (table[:, 0] != 1.0).any():
                weight += (ends[:, 0, None, None] - 1.0) * layer.weight
                bias += (ends[:, 0, None] - 1.0) * layer.bias
            if layer.offset is not None:
                weight += ends[:, 1, None, None] * layer.offset[0]
                bias += ends[:, 1, None] * layer.offset[1]
            parts += [weight.flatten(1), bias]
        return torch.cat(parts, dim=1)

    def sums(self, visited: Tensor) -> Tensor:
        """Metric sums of each client over its visits, (metrics, k) float64. visited: (steps, k, batch)."""
        measures = self._task.measures(self._logits.flatten(0, 2), self._labels.flatten()).view(-1, *self._labels.shape)
        return torch.where(visited, measures, 0.0).to("cpu", torch.float64).sum(dim=(1, 3))

    def _forward(self, clients: int, now: slice, table: NDArray[np.float64], gamma: Tensor) -> Tensor:
        output = self._layers[0].inputs[:clients, now]
        for index, layer in enumerate(self._layers):
            inputs = F.relu(output) if index else output
            if index:
                layer.inputs[:clients, now] = inputs
            output = layer.base(inputs, now, table)
            if now.start:
                before = slice(0, now.start)
                products = inputs @ layer.inputs[:clients, before].mT + 1.0
                output = torch.baddbmm(output, products * gamma[before], layer.gradients[:clients, before])
        return output

    def _loss_gradient(self, output: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        """Of a step's weighted losses with respect to its output (k, batch, classes)."""
        logits, labels = output.flatten(0, 1), labels.flatten()
        if self._derived is not None:
            return self._derived.loss_gradients(logits, labels).view_as(output).mul_(weights[:, :, None])
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(
                self._task.losses(logits.requires_grad_(), labels) @ weights.flatten(), logits
            )
        return gradient.view_as(output)

    def _backward(self, clients: int, now: slice, gradient: Tensor, table: NDArray[np.float64], gamma: Tensor) -> None:
        for index, layer in reversed(list(enumerate(self._layers))):
            layer.gradients[:clients, now] = gradient
            if index:
                below = layer.back(gradient, layer.gradients[:clients, : now.start], table, gamma)
                gradient = below * (layer.inputs[:clients, now] > 0)

    def _clip(self, clients: int, now: slice, norm: float) -> None:
        """Scale the step's gradients of each client to at most this norm, which their products give."""
        squares = torch.zeros(clients, dtype=torch.float64, device=self._logits.device)
        for layer in self._layers:
            inputs, gradients = layer.inputs[:clients, now], layer.gradients[:clients, now]
            squares += ((inputs @ inputs.mT + 1.0) * (gradients @ gradients.mT)).sum(dim=(1, 2))
        factors = (norm / (squares.clamp(min=0.0).sqrt() + 1e-6)).clamp(max=1.0).float()[:, None, None]
        for layer in self._layers:
            layer.gradients[:clients, now] *= factors
