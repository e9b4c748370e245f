"""The convolutional network of the FedAvg paper.

Source: McMahan et al. 2017, arXiv 1602.05629, section 3 (1,663,370 parameters on MNIST).
"""

from collections.abc import Sequence

from torch import nn

from leptonic.data.examples import DataSpec
from leptonic.models.image_size import image_size
from leptonic.models.layered import Layered

__all__ = ["Cnn"]


class Cnn(Layered):
    """Two padded 5x5 convolutions with 2x2 max-pools, one hidden layer, classes.

    channels: of the first and of the second convolution.
    """

    def __init__(self, spec: DataSpec, *, channels: Sequence[int], hidden: int) -> None:
        super().__init__()
        inputs, height, width = image_size(spec, model="cnn", smallest=4)
        first, second = channels
        self.convolution1 = nn.Conv2d(inputs, first, 5, padding=2)
        self.convolution2 = nn.Conv2d(first, second, 5, padding=2)
        self.hidden = nn.Linear(second * (height // 4) * (width // 4), hidden)
        self.output = nn.Linear(hidden, spec.classes)

    @property
    def convolutions(self) -> Sequence[nn.Conv2d]:
        """See :class:`Layered`."""
        return self.convolution1, self.convolution2

    @property
    def linears(self) -> Sequence[nn.Linear]:
        """See :class:`Layered`."""
        return self.hidden, self.output
