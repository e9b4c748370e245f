"""Multinomial logistic regression on the flattened example."""

import math

from torch import Tensor, nn

from leptonic.data.examples import DataSpec

__all__ = ["Logistic"]


class Logistic(nn.Module):
    """One linear layer: (n, *shape) -> (n, classes) logits; classes * (features + 1) parameters."""

    def __init__(self, spec: DataSpec) -> None:
        super().__init__()
        self.output = nn.Linear(math.prod(spec.input_shape), spec.classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, classes) of examples (n, *shape)."""
        logits: Tensor = self.output(x.flatten(1))
        return logits
