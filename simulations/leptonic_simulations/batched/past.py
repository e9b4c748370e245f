"""What SGD has added to a layer's weights so far, in one of two forms.

With A the inputs and G the output gradients of past steps, the layer has moved by sum_s gamma_ts G_s^T A_s.
:class:`Kept` keeps both factors, and multiplies by as many vectors as there were examples; :class:`Summed` forms
the sum, which pays where the layer has fewer outputs than that, and needs each gamma to stay what it was.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["Kept", "Moved", "Past", "Summed"]

ROWS = 128
"""Of a layer's sum that are formed at a time: of so few vectors' products more take a library twice as long."""


@dataclass(frozen=True)
class Moved:
    """How far a layer has moved: weight (k, outputs, inputs), bias (k, outputs)."""

    weight: Tensor
    bias: Tensor


class Past(Protocol):
    """One layer's past, of k clients; arguments may be of the first few of them.

    step: the present one. at: its examples among all R.
    """

    def forward(self, output: Tensor, inputs: Tensor, step: int, at: slice) -> Tensor:
        """Add to output (k, n, outputs) what the past makes of inputs (k, n, inputs)."""
        ...

    def backward(self, below: Tensor, gradient: Tensor, step: int, at: slice) -> Tensor:
        """Add to below (k, n, inputs) what the past makes of the output's gradient (k, n, outputs)."""
        ...

    def take(self, inputs: Tensor, gradient: Tensor, at: slice) -> None:
        """The present step is past."""
        ...

    def end(self, steps: Sequence[int], moved: Moved) -> None:
        """Put into ``moved`` how far the layer has moved after each client's number of steps."""
        ...


@dataclass
class Kept:
    """inputs (k, R, inputs), gradients (k, R, outputs): of every example, zero until it comes.

    gammas: (steps + 1, R). known: the inputs are there from the beginning.
    """

    inputs: Tensor
    gradients: Tensor
    gammas: Tensor
    known: bool

    def forward(self, output: Tensor, inputs: Tensor, step: int, at: slice) -> Tensor:
        """(A_t A_s^T) G_s; a bias is a weight whose input is always 1, which adds 1 to each product."""
        if not step:
            return output
        clients, before = inputs.shape[0], slice(0, at.start)
        products = inputs @ self.inputs[:clients, before].mT + 1.0
        return torch.baddbmm(output, products * self.gammas[step, before], self.gradients[:clients, before])

    def backward(self, below: Tensor, gradient: Tensor, step: int, at: slice) -> Tensor:
        """(G_t G_s^T) A_s."""
        if not step:
            return below
        clients, before = gradient.shape[0], slice(0, at.start)
        products = gradient @ self.gradients[:clients, before].mT
        return torch.baddbmm(below, products * self.gammas[step, before], self.inputs[:clients, before])

    def take(self, inputs: Tensor, gradient: Tensor, at: slice) -> None:
        """Keep both factors."""
        if not self.known:
            self.inputs[: inputs.shape[0], at] = inputs
        self.gradients[: inputs.shape[0], at] = gradient

    def end(self, steps: Sequence[int], moved: Moved) -> None:
        """The sum, formed at last."""
        scaled = self.gradients * self.gammas[list(steps), :, None]
        for part, into in zip(scaled.split(ROWS, dim=2), moved.weight.split(ROWS, dim=1), strict=True):
            torch.bmm(part.mT, self.inputs, out=into)
        torch.sum(scaled, dim=1, out=moved.bias)


@dataclass
class Summed:
    """moved: the sum so far, zero at first. gamma: of every gradient, at any later time."""

    moved: Moved
    gamma: float

    def forward(self, output: Tensor, inputs: Tensor, step: int, at: slice) -> Tensor:
        """A_t (A_s^T G_s)."""
        if not step:
            return output
        clients = inputs.shape[0]
        return torch.baddbmm(output + self.moved.bias[:clients, None], inputs, self.moved.weight[:clients].mT)

    def backward(self, below: Tensor, gradient: Tensor, step: int, at: slice) -> Tensor:
        """G_t (G_s^T A_s)."""
        return torch.baddbmm(below, gradient, self.moved.weight[: gradient.shape[0]]) if step else below

    def take(self, inputs: Tensor, gradient: Tensor, at: slice) -> None:
        """Add the product of the factors."""
        clients = inputs.shape[0]
        self.moved.weight[:clients].baddbmm_(gradient.mT, inputs, alpha=self.gamma)
        self.moved.bias[:clients].add_(gradient.sum(dim=1), alpha=self.gamma)

    def end(self, steps: Sequence[int], moved: Moved) -> None:
        """The sum; a client that had no more steps has added nothing since."""
        moved.weight.copy_(self.moved.weight)
        moved.bias.copy_(self.moved.bias)
