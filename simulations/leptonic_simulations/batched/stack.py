"""Models of many clients as one: each parameter once, with a leading dimension of clients.

Clients stand in descending order of their steps, so that those who still train are always the first few, and
a step works on a slice instead of masking those who are done.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn, optim
from torch.func import functional_call, vmap

from leptonic import parameters
from leptonic.experiment import Training
from leptonic.parameters import Layout
from leptonic.update import Vector
from leptonic_client.steps import optimizer_for

__all__ = ["Forward", "Pieces", "Stack", "StackCorrector"]


@dataclass(frozen=True)
class Pieces:
    """How vectors (k, d) are cut into a stack's parameters (k, *shape).

    turned: the weights of Linear layers lie transposed, (k, inputs, outputs), as their gradients come out of
    a batched product; upright, each step would copy every gradient.
    """

    layout: Layout
    turned: tuple[bool, ...]

    @classmethod
    def of(cls, model: nn.Module) -> "Pieces":
        """The pieces of a model's trainable parameters."""
        linear = {id(module.weight) for module in model.modules() if type(module) is nn.Linear}
        trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        return cls(parameters.layout_of(model), tuple(id(parameter) in linear for parameter in trainable))

    def cut(self, vectors: Tensor) -> list[Tensor]:
        """(k, d) -> (k, *shape) each; views where they can be."""
        parts = zip(vectors.split(list(self.layout.sizes), dim=1), self.layout.shapes, strict=True)
        return self.upright([part.unflatten(1, shape) if shape else part[:, 0] for part, shape in parts])

    def upright(self, pieces: Sequence[Tensor]) -> list[Tensor]:
        """Turn what lies transposed; views."""
        return [piece.mT if turned else piece for piece, turned in zip(pieces, self.turned, strict=True)]

    def join(self, pieces: Sequence[Tensor]) -> Tensor:
        """The inverse of :meth:`cut`; a copy."""
        return torch.cat([piece.flatten(1) if piece.ndim > 1 else piece[:, None] for piece in self.upright(pieces)], 1)


class Forward:
    """(parameters of k clients, (k, n, *shape)) -> (k, n, classes), differentiable in the parameters."""

    def __init__(self, model: nn.Module) -> None:
        self._model, self._pieces = model, Pieces.of(model)
        self._names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
        # "error": clients in one batch could not repeat the streams that each has alone.
        self._all = vmap(self._upright, randomness="error")

    def __call__(self, pieces: Sequence[Tensor], features: Tensor) -> Tensor:
        """All clients' outputs."""
        output: Tensor = self._all(self._pieces.upright(pieces), features)
        return output

    def one(self, own: Sequence[Tensor], features: Tensor) -> Tensor:
        """One client's outputs, of its pieces without the dimension of clients."""
        return self._upright(self._pieces.upright(own), features)

    def _upright(self, own: Sequence[Tensor], features: Tensor) -> Tensor:
        output: Tensor = functional_call(self._model, dict(zip(self._names, own, strict=True)), (features,))
        return output


class Stack:
    """The parameters of ``clients`` models that start alike, and their optimiser."""

    def __init__(self, start: Vector, pieces: Pieces, clients: int, device: torch.device) -> None:
        # Received vectors are read-only, which torch cannot represent: those are copied.
        flat = torch.from_numpy(np.require(start, requirements=["C", "W"])).to(device)
        self.pieces, self.start = pieces, pieces.cut(flat[None])
        self._all = [piece.expand(clients, *piece.shape[1:]).contiguous() for piece in self.start]
        self._optimizer: optim.Optimizer | None = None
        self.parameters: list[Tensor] = []

    def take(self, clients: int, training: Training, learning_rate: float) -> optim.Optimizer:
        """The optimiser of the first ``clients`` models, which are then ``parameters``.

        The first call makes it; later ones, with fewer clients, keep the state of those who stay.
        """
        fewer = [whole[:clients].requires_grad_() for whole in self._all]
        optimizer = optimizer_for(training, fewer, learning_rate)
        if self._optimizer is not None:
            for before, after in zip(self.parameters, fewer, strict=True):
                kept = self._optimizer.state[before].items()
                optimizer.state[after] = {name: _first(value, clients) for name, value in kept}
        self.parameters, self._optimizer = fewer, optimizer
        return optimizer

    def deltas(self) -> NDArray[np.float32]:
        """How far each model has moved, (clients, d) float32, on the CPU."""
        moved = [whole.detach().sub_(start) for whole, start in zip(self._all, self.start, strict=True)]
        deltas: NDArray[np.float32] = self.pieces.join(moved).cpu().numpy()
        return deltas


class StackCorrector:
    """Adds each client's ``proximal * (w - w_start) + offset`` to its gradients. offsets: (clients, d)."""

    def __init__(self, stack: Stack, proximal: float, offsets: Tensor | None) -> None:
        self._stack, self._proximal = stack, proximal
        self._offsets = [] if offsets is None else stack.pieces.cut(offsets)

    def __call__(self, gradients: Sequence[Tensor]) -> None:
        """Correct the gradients of the stack's present parameters, in place."""
        if self._proximal:
            for gradient, parameter, start in zip(gradients, self._stack.parameters, self._stack.start, strict=True):
                gradient.add_(parameter.detach() - start, alpha=self._proximal)
        for gradient, offset in zip(gradients, self._offsets, strict=bool(self._offsets)):
            gradient.add_(offset[: len(gradient)])


def _first(value: object, clients: int) -> object:
    """The part of an optimiser's state that belongs to the first clients."""
    return value[:clients] if isinstance(value, Tensor) and value.ndim else value
