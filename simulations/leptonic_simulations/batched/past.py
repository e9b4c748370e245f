"""What SGD has added to a layer's weights so far, in one of two forms.

With A the inputs and G the output gradients of past steps, the layer has moved by sum_s gamma_ts G_s^T A_s.
:class:`Kept` keeps both factors, and multiplies by as many vectors as there were examples; :class:`Summed` forms
the sum, which pays where the layer has fewer outputs than that, and needs each gamma to stay what it was.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["Kept", "Past", "Summed"]


class Past(Protocol):
    """One layer's past of k clients, of which the first so many that an argument has are meant.

    at: the present step's examples among all R. gamma: coefficients of all examples' gradients, (R,), in that step.
    """

    def forward(self, output: Tensor, inputs: Tensor, at: slice, gamma: Tensor) -> Tensor:
        """Add to output (k, n, outputs) what the past makes of inputs (k, n, inputs)."""
        ...

    def backward(self, below: Tensor, gradient: Tensor, at: slice, gamma: Tensor) -> Tensor:
        """Add to below (k, n, inputs) what the past makes of the output's gradient (k, n, outputs)."""
        ...

    def take(self, inputs: Tensor, gradient: Tensor, at: slice) -> None:
        """The present step is past."""
        ...

    def change(self, gammas: Tensor) -> tuple[Tensor, Tensor]:
        """How far weight (k, outputs, inputs) and bias (k, outputs) have moved. gammas: (k, R), of each end."""
        ...


@dataclass
class Kept:
    """inputs (k, R, inputs), gradients (k, R, outputs): of every example, zero until it comes.

    known: the inputs are there from the beginning.
    """

    inputs: Tensor
    gradients: Tensor
    known: bool

    def forward(self, output: Tensor, inputs: Tensor, at: slice, gamma: Tensor) -> Tensor:
        """(A_t A_s^T) G_s; a bias is a weight whose input is always 1, which adds 1 to each product."""
        if not at.start:
            return output
        clients, before = inputs.shape[0], slice(0, at.start)
        products = inputs @ self.inputs[:clients, before].mT + 1.0
        return torch.baddbmm(output, products * gamma[before], self.gradients[:clients, before])

    def backward(self, below: Tensor, gradient: Tensor, at: slice, gamma: Tensor) -> Tensor:
        """(G_t G_s^T) A_s."""
        if not at.start:
            return below
        clients, before = gradient.shape[0], slice(0, at.start)
        products = gradient @ self.gradients[:clients, before].mT
        return torch.baddbmm(below, products * gamma[before], self.inputs[:clients, before])

    def take(self, inputs: Tensor, gradient: Tensor, at: slice) -> None:
        """Keep both factors."""
        if not self.known:
            self.inputs[: inputs.shape[0], at] = inputs
        self.gradients[: inputs.shape[0], at] = gradient

    def change(self, gammas: Tensor) -> tuple[Tensor, Tensor]:
        """The sum, formed at last."""
        scaled = self.gradients * gammas[:, :, None]
        return scaled.mT @ self.inputs, scaled.sum(dim=1)


@dataclass
class Summed:
    """weight (k, outputs, inputs), bias (k, outputs): the sum so far. gamma: of every gradient, at any later time."""

    weight: Tensor
    bias: Tensor
    gamma: float

    def forward(self, output: Tensor, inputs: Tensor, at: slice, gamma: Tensor) -> Tensor:
        """A_t (A_s^T G_s)."""
        if not at.start:
            return output
        clients = inputs.shape[0]
        return torch.baddbmm(output + self.bias[:clients, None], inputs, self.weight[:clients].mT)

    def backward(self, below: Tensor, gradient: Tensor, at: slice, gamma: Tensor) -> Tensor:
        """G_t (G_s^T A_s)."""
        return torch.baddbmm(below, gradient, self.weight[: gradient.shape[0]]) if at.start else below

    def take(self, inputs: Tensor, gradient: Tensor, at: slice) -> None:
        """Add the product of the factors."""
        clients = inputs.shape[0]
        self.weight[:clients].baddbmm_(gradient.mT, inputs, alpha=self.gamma)
        self.bias[:clients].add_(gradient.sum(dim=1), alpha=self.gamma)

    def change(self, gammas: Tensor) -> tuple[Tensor, Tensor]:
        """The sum; a client that had no more steps has added nothing since."""
        return self.weight, self.bias
