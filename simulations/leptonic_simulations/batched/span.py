"""Local SGD of fully connected networks without ever forming a client's weights.

All clients of a round start from the same weights W0, and what SGD adds to a layer's weights is a sum of outer
products of its inputs and output gradients. With A the inputs and G the gradients of the steps so far,

    W_t = alpha_t W0 + beta_t offset + sum_s gamma_ts G_s^T A_s,

where momentum, weight decay and the algorithm's proximal term only change the scalars. So every product with
W_t is one product with W0, which all clients share, and products with as many vectors as there were examples:

    A_t W_t^T = alpha_t A_t W0^T + beta_t A_t offset^T + sum_s gamma_ts (A_t A_s^T) G_s.

For a few small steps, as in most simulations of many clients, this reads and writes the weights once instead of
five times per step. The last sum may also be formed step by step (:mod:`leptonic_simulations.batched.past`). Below the
first layer there may be convolutions, of which each client has its own (:mod:`leptonic_simulations.batched.trunk`).
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from leptonic.experiment import Training
from leptonic.models.layered import Layered
from leptonic.tasks import DerivedTask, Task
from leptonic_simulations.batched.course import Course
from leptonic_simulations.batched.layer import Layer, cut
from leptonic_simulations.batched.past import Kept, Moved, Past, Summed
from leptonic_simulations.batched.trajectory import measured
from leptonic_simulations.batched.trunk import Trunk, values_of, worthy

__all__ = ["SpanTrainer", "pays", "spannable"]

LARGEST_SPAN, LARGEST_SPAN_OVER_TRUNK = 128, 1024
"""Examples that a client visits in a round, up to which this pays, without and with convolutions."""


def spannable(model: nn.Module, training: Training) -> Layered | None:
    """The model, if it is of plain layers and SGD in float32 trains all of it."""
    if training.optimizer != "sgd" or training.precision != "float32":
        return None
    if not isinstance(model, Layered) or type(model).forward is not Layered.forward:
        return None
    layers: list[nn.Conv2d | nn.Linear] = [*model.convolutions, *model.linears]
    stated = [id(part) for layer in layers for part in (layer.weight, layer.bias)]
    trained = [id(parameter) for parameter in model.parameters() if parameter.requires_grad]
    plain = all(type(layer) in (nn.Conv2d, nn.Linear) for layer in layers)
    return model if plain and stated == trained and worthy(model.convolutions) else None


def pays(model: Layered, visits: int) -> bool:
    """Whether this pays for clients that visit so many examples in a round."""
    return visits <= (LARGEST_SPAN_OVER_TRUNK if model.convolutions else LARGEST_SPAN)


class SpanTrainer:
    """Trains one group of clients; made for it, used once. derived: the task, if it knows its losses' gradients."""

    def __init__(
        self,
        start: Tensor,
        model: Layered,
        features: Tensor,
        labels: Tensor,
        offsets: Tensor | None,
        *,
        course: Course,
        clip_norm: float | None,
        task: Task,
        derived: DerivedTask | None,
    ) -> None:
        """start: (d,). features: (k, R, *shape), labels (steps, k, batch) of all R visits. offsets: (k, d)."""
        self._features, self._labels = features, labels
        self._course, self._clip_norm = course, clip_norm
        self._task, self._derived = task, derived
        self._targets = labels if derived is None else derived.targets(labels)
        self._start, self._trunk, self._layers = start, None, list[Layer]()
        at = values_of(model.convolutions)
        if model.convolutions:
            own = None if offsets is None else offsets[:, :at]
            self._trunk = Trunk(start[:at], model.convolutions, features, own, descent=course.descent)
        for module in model.linears:
            (weight,), (bias,) = cut(start[None], at, module.weight.shape)
            offset = None if offsets is None else cut(offsets, at, module.weight.shape)
            self._layers.append(Layer(weight, bias, at, offset, self._past(*weight.shape), course))
            at += weight.numel() + bias.numel()
        if self._trunk is None:
            self._layers[0].known = self._layers[0].products(features.flatten(2))
        self._logits = features.new_zeros(*labels.shape, len(self._layers[-1].bias))

    def _past(self, outputs: int, columns: int) -> Past:
        """The cheaper form of the next layer's past."""
        (clients, visits), zeros = self._features.shape[:2], self._features.new_zeros
        if self._course.constant is not None and self._clip_norm is None and 2 * outputs < visits:
            return Summed(Moved(zeros(clients, outputs, columns), zeros(clients, outputs)), self._course.constant)
        known = self._trunk is None and not self._layers
        inputs = self._features.flatten(2) if known else zeros(clients, visits, columns)
        return Kept(inputs, zeros(clients, visits, outputs), self._course.gammas, known=known)

    def train(self, phases: Sequence[tuple[range, int]], weights: Tensor) -> None:
        """All steps. weights: (steps, k, batch), of each visit in its step's loss."""
        for steps, clients in phases:
            for step in steps:
                self._step(step, clients, weights[step, :clients, :, None])

    def deltas(self, steps: Sequence[int]) -> Tensor:
        """How far each client's weights have moved after its own number of steps, (k, d)."""
        deltas = _room(len(steps), self._start)
        if self._trunk:
            self._trunk.end(deltas)
        for layer in self._layers:
            layer.end(steps, deltas)
        return deltas

    def sums(self, visited: Tensor) -> Tensor:
        """Metric sums of each client over its visits, (metrics, k) float64. visited: (steps, k, batch)."""
        return measured(self._task, self._logits, self._labels, visited)

    def _step(self, step: int, clients: int, weights: Tensor) -> None:
        at = slice(step * self._course.batch, (step + 1) * self._course.batch)
        trunk, examples = self._trunk, self._features[:clients, at]
        output = trunk.forward(clients, at) if trunk else examples.flatten(2)
        for index, layer in enumerate(self._layers):
            output = layer.forward(F.relu(output) if index or trunk else output, step, at)
        self._logits[step, :clients] = output
        gradient = self._loss_gradient(output, self._targets[step, :clients], weights)
        for index, layer in reversed(list(enumerate(self._layers))):
            layer.gradient = gradient
            if index or trunk:
                gradient = layer.backward(gradient, step, at) * (layer.inputs > 0)
        if trunk:
            trunk.backward(gradient)
        if self._clip_norm is not None:
            self._clip(self._clip_norm)
        for layer in self._layers:
            layer.past.take(layer.inputs, layer.gradient, at)
        if trunk:
            trunk.step()

    def _loss_gradient(self, output: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """Of a step's weighted losses with respect to its output (k, batch, classes). weights: (k, batch, 1)."""
        if self._derived is not None:
            return self._derived.loss_gradients(output, targets).mul_(weights)
        with torch.enable_grad():
            logits = output.flatten(0, 1).requires_grad_()
            (gradient,) = torch.autograd.grad(self._task.losses(logits, targets.flatten()) @ weights.flatten(), logits)
        return gradient.view_as(output)

    def _clip(self, norm: float) -> None:
        """Scale the step's gradients of each client to at most this norm; products give that of a layer's."""
        squares = torch.zeros(len(self._layers[0].gradient), dtype=torch.float64, device=self._logits.device)
        for layer in self._layers:
            own = layer.inputs @ layer.inputs.mT + 1.0
            squares += (own * (layer.gradient @ layer.gradient.mT)).sum(dim=(1, 2))
        if self._trunk:
            squares += self._trunk.squares()
        factors = (norm / (squares.clamp(min=0.0).sqrt() + 1e-6)).clamp(max=1.0).float()
        for layer in self._layers:
            layer.gradient = layer.gradient * factors[:, None, None]
        if self._trunk:
            self._trunk.scale(factors)


def _room(rows: int, like: Tensor) -> Tensor:
    """Memory for (rows, d) values of the type of ``like`` (d,), and on its device."""
    if like.device.type != "cpu":
        return like.new_empty(rows, len(like))
    # numpy asks for huge pages: to be given a small one at a time takes as long as the arithmetic that fills them.
    return torch.from_numpy(np.empty((rows, len(like)), dtype=np.float32))
