"""The convolutional network of the FedAvg paper.

Source: McMahan et al. 2017, arXiv 1602.05629, section 3 (1,663,370 parameters on MNIST).
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from leptonic.data.examples import DataSpec
from leptonic.models.image_size import image_size

__all__ = ["Cnn"]


class Cnn(nn.Module):
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

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, classes) of images (n, C, H, W)."""
        x = F.relu(F.max_pool2d(self.convolution1(x), 2))
        x = F.relu(F.max_pool2d(self.convolution2(x), 2))
        x = F.relu(self.hidden(x.flatten(1)))
        logits: Tensor = self.output(x)
        return logits
