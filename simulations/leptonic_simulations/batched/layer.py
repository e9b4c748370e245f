"""One linear layer of a group's clients over the steps of a round: see :mod:`leptonic_simulations.batched.span`."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from leptonic_simulations.batched.course import Course
from leptonic_simulations.batched.past import Moved, Past

__all__ = ["Layer", "cut"]


@dataclass
class Layer:
    """One layer of all clients, over the steps of a round.

    weight (outputs, inputs), bias (outputs,): W0. first: where they begin in a vector. offset: as :func:`cut` gives it.
    past: what the steps so far have added. known: :meth:`products` of all examples, where they are the layer's inputs.
    inputs, gradient: of the present step.
    """

    weight: Tensor
    bias: Tensor
    first: int
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

    def end(self, steps: Sequence[int], deltas: Tensor) -> None:
        """Put into deltas (k, d) how far the layer has moved after each client's number of steps."""
        moved = Moved(*cut(deltas, self.first, self.weight.shape))
        self.past.end(steps, moved)
        if not self.course.shrinks and self.offset is None:
            return
        ends = torch.from_numpy(self.course.table[list(steps)]).to(self.weight)
        if self.course.shrinks:
            moved.weight.add_((ends[:, 0, None, None] - 1.0) * self.weight)
            moved.bias.add_((ends[:, 0, None] - 1.0) * self.bias)
        if self.offset is not None:
            moved.weight.add_(ends[:, 1, None, None] * self.offset[0])
            moved.bias.add_(ends[:, 1, None] * self.offset[1])


def cut(vectors: Tensor, first: int, shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Weights (k, outputs, inputs) and biases (k, outputs) of a layer, which begins there: views of vectors (k, d)."""
    outputs, inputs = shape
    end = first + outputs * inputs
    return vectors[:, first:end].unflatten(1, (outputs, inputs)), vectors[:, end : end + outputs]
