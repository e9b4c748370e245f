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

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from leptonic.experiment import Training
from leptonic.models.logistic import Logistic
from leptonic.models.mlp import Mlp
from leptonic.tasks import DerivedTask, Task
from leptonic_simulations.batched.course import Course
from leptonic_simulations.batched.past import Kept, Moved, Past, Summed
from leptonic_simulations.batched.trajectory import measured

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
    course: Course
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

    def forward(self, inputs: Tensor, step: int, at: slice) -> Tensor:
        """What the present weights make of a step's inputs. at: its examples among all."""
        self.inputs, now = inputs, self.course.table[step]
        if self.known is None:
            output, *offset = self.products(inputs)
        else:
            output, *offset = (part[: inputs.shape[0], at] for part in self.known)
        if self.course.shrinks:
            output = output * now[0]
        if offset:
            output = output + now[1] * offset[0]
        return self.past.forward(output, inputs, step, at)

    def backward(self, gradient: Tensor, step: int, at: slice) -> Tensor:
        """The gradient (k, n, inputs) of the step's inputs."""
        now = self.course.table[step]
        below: Tensor = gradient @ self.weight
        if self.course.shrinks:
            below = below * now[0]
        if self.offset is not None:
            below = below + now[1] * (gradient @ self.offset[0][: len(gradient)])
        return self.past.backward(below, gradient, step, at)

    def end(self, steps: Sequence[int]) -> Moved:
        """How far the layer has moved after each client's number of steps."""
        moved = self.past.end(steps)
        if not self.course.shrinks and self.offset is None:
            return moved
        ends = torch.from_numpy(self.course.table[list(steps)]).to(self.weight)
        if self.course.shrinks:
            moved.weight.add_((ends[:, 0, None, None] - 1.0) * self.weight)
            moved.bias.add_((ends[:, 0, None] - 1.0) * self.bias)
        if self.offset is not None:
            moved.weight.add_(ends[:, 1, None, None] * self.offset[0])
            moved.bias.add_(ends[:, 1, None] * self.offset[1])
        return moved


class SpanTrainer:
    """Trains one group of clients; made for it, used once. derived: the task, if it knows its losses' gradients."""

    def __init__(
        self,
        start: Tensor,
        shapes: Sequence[nn.Linear],
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
        self._features, self._labels = features.flatten(2), labels
        self._course, self._clip_norm = course, clip_norm
        self._task, self._derived = task, derived
        self._targets = labels if derived is None else derived.targets(labels)
        self._layers: list[Layer] = []
        at = 0
        for module in shapes:
            rows, columns = module.weight.shape
            cut = (slice(at, at + rows * columns), slice(at + rows * columns, at + rows * columns + rows))
            of = None if offsets is None else (offsets[:, cut[0]].unflatten(1, (rows, columns)), offsets[:, cut[1]])
            weight, bias = start[cut[0]].view(rows, columns), start[cut[1]]
            self._layers.append(Layer(weight, bias, of, self._past(rows, columns), course))
            at = cut[1].stop
        self._layers[0].known = self._layers[0].products(self._features)
        self._logits = features.new_zeros(*labels.shape, self._layers[-1].bias.shape[0])

    def _past(self, outputs: int, columns: int) -> Past:
        """The cheaper form of the next layer's past."""
        (clients, visits, _), zeros = self._features.shape, self._features.new_zeros
        if self._course.constant is not None and self._clip_norm is None and 2 * outputs < visits:
            return Summed(Moved(zeros(clients, outputs, columns), zeros(clients, outputs)), self._course.constant)
        first = not self._layers
        inputs = self._features if first else zeros(clients, visits, columns)
        return Kept(inputs, zeros(clients, visits, outputs), self._course.gammas, known=first)

    def train(self, phases: Sequence[tuple[range, int]], weights: Tensor) -> None:
        """All steps. weights: (steps, k, batch), of each visit in its step's loss."""
        batch, weights = self._course.batch, weights[..., None]
        for steps, clients in phases:
            for step in steps:
                at = slice(step * batch, (step + 1) * batch)
                output = self._features[:clients, at]
                for index, layer in enumerate(self._layers):
                    output = layer.forward(F.relu(output) if index else output, step, at)
                self._logits[step, :clients] = output
                gradient = self._loss_gradient(output, self._targets[step, :clients], weights[step, :clients])
                for index, layer in reversed(list(enumerate(self._layers))):
                    layer.gradient = gradient
                    if index:
                        gradient = layer.backward(gradient, step, at) * (layer.inputs > 0)
                if self._clip_norm is not None:
                    self._clip(self._clip_norm)
                for layer in self._layers:
                    layer.past.take(layer.inputs, layer.gradient, at)

    def deltas(self, steps: Sequence[int]) -> Tensor:
        """How far each client's weights have moved after its own number of steps, (k, d)."""
        ends = [layer.end(steps) for layer in self._layers]
        return torch.cat([part for end in ends for part in (end.weight.flatten(1), end.bias)], dim=1)

    def sums(self, visited: Tensor) -> Tensor:
        """Metric sums of each client over its visits, (metrics, k) float64. visited: (steps, k, batch)."""
        return measured(self._task, self._logits, self._labels, visited)

    def _loss_gradient(self, output: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """Of a step's weighted losses with respect to its output (k, batch, classes). weights: (k, batch, 1)."""
        if self._derived is not None:
            return self._derived.loss_gradients(output, targets).mul_(weights)
        with torch.enable_grad():
            logits = output.flatten(0, 1).requires_grad_()
            (gradient,) = torch.autograd.grad(self._task.losses(logits, targets.flatten()) @ weights.flatten(), logits)
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
