"""Multinomial logistic regression on the flattened example."""

import math
from collections.abc import Sequence

from torch import nn

from leptonic.data.examples import DataSpec
from leptonic.models.layered import Layered

__all__ = ["Logistic"]


class Logistic(Layered):
    """One linear layer: (n, *shape) -> (n, classes) logits; classes * (features + 1) parameters."""

    def __init__(self, spec: DataSpec) -> None:
        super().__init__()
        self.output = nn.Linear(math.prod(spec.input_shape), spec.classes)

    @property
    def linears(self) -> Sequence[nn.Linear]:
        """See :class:`Layered`."""
        return (self.output,)
