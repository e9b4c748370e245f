"""Multi-layer perceptron: fully connected layers with ReLU between them."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from leptonic.data.examples import DataSpec

__all__ = ["Mlp"]


class Mlp(nn.Module):
    """(n, *shape) -> (n, classes) logits, through hidden layers of the given widths."""

    def __init__(self, spec: DataSpec, *, hidden: Sequence[int]) -> None:
        super().__init__()
        widths = [math.prod(spec.input_shape), *hidden]
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.output = nn.Linear(widths[-1], spec.classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, classes) of examples (n, *shape)."""
        x = x.flatten(1)
        for layer in self.hidden:
            x = F.relu(layer(x))
        logits: Tensor = self.output(x)
        return logits
