"""Conv1d and Conv2d: per-example gradients by batched products, a few examples at a time, in memory that stays.

The norm is taken of the gradients as they were made, while they are in the cache, and the weighted sum reads
them once more; nothing is computed twice. Two layouts of the inputs: all k x k patches of few channels, and
for many channels rows of k neighbouring pixels, which copies k-fold instead of k^2-fold.
"""

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from leptonic.privacy.bookkeeping.samples import Materialised, Samples
from leptonic.privacy.bookkeeping.scratch import Scratch
from leptonic.privacy.clipping import squared_norms, weighted_sum, without

__all__ = ["convolution"]

_EXAMPLES = 32
_SMALL_EXAMPLES, _SMALL = 64, 4096
_MANY_CHANNELS = 16

Pair = tuple[int, int]


def convolution(module: nn.Module, inputs: Tensor, gradients: Tensor, scratch: Scratch) -> Samples:
    """nn.Conv1d, nn.Conv2d. inputs: (n, channels, ...). gradients: (n, outputs, ...)."""
    assert isinstance(module, nn.Conv1d | nn.Conv2d)
    return _Convolution(module, inputs, gradients, scratch)


class _Layout(Protocol):
    """How a few examples' gradients are made, and how a sum of them is turned into the weight's shape."""

    def gradients(self, inputs: Tensor, gradients: Tensor, out: Tensor) -> None:
        """Write (c, weight.numel()) gradients of c examples; inputs are padded."""
        ...

    def weight(self, total: Tensor) -> Tensor:
        """A sum of such gradients, in the weight's shape."""
        ...


class _Convolution:
    def __init__(self, module: nn.Conv1d | nn.Conv2d, inputs: Tensor, gradients: Tensor, scratch: Scratch) -> None:
        self._bias = Materialised({})
        has_bias = module.bias is not None and module.bias.requires_grad
        if has_bias:
            self._bias = Materialised({"bias": gradients.flatten(2).sum(dim=2)})
        self._has_bias, self._has_weight = has_bias, module.weight.requires_grad
        self._squares = torch.zeros((), dtype=torch.float64)
        if self._has_weight:
            self._make(module, inputs, _plane(gradients), scratch)

    def squares(self) -> Tensor:
        """As :meth:`Samples.squares`."""
        squares = self._bias.squares() if self._has_bias else 0.0
        return squares + self._squares

    def sums(self, weights: Tensor) -> dict[str, Tensor]:
        """As :meth:`Samples.sums`."""
        sums = self._bias.sums(weights) if self._has_bias else {}
        if self._has_weight:
            sums["weight"] = self._layout.weight(weighted_sum(without(self._samples, weights), weights))
        return sums

    def _make(self, module: nn.Conv1d | nn.Conv2d, inputs: Tensor, gradients: Tensor, scratch: Scratch) -> None:
        weight = module.weight
        self._layout = _layout(module, scratch)
        self._samples = scratch.empty((module, "samples"), (len(inputs), weight.numel()), weight)
        squares, size = [], _SMALL_EXAMPLES if weight.numel() <= _SMALL else _EXAMPLES
        for start in range(0, len(inputs), size):
            chosen = slice(start, start + size)
            self._layout.gradients(_padded(module, inputs[chosen]), gradients[chosen], self._samples[chosen])
            squares.append(squared_norms(self._samples[chosen]))
        self._squares = torch.cat(squares)


class _Patches:
    """All patches, (channels k k, pixels), then one product per example and group. For any convolution."""

    def __init__(self, module: nn.Conv1d | nn.Conv2d, scratch: Scratch) -> None:
        self._shape, self._groups = tuple(module.weight.shape), module.groups
        self._kernel, self._stride, self._dilation = (
            _pair(side) for side in (module.kernel_size, module.stride, module.dilation)
        )
        self._name, self._scratch = (module, "patches"), scratch

    def gradients(self, inputs: Tensor, gradients: Tensor, out: Tensor) -> None:
        """As :meth:`_Layout.gradients`."""
        count, channels = inputs.shape[:2]
        outputs, height, width = gradients.shape[1:]
        (down, across), (stride_y, stride_x), (dilation_y, dilation_x) = self._kernel, self._stride, self._dilation
        per_example, per_channel, per_row, per_pixel = inputs.stride()
        patches = inputs.as_strided(
            (count, channels, down, across, height, width),
            (
                per_example,
                per_channel,
                dilation_y * per_row,
                dilation_x * per_pixel,
                stride_y * per_row,
                stride_x * per_pixel,
            ),
            inputs.storage_offset(),
        )
        copied = self._scratch.empty(self._name, tuple(patches.shape), inputs).copy_(patches)
        # The product of a patch matrix with a transposed gradient takes three times as long as with a copy.
        upright = gradients.reshape(count * self._groups, outputs // self._groups, height * width)
        turned = self._scratch.empty((self._name, "turned"), (len(upright), height * width, upright.shape[1]), inputs)
        torch.bmm(
            copied.view(count * self._groups, -1, height * width),
            turned.copy_(upright.transpose(1, 2)),
            out=out.view(count * self._groups, -1, outputs // self._groups),
        )

    def weight(self, total: Tensor) -> Tensor:
        """As :meth:`_Layout.weight`; gradients are (group, channel and kernel, output)."""
        turned = total.view(self._groups, -1, self._shape[0] // self._groups).transpose(1, 2)
        return turned.reshape(self._shape)


class _NeighbouringRows:
    """With channels last, k neighbouring pixels of a row are contiguous: copied once for each pixel.

    A kernel row's gradient is then one product per example over consecutive rows of that copy.
    For convolutions without stride, dilation and groups.
    """

    def __init__(self, module: nn.Conv1d | nn.Conv2d, scratch: Scratch) -> None:
        self._outputs, self._channels = module.weight.shape[:2]
        self._kernel = _pair(module.kernel_size)
        self._shape = tuple(module.weight.shape)
        self._module, self._scratch = module, scratch

    def gradients(self, inputs: Tensor, gradients: Tensor, out: Tensor) -> None:
        """As :meth:`_Layout.gradients`; each gradient as (kernel row, output, kernel column, channel)."""
        count, channels, padded_height, padded_width = inputs.shape
        outputs, height, width = gradients.shape[1:]
        down, across = self._kernel
        last = self._scratch.empty((self._module, "last"), (count, padded_height, padded_width, channels), inputs)
        last.copy_(inputs.permute(0, 2, 3, 1))
        rows = last.as_strided(
            (count, padded_height, width, across * channels),
            (last.stride(0), last.stride(1), channels, 1),
            last.storage_offset(),
        )
        copied = self._scratch.empty((self._module, "rows"), tuple(rows.shape), inputs).copy_(rows)
        copied = copied.view(count, padded_height * width, across * channels)
        upright = gradients.reshape(count, outputs, height * width)
        kernel_rows = out.view(count, down, outputs, across * channels)
        for y in range(down):
            lines = copied[:, y * width : y * width + height * width]
            torch.bmm(upright, lines, out=kernel_rows[:, y])

    def weight(self, total: Tensor) -> Tensor:
        """As :meth:`_Layout.weight`."""
        down, across = self._kernel
        by_row = total.view(down, self._outputs, across, self._channels)
        return by_row.permute(1, 3, 0, 2).reshape(self._shape)


def _layout(module: nn.Conv1d | nn.Conv2d, scratch: Scratch) -> _Layout:
    plain = all(side == 1 for side in (*module.stride, *module.dilation, module.groups))
    if plain and module.weight.shape[1] >= _MANY_CHANNELS:
        return _NeighbouringRows(module, scratch)
    return _Patches(module, scratch)


def _padded(module: nn.Conv1d | nn.Conv2d, inputs: Tensor) -> Tensor:
    """The inputs as the kernel sees them, (n, channels, height, width); one row for Conv1d."""
    padding = list(module._reversed_padding_repeated_twice)
    if any(padding):
        mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
        inputs = F.pad(inputs, padding, mode=mode)
    return _plane(inputs)


def _plane(tensor: Tensor) -> Tensor:
    return tensor.unsqueeze(2) if tensor.ndim == 3 else tensor


def _pair(sides: tuple[int, ...]) -> Pair:
    return (1, sides[0]) if len(sides) == 1 else (sides[0], sides[1])
