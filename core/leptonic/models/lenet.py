"""The LeNet-like network of NIID-Bench.

Source: Li et al. 2022, Federated learning on non-IID data silos, arXiv 2102.02079 (``SimpleCNN``).
"""

from collections.abc import Sequence

from torch import nn

from leptonic.data.examples import DataSpec
from leptonic.models.image_size import image_size
from leptonic.models.layered import Layered

__all__ = ["LeNet"]


class LeNet(Layered):
    """5x5 convolutions of 6 and 16 channels with 2x2 max-pools, then 120, 84 and classes.

    44,426 parameters for 28x28 grey images and ten classes.
    """

    def __init__(self, spec: DataSpec) -> None:
        super().__init__()
        # 16 pixels: 16 - 4 = 12, pooled 6, 6 - 4 = 2, pooled 1.
        channels, height, width = image_size(spec, model="lenet", smallest=16)
        self.convolution1 = nn.Conv2d(channels, 6, 5)
        self.convolution2 = nn.Conv2d(6, 16, 5)
        self.hidden1 = nn.Linear(16 * _side(height) * _side(width), 120)
        self.hidden2 = nn.Linear(120, 84)
        self.output = nn.Linear(84, spec.classes)

    @property
    def convolutions(self) -> Sequence[nn.Conv2d]:
        """See :class:`Layered`."""
        return self.convolution1, self.convolution2

    @property
    def linears(self) -> Sequence[nn.Linear]:
        """See :class:`Layered`."""
        return self.hidden1, self.hidden2, self.output


def _side(pixels: int) -> int:
    """A side after two unpadded 5x5 convolutions, each followed by a 2x2 pool."""
    return ((pixels - 4) // 2 - 4) // 2
