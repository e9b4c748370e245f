"""Local SGD of fully connected networks without ever forming a client's weights.

All clients of a round start from the same weights W0, and what SGD adds to a layer's weights is a sum of outer
products of its inputs and output gradients. With A the inputs and G the gradients of the steps so far,

    W_t = alpha_t W0 + beta_t offset + sum_s gamma_ts G_s^T A_s,

where momentum, weight decay and the algorithm's proximal term only change the scalars. So every product with
W_t is one product with W0, which all clients share, and products with as many vectors as there were examples:

    A_t W_t^T = alpha_t A_t W0^T + beta_t A_t offset^T + sum_s gamma_ts (A_t A_s^T) G_s.

For a few small steps, as in most simulations of many clients, this reads and writes the weights once instead of
five times per step. The last sum may also be formed step by step (:mod:`leptonic_simulations.batched.past`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from leptonic.experiment import Training
from leptonic.models.logistic import Logistic
from leptonic.models.mlp import Mlp
from leptonic.tasks import DerivedTask, Task
from leptonic_simulations.batched.past import Kept, Past, Summed

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
    past: what the steps so far have added. known: :meth:`products` of all examples, where they are the layer's inputs.
    inputs, gradient: of the present step.
    """

    weight: Tensor
    bias: Tensor
    offset: tuple[Tensor, Tensor] | None
    past: Past
    known: list[Tensor] | None = None
    inputs: Tensor = field(default_factory=Tensor)
    gradient: Tensor = field(default_factory=Tensor)

    def products(self, inputs: Tensor) -> list[Tensor]:
        """What W0, and what the offset if there is one, make of inputs (k, n, inputs)."""
        made: list[Tensor] = [F.linear(inputs, self.weight, self.bias)]
        if self.offset is not None:
            weight, bias = (part[: len(inputs)] for part in self.offset)
            made.append(inputs @ weight.mT + bias[:, None])
        return made

    def forward(self, inputs: Tensor, at: slice, now: NDArray[np.float64], gamma: Tensor) -> Tensor:
        """What the present weights make of a step's inputs. now: coefficients of W0 and the offset in them."""
        self.inputs = inputs
        if self.known is None:
            output, *offset = self.products(inputs)
        else:
            output, *offset = (part[: inputs.shape[0], at] for part in self.known)
        if now[0] != 1.0:
            output = output * now[0]
        if offset:
            output = output + now[1] * offset[0]
        return self.past.forward(output, inputs, at, gamma)

    def backward(self, gradient: Tensor, at: slice, now: NDArray[np.float64], gamma: Tensor) -> Tensor:
        """The gradient (k, n, inputs) of the step's inputs."""
        below: Tensor = (gradient @ self.weight) * now[0]
        if self.offset is not None:
            below = below + now[1] * (gradient @ self.offset[0][: len(gradient)])
        return self.past.backward(below, gradient, at, gamma)


class SpanTrainer:
    """Trains one group of clients; made for it, used once.

    table: of :func:`coefficients`, for as many steps as the client with the most takes.
    """

    def __init__(
        self,
        start: Tensor,
        shapes: Sequence[nn.Linear],
        features: Tensor,
        labels: Tensor,
        offsets: Tensor | None,
        *,
        table: NDArray[np.float64],
        clip_norm: float | None,
        task: Task,
    ) -> None:
        """start: (d,). features: (k, R, *shape), labels (steps, k, batch) of all R visits. offsets: (k, d)."""
        self._labels, self._task, self._clip_norm = labels, task, clip_norm
        self._derived = task if isinstance(task, DerivedTask) else None
        self._table, self._batch = table, labels.shape[2]
        self._gammas = torch.from_numpy(table[:, 2:]).repeat_interleave(self._batch, dim=1).to(features)
        self._features = features.flatten(2)
        clients = features.shape[0]
        self._layers: list[Layer] = []
        at = 0
        for module in shapes:
            size, (rows, columns) = module.weight.numel(), module.weight.shape
            cut = (slice(at, at + size), slice(at + size, at + size + rows))
            of = None
            if offsets is not None:
                of = offsets[:, cut[0]].reshape(clients, rows, columns), offsets[:, cut[1]]
            past = self._past(rows, columns)
            self._layers.append(Layer(start[cut[0]].view(rows, columns), start[cut[1]], of, past))
            at += size + rows
        self._layers[0].known = self._layers[0].products(self._features)
        self._logits = features.new_zeros(*labels.shape, self._layers[-1].bias.shape[0])

    def _past(self, outputs: int, columns: int) -> Past:
        """The cheaper form of the next layer's past."""
        clients, visits, _ = self._features.shape
        steps, gamma = len(self._table) - 1, float(self._table[-1, 2])
        constant = (self._table[1:, 2:] == np.tril(np.full((steps, steps), gamma))).all()
        zeros = self._features.new_zeros
        if constant and self._clip_norm is None and 2 * outputs < visits:
            return Summed(zeros(clients, outputs, columns), zeros(clients, outputs), gamma)
        first = not self._layers
        inputs = self._features if first else zeros(clients, visits, columns)
        return Kept(inputs, zeros(clients, visits, outputs), known=first)

    def train(self, phases: Sequence[tuple[range, int]], weights: Tensor) -> None:
        """All steps. weights: (steps, k, batch), of each visit in its step's loss."""
        for steps, clients in phases:
            for step in steps:
                now, gamma = self._table[step], self._gammas[step]
                at = slice(step * self._batch, (step + 1) * self._batch)
                output = self._features[:clients, at]
                for index, layer in enumerate(self._layers):
                    output = layer.forward(F.relu(output) if index else output, at, now, gamma)
                self._logits[step, :clients] = output
                gradient = self._loss_gradient(output, self._labels[step, :clients], weights[step, :clients])
                for index, layer in reversed(list(enumerate(self._layers))):
                    layer.gradient = gradient
                    if index:
                        gradient = layer.backward(gradient, at, now, gamma) * (layer.inputs > 0)
                if self._clip_norm is not None:
                    self._clip(self._clip_norm)
                for layer in self._layers:
                    layer.past.take(layer.inputs, layer.gradient, at)

    def deltas(self, steps: Sequence[int]) -> Tensor:
        """How far each client's weights have moved after its own number of steps, (k, d)."""
        ends = torch.from_numpy(self._table[list(steps)]).to(self._logits)
        gammas = self._gammas[list(steps)]
        shrinks, parts = bool((self._table[:, 0] != 1.0).any()), list[Tensor]()
        for layer in self._layers:
            weight, bias = layer.past.change(gammas)
            if shrinks:
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

    def _clip(self, norm: float) -> None:
        """Scale the step's gradients of each client to at most this norm, which their products give."""
        squares = torch.zeros(len(self._layers[0].gradient), dtype=torch.float64, device=self._logits.device)
        for layer in self._layers:
            own = layer.inputs @ layer.inputs.mT + 1.0
            squares += (own * (layer.gradient @ layer.gradient.mT)).sum(dim=(1, 2))
        factors = (norm / (squares.clamp(min=0.0).sqrt() + 1e-6)).clamp(max=1.0).float()[:, None, None]
        for layer in self._layers:
            layer.gradient = layer.gradient * factors
