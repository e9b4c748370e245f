"""A model whose one local step costs next to nothing and moves every parameter by another random amount.

For transport measurements: vectors that repeat would be stored once by the link, and flatter it.
"""

import torch
from torch import Tensor, nn

from leptonic.data.examples import DataSpec

__all__ = ["RandomUpdate"]


class RandomUpdate(nn.Module):
    """``parameters`` values whose gradient is a fresh random direction, drawn from torch's generator."""

    def __init__(self, spec: DataSpec, parameters: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(parameters))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, 2): the product of the parameters with the direction, for and against."""
        score = self.weight @ torch.rand_like(self.weight)
        return torch.stack((score, -score)).expand(len(x), 2)
