"""What the clipper asks of one module: each example's squared gradient norm, then a weighted sum of gradients.

Every kind of layer answers in its own way; :class:`Materialised` answers from per-example gradients themselves.
"""

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from leptonic.privacy.clipping import squared_norms, weighted_sum, without

__all__ = ["Materialised", "Samples"]


class Samples(Protocol):
    """The gradients of n examples with respect to one module's own trainable parameters, n at least 1."""

    def squares(self) -> Tensor:
        """Squared gradient norms, (n,) float64, or slightly more; not finite for an example that is not."""
        ...

    def sums(self, weights: Tensor) -> dict[str, Tensor]:
        """For each parameter the sum of weights_i times example i's gradient. Called once, after squares.

        weights: (n,) float32. An example of weight 0 adds exactly zero, whatever it holds. Returns float64, or
        float32 where nothing was added in float64.
        """
        ...


class Materialised:
    """Per-example gradients as they are. gradients: (n, *shape) for each parameter."""

    def __init__(self, gradients: Mapping[str, Tensor]) -> None:
        self._gradients = gradients

    def squares(self) -> Tensor:
        """As :meth:`Samples.squares`."""
        return torch.stack([squared_norms(sample) for sample in self._gradients.values()]).sum(dim=0)

    def sums(self, weights: Tensor) -> dict[str, Tensor]:
        """As :meth:`Samples.sums`."""
        return {name: weighted_sum(without(s, weights), weights) for name, s in self._gradients.items()}
