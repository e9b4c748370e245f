"""A small convolutional network for training with differential privacy: few parameters, bounded activations.

Source: Papernot et al. 2021, arXiv 2007.14191 (tanh rather than ReLU); Tramer and Boneh 2021, arXiv 2011.11660,
table 9 (its layers).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from leptonic.data.examples import DataSpec
from leptonic.models.image_size import image_size

__all__ = ["TanhCnn"]


class TanhCnn(nn.Module):
    """Convolutions of 16 (8x8) and 32 (4x4) channels, each with tanh and a 2x2 max-pool, then 32 and classes.

    The convolutions move by two pixels, the pools by one. 26,010 parameters for 28x28 grey images and ten classes.
    """

    def __init__(self, spec: DataSpec) -> None:
        super().__init__()
        # 16 pixels: (16 + 4 - 8) / 2 + 1 = 7, pooled 6, (6 - 4) / 2 + 1 = 2, pooled 1.
        channels, height, width = image_size(spec, model="tanh_cnn", smallest=16)
        self.convolution1 = nn.Conv2d(channels, 16, 8, stride=2, padding=2)
        self.convolution2 = nn.Conv2d(16, 32, 4, stride=2)
        self.hidden = nn.Linear(32 * _side(height) * _side(width), 32)
        self.output = nn.Linear(32, spec.classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, classes) of images (n, C, H, W)."""
        x = _pooled(torch.tanh(self.convolution1(x)))
        x = _pooled(torch.tanh(self.convolution2(x)))
        x = torch.tanh(self.hidden(x.flatten(1)))
        logits: Tensor = self.output(x)
        return logits


def _pooled(x: Tensor) -> Tensor:
    """The largest of each 2x2 window, which moves by one pixel."""
    # With channels last in memory torch's kernel takes a third of the time. Outside of it they come first: of others
    # Opacus' hooks make wrong gradients.
    last = x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    return F.max_pool2d(last, 2, stride=1).contiguous()


def _side(pixels: int) -> int:
    """A side after both convolutions and their pools."""
    first = (pixels + 2 * 2 - 8) // 2 + 1 - 1
    return (first - 4) // 2 + 1 - 1
