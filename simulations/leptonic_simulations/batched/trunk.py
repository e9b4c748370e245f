"""The convolutions of a group's clients, below the span of their linear layers.

Each client has weights of its own, which are few, and is taken alone: many clients' convolutions at once are grouped
ones, for which there is no fast kernel. Everything lies with channels last in memory, where max-pools are fast, too.
"""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from leptonic_simulations.batched.course import Descent

__all__ = ["Trunk", "values_of", "worthy"]

LEAST_VALUES = 2**12
"""Of convolutions from which on this pays; with fewer, calls take longer than what they do."""


def values_of(convolutions: Sequence[nn.Conv2d]) -> int:
    """The number t of their parameters."""
    return sum(parameter.numel() for convolution in convolutions for parameter in convolution.parameters())


def worthy(convolutions: Sequence[nn.Conv2d]) -> bool:
    """Whether clients with such convolutions, if any, are better taken one by one."""
    on_cpu = all(convolution.weight.device.type == "cpu" for convolution in convolutions)
    zeros = all(convolution.padding_mode == "zeros" for convolution in convolutions)
    return not convolutions or (on_cpu and zeros and values_of(convolutions) >= LEAST_VALUES)


class Trunk:
    """Trained by SGD, each client's weights in one row of (k, t).

    start: (t,). features: (k, R, C, H, W), of all visits. offsets: (k, t), or None.
    """

    def __init__(
        self,
        start: Tensor,
        convolutions: Sequence[nn.Conv2d],
        features: Tensor,
        offsets: Tensor | None,
        *,
        descent: Descent,
    ) -> None:
        self._convolutions, self._features, self._descent = convolutions, features, descent
        self._start = self._laid(start[None])
        self._offsets = None if offsets is None else self._laid(offsets)
        self._weights = self._start.repeat(len(features), 1)
        self._gradients = torch.zeros_like(self._weights)
        self._momenta = torch.zeros_like(self._weights) if descent.momentum else None
        self._passes: list[tuple[list[Tensor], Tensor]] = []

    def forward(self, clients: int, at: slice) -> Tensor:
        """What the first clients make of a step's examples, but for the last ReLU: (clients, n, outputs)."""
        self._passes = [self._pass(client, at) for client in range(clients)]
        return torch.stack([output.detach().flatten(1) for _, output in self._passes])

    def backward(self, gradient: Tensor) -> None:
        """Take the gradient (clients, n, outputs) of what :meth:`forward` gave."""
        for row, (own, output), above in zip(self._gradients, self._passes, gradient, strict=False):
            lying = above.view(output.shape).contiguous(memory_format=torch.channels_last)
            found = torch.autograd.grad(output, own, lying)
            for part, value in zip(self._parts(row), found, strict=True):
                part.copy_(value)

    def squares(self) -> Tensor:
        """The squared norm of each present client's gradient, (clients,) float64."""
        norms: Tensor = torch.linalg.vector_norm(self._present(self._gradients), dim=1, dtype=torch.float64)
        return norms.square()

    def scale(self, factors: Tensor) -> None:
        """Multiply each present client's gradient by its factor (clients,)."""
        self._present(self._gradients).mul_(factors[:, None])

    def step(self) -> None:
        """Move the present clients' weights."""
        descent, weights, gradient = self._descent, self._present(self._weights), self._present(self._gradients)
        if descent.proximal:
            gradient.add_(weights - self._start, alpha=descent.proximal)
        if self._offsets is not None:
            gradient.add_(self._present(self._offsets))
        if descent.decay:
            gradient.add_(weights, alpha=descent.decay)
        if self._momenta is not None:
            gradient = self._present(self._momenta).mul_(descent.momentum).add_(gradient)
        weights.add_(gradient, alpha=-descent.rate)

    def end(self, deltas: Tensor) -> None:
        """Put into the first t columns of deltas (k, d) how far each client's weights have moved."""
        for moved, delta in zip(self._weights - self._start, deltas, strict=True):
            at = 0
            for part in self._parts(moved):
                delta[at : at + part.numel()].view(part.shape).copy_(part)
                at += part.numel()

    def _pass(self, client: int, at: slice) -> tuple[list[Tensor], Tensor]:
        """One client's weights, and what they make of its examples, from which a gradient leads back to them."""
        own = [part.detach().requires_grad_() for part in self._parts(self._weights[client])]
        x = self._features[client, at]
        with torch.enable_grad():
            for index, (layer, weight, bias) in enumerate(zip(self._convolutions, own[::2], own[1::2], strict=True)):
                x = F.relu(x) if index else x
                x = F.conv2d(x, weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups)
                x = F.max_pool2d(x, 2)
        return own, x

    def _present(self, rows: Tensor) -> Tensor:
        """Those of the clients that train in this step."""
        return rows[: len(self._passes)]

    def _parts(self, row: Tensor) -> Iterator[Tensor]:
        """Weight (outputs, channels, height, width) and bias of each convolution: views of a row (t,)."""
        at = 0
        for layer in self._convolutions:
            outputs, channels, height, width = layer.weight.shape
            end = at + layer.weight.numel()
            yield row[at:end].view(outputs, height, width, channels).permute(0, 3, 1, 2)
            yield row[end : end + outputs]
            at = end + outputs

    def _laid(self, vectors: Tensor) -> Tensor:
        """Rows (n, t) with channels last, of such as vectors of parameters hold them."""
        laid = torch.empty_like(vectors, memory_format=torch.contiguous_format)
        for row, vector in zip(laid, vectors, strict=True):
            at = 0
            for part in self._parts(row):
                part.copy_(vector[at : at + part.numel()].view(part.shape))
                at += part.numel()
        return laid
