"""Networks of plain layers, in the one form that trainers of many clients can take apart."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Layered", "pooled"]


class Layered(nn.Module):
    """Convolutions, each followed by :func:`pooled`; then linear layers with ReLU between them.

    A model states both as properties, in the order of its parameters, and leaves ``forward`` as it is.
    """

    @property
    def convolutions(self) -> Sequence[nn.Conv2d]:
        """The trunk, which may be empty."""
        return ()

    @property
    def linears(self) -> Sequence[nn.Linear]:
        """The head: at least one layer."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, classes) of examples (n, *shape)."""
        for convolution in self.convolutions:
            x = pooled(convolution(x))
        x = x.flatten(1)
        *hidden, output = self.linears
        for layer in hidden:
            x = F.relu(layer(x))
        logits: Tensor = output(x)
        return logits


def pooled(x: Tensor) -> Tensor:
    """The largest of each 2x2 window of (n, C, H, W), or 0."""
    # ReLU after the pool: the same function of a quarter of the values.
    return F.relu(F.max_pool2d(x, 2))
