"""Multi-layer perceptron: fully connected layers with ReLU between them."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import cast

from torch import nn

from leptonic.data.examples import DataSpec
from leptonic.models.layered import Layered

__all__ = ["Mlp"]


class Mlp(Layered):
    """(n, *shape) -> (n, classes) logits, through hidden layers of the given widths."""

    def __init__(self, spec: DataSpec, *, hidden: Sequence[int]) -> None:
        super().__init__()
        widths = [math.prod(spec.input_shape), *hidden]
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.output = nn.Linear(widths[-1], spec.classes)

    @property
    def linears(self) -> Sequence[nn.Linear]:
        """See :class:`Layered`."""
        return *cast("Sequence[nn.Linear]", self.hidden), self.output
