"""Conv1d and Conv2d: per-example gradients by batched products, a few examples at a time, in memory that stays.

The norm and the weighted sum read the gradients as they were made; nothing is computed twice. Channels lie last, as
in the models of a CPU: what lies otherwise is copied. Two layouts of the inputs: all k x k patches of very few
channels, and otherwise rows of k neighbouring pixels, which copies k-fold instead of k^2-fold.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from leptonic.privacy.bookkeeping.samples import Materialised, Samples
from leptonic.privacy.bookkeeping.scratch import Scratch
from leptonic.privacy.clipping import squared_lengths, weighted_sum, without

__all__ = ["convolution"]

_COPIED = 2**20
"""At most so many values are copied at a time, of as many examples as a power of two, which cores share evenly: copies
and products then meet in the cache."""

_SOME_CHANNELS = 4
"""From so many on, rows are quicker than patches."""

_FEW_OUTPUTS, _WIDER = 16, 3
"""Products of fewer outputs with patches three times as wide take half as long with the outputs first."""

Convolution = nn.Conv1d | nn.Conv2d
Pair = tuple[int, int]


def convolution(module: nn.Module, inputs: Tensor, gradients: Tensor, scratch: Scratch) -> Samples:
    """nn.Conv1d, nn.Conv2d. inputs: (n, channels, ...). gradients: (n, outputs, ...)."""
    assert isinstance(module, nn.Conv1d | nn.Conv2d)
    if not module.weight.requires_grad:
        return Materialised({"bias": gradients.flatten(2).sum(dim=2)})
    return _Convolution(module, inputs, _plane(gradients).permute(0, 2, 3, 1), scratch)


class _Layout(Protocol):
    """How a few examples' gradients are made, and how sums of them are turned into the parameters' shapes."""

    parts: Sequence[Pair]
    """A gradient is made in parts: so many products at a time, of so many values each. Each is written into memory
    without gaps: into any other, PyTorch multiplies one example after the other, which takes twice as long."""

    copied: int
    """Values copied for each example."""

    def gradients(self, inputs: Tensor, gradients: Tensor, out: Sequence[Tensor]) -> None:
        """Write c examples' gradients into (products, c, size) for each part.

        inputs: (c, channels, ...). gradients: (c, height, width, outputs).
        """
        ...

    def named(self, totals: Sequence[Tensor]) -> dict[str, Tensor]:
        """Sums of such parts, (products, size) each, by parameter."""
        ...


class _Convolution:
    def __init__(self, module: Convolution, inputs: Tensor, gradients: Tensor, scratch: Scratch) -> None:
        plain = all(side == 1 for side in (*module.stride, *module.dilation, module.groups))
        rows = plain and module.in_channels >= _SOME_CHANNELS
        self._layout: _Layout = (_NeighbouringRows if rows else _Patches)(module, gradients, scratch)
        self._samples = [
            scratch.empty((module, "samples", part), (products, len(inputs), size), inputs)
            for part, (products, size) in enumerate(self._layout.parts)
        ]
        few = 2 ** (max(1, _COPIED // self._layout.copied).bit_length() - 1)
        for start in range(0, len(inputs), few):
            chosen = slice(start, start + few)
            own = [part[:, chosen] for part in self._samples]
            self._layout.gradients(inputs[chosen], gradients[chosen], own)

    def squares(self) -> Tensor:
        """As :meth:`Samples.squares`."""
        return torch.cat([squared_lengths(part) for part in self._samples]).sum(dim=0)

    def sums(self, weights: Tensor) -> dict[str, Tensor]:
        """As :meth:`Samples.sums`."""
        return self._layout.named(
            [
                torch.stack([weighted_sum(without(product, weights), weights) for product in part])
                for part in self._samples
            ]
        )


class _Patches:
    """All patches, (channels k k, pixels), then one product per example and group. For any convolution.

    A row of ones beside the patches makes the bias' gradient.
    """

    def __init__(self, module: Convolution, gradients: Tensor, scratch: Scratch) -> None:
        self._shape, self._groups = tuple(module.weight.shape), module.groups
        self._ones = int(_has_bias(module))
        self._kernel, self._stride, self._dilation = (
            _pair(side) for side in (module.kernel_size, module.stride, module.dilation)
        )
        self._fan = module.weight[0].numel() + self._ones
        per_group = module.out_channels // module.groups
        self._outputs_first = per_group < _FEW_OUTPUTS and _WIDER * per_group <= self._fan
        self.parts: Sequence[Pair] = [(1, self._fan * module.out_channels)]
        self.copied = self._fan * module.groups * gradients[0, ..., 0].numel()
        self._module, self._scratch = module, scratch

    def gradients(self, inputs: Tensor, gradients: Tensor, out: Sequence[Tensor]) -> None:
        """As :meth:`_Layout.gradients`; each gradient as (group, one and patch, output), or output before patch."""
        inputs = _padded(self._module, inputs).contiguous()
        count, channels, padded_height, padded_width = inputs.shape
        _, height, width, outputs = gradients.shape
        groups, per_group, pixels = self._groups, channels // self._groups, height * width
        (down, across), (stride_y, stride_x), (dilation_y, dilation_x) = self._kernel, self._stride, self._dilation
        per_channel = padded_height * padded_width
        copied = self._scratch.empty((self._module, "patches"), (count, groups, self._fan, pixels), inputs)
        copied[:, :, : self._ones] = 1.0
        copied[:, :, self._ones :].view(count, groups, per_group, down, across, height, width).copy_(
            inputs.as_strided(
                (count, groups, per_group, down, across, height, width),
                (
                    channels * per_channel,
                    per_group * per_channel,
                    per_channel,
                    dilation_y * padded_width,
                    dilation_x,
                    stride_y * padded_width,
                    stride_x,
                ),
                inputs.storage_offset(),
            )
        )
        by_group = gradients.reshape(count, pixels, groups, outputs // groups).transpose(1, 2)
        together = count * groups
        left, right = copied.view(together, self._fan, pixels), by_group.reshape(together, pixels, outputs // groups)
        if self._outputs_first:
            left, right = right.transpose(1, 2), left.transpose(1, 2)
        torch.bmm(left, right, out=out[0][0].view(together, left.shape[1], right.shape[2]))

    def named(self, totals: Sequence[Tensor]) -> dict[str, Tensor]:
        """As :meth:`_Layout.named`."""
        per_group = self._shape[0] // self._groups
        if self._outputs_first:
            total = totals[0].view(self._groups, per_group, self._fan)
        else:
            total = totals[0].view(self._groups, self._fan, per_group).transpose(1, 2)
        sums = {"weight": total[..., self._ones :].reshape(self._shape)}
        return sums | {"bias": total[..., 0].reshape(-1)} if self._ones else sums


class _NeighbouringRows:
    """With channels last, k neighbouring pixels of a row are contiguous: copied once for each pixel.

    A kernel row's gradient is then one product per example over consecutive rows of that copy, of those that
    it meets within the image: zeros above and below add nothing. For convolutions without stride, dilation and groups.
    """

    def __init__(self, module: Convolution, gradients: Tensor, scratch: Scratch) -> None:
        self._shape, (self._down, self._across) = tuple(module.weight.shape), _pair(module.kernel_size)
        self._line = self._across * module.in_channels
        bias = [(1, module.out_channels)] if _has_bias(module) else []
        self.parts: Sequence[Pair] = [(self._down, self._line * module.out_channels), *bias]
        self.copied = self._line * gradients[0, ..., 0].numel()
        self._above = _rows_of_zeros(module)
        self._module, self._scratch = module, scratch

    def gradients(self, inputs: Tensor, gradients: Tensor, out: Sequence[Tensor]) -> None:
        """As :meth:`_Layout.gradients`; each kernel row's gradient as (output, kernel column, channel), the bias'."""
        inputs = _padded(self._module, inputs, rows=False).contiguous(memory_format=torch.channels_last)
        count, channels, rows, padded_width = inputs.shape
        _, height, width, outputs = gradients.shape
        lines = inputs.as_strided(
            (count, rows, width, self._line),
            (rows * padded_width * channels, padded_width * channels, channels, 1),
            inputs.storage_offset(),
        )
        copied = self._scratch.empty((self._module, "rows"), (count, rows * width, self._line), inputs)
        copied.view(lines.shape).copy_(lines)
        upright = gradients.reshape(count, height * width, outputs)
        kernel_rows, *biases = out
        for y, kernel_row in enumerate(kernel_rows):
            # For row h of the output, the kernel's row y lies on row h + down of the inputs.
            down = y - self._above
            first = max(0, -down)
            last = max(first, min(height, rows - down))
            met = upright[:, first * width : last * width].transpose(1, 2)
            seen = copied[:, (first + down) * width : (last + down) * width]
            torch.bmm(met, seen, out=kernel_row.view(count, outputs, self._line))
        for bias in biases:
            torch.sum(upright, dim=1, out=bias[0])

    def named(self, totals: Sequence[Tensor]) -> dict[str, Tensor]:
        """As :meth:`_Layout.named`."""
        outputs, channels = self._shape[:2]
        kernel_rows, *biases = totals
        by_row = kernel_rows.view(self._down, outputs, self._across, channels)
        sums = {"weight": by_row.permute(1, 3, 0, 2).reshape(self._shape)}
        return sums | {"bias": biases[0][0]} if biases else sums


def _has_bias(module: Convolution) -> bool:
    return module.bias is not None and module.bias.requires_grad


def _padded(module: Convolution, inputs: Tensor, *, rows: bool = True) -> Tensor:
    """The inputs as the kernel sees them, (n, channels, height, width); one row for Conv1d.

    rows: else without the rows of zeros above and below.
    """
    padding = list(module._reversed_padding_repeated_twice)
    zeros = module.padding_mode == "zeros"
    if zeros and not rows:
        padding = padding[:2]
    if any(padding):
        inputs = F.pad(inputs, padding, mode="constant" if zeros else module.padding_mode)
    return _plane(inputs)


def _rows_of_zeros(module: Convolution) -> int:
    """How many the kernel sees above the inputs."""
    above = list(module._reversed_padding_repeated_twice)[2:3]
    return above[0] if above and module.padding_mode == "zeros" else 0


def _plane(tensor: Tensor) -> Tensor:
    return tensor.unsqueeze(2) if tensor.ndim == 3 else tensor


def _pair(sides: tuple[int, ...]) -> Pair:
    return (1, sides[0]) if len(sides) == 1 else (sides[0], sides[1])
