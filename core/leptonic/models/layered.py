"""Networks of plain layers, in the one form that trainers of many clients can take apart."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Layered"]


class Layered(nn.Module):
    """Convolutions, each with a 2x2 max-pool and ReLU, if there are any; then linear layers with ReLU between them.

    A model states its layers in the order of its parameters, and leaves ``forward`` as it is.
    """

    @property
    def convolutions(self) -> Sequence[nn.Conv2d]:
        """The trunk; none by default."""
        return ()

    @property
    def linears(self) -> Sequence[nn.Linear]:
        """The head, one layer at least."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, classes) of examples (n, *shape)."""
        for convolution in self.convolutions:
            # ReLU after the pool: the same function of a quarter of the values.
            x = F.relu(F.max_pool2d(convolution(x), 2))
        x = x.flatten(1)
        *hidden, output = self.linears
        for layer in hidden:
            x = F.relu(layer(x))
        logits: Tensor = output(x)
        return logits
