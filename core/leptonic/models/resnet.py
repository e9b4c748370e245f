"""A small pre-activation residual network with GroupNorm, for small images.

Source: He et al. 2016, arXiv 1603.05027 (pre-activation blocks); Hsieh et al. 2020, arXiv 1910.00189
(GroupNorm, since BatchNorm's statistics neither average well over skewed clients nor keep examples apart).
"""

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from leptonic.data.examples import DataSpec
from leptonic.models.image_size import image_size

__all__ = ["ResNet"]

_GROUPS = 4


class ResNet(nn.Module):
    """A 3x3 convolution, three stages of ``blocks`` blocks, the mean over pixels, classes.

    The stages have width, 2 width and 4 width channels; the second and third halve the image's sides.
    width: a multiple of 4, the number of normalisation groups.
    """

    def __init__(self, spec: DataSpec, *, width: int, blocks: int) -> None:
        super().__init__()
        channels, _, _ = image_size(spec, model="resnet", smallest=4)
        widths = [width] * (blocks + 1) + [2 * width] * blocks + [4 * width] * blocks
        self.stem = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.blocks = nn.ModuleList(_Block(inputs, outputs) for inputs, outputs in pairwise(widths))
        self.norm = nn.GroupNorm(_GROUPS, widths[-1])
        self.output = nn.Linear(widths[-1], spec.classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, classes) of images (n, C, H, W)."""
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.output(F.relu(self.norm(x)).mean(dim=(2, 3)))
        return logits


class _Block(nn.Module):
    """x + convolution(relu(norm(convolution(relu(norm(x)))))); halves the sides where channels grow."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        stride = 1 if inputs == outputs else 2
        self.norm1 = nn.GroupNorm(_GROUPS, inputs)
        self.convolution1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(_GROUPS, outputs)
        self.convolution2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.shortcut = None if stride == 1 else nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        activated = F.relu(self.norm1(x))
        straight = x if self.shortcut is None else self.shortcut(activated)
        residual: Tensor = self.convolution2(F.relu(self.norm2(self.convolution1(activated))))
        return straight + residual
