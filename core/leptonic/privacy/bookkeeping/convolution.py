"""Conv1d and Conv2d: per-example gradients by batched products, a few examples at a time, in memory that stays.

The norm is taken of the gradients as they were made, while they are in the cache, and the weighted sum reads
them once more; nothing is computed twice. Two layouts of the inputs: all k x k patches of very few channels, and
otherwise rows of k neighbouring pixels, which copies k-fold instead of k^2-fold.
"""

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from leptonic.privacy.bookkeeping.samples import Materialised, Samples
from leptonic.privacy.bookkeeping.scratch import Scratch
from leptonic.privacy.clipping import squared_norms, weighted_sum, without

__all__ = ["convolution"]

_COPIED = 2**20
"""Values copied at a time: they, the products and the norms of these then meet in the cache."""

_SOME_CHANNELS = 4
"""From so many on, rows are quicker than patches."""

_SMALL_PATCH = 64

Pair = tuple[int, int]


def convolution(module: nn.Module, inputs: Tensor, gradients: Tensor, scratch: Scratch) -> Samples:
    """nn.Conv1d, nn.Conv2d. inputs: (n, channels, ...). gradients: (n, outputs, ...)."""
    assert isinstance(module, nn.Conv1d | nn.Conv2d)
    return _Convolution(module, inputs, gradients, scratch)


class _Layout(Protocol):
    """How a few examples' gradients are made, and how a sum of them is turned into the weight's shape."""

    parts: int
    """A gradient is made in so many products of equal size. Each writes into memory without gaps: into any other,
    PyTorch multiplies one example after the other, which takes twice as long."""

    def gradients(self, inputs: Tensor, gradients: Tensor, out: Tensor) -> None:
        """Write (parts, c, weight.numel() / parts) gradients of c examples; inputs are padded."""
        ...

    def weight(self, total: Tensor) -> Tensor:
        """A sum of such gradients, (parts, weight.numel() / parts), in the weight's shape."""
        ...


class _Convolution:
    def __init__(self, module: nn.Conv1d | nn.Conv2d, inputs: Tensor, gradients: Tensor, scratch: Scratch) -> None:
        self._has_bias = module.bias is not None and module.bias.requires_grad
        self._has_weight = module.weight.requires_grad
        self._bias, self._squares = Materialised({}), torch.zeros((), dtype=torch.float64)
        if self._has_weight:
            self._make(module, inputs, _plane(gradients), scratch)
        elif self._has_bias:
            self._bias = Materialised({"bias": gradients.flatten(2).sum(dim=2)})

    def squares(self) -> Tensor:
        """As :meth:`Samples.squares`."""
        squares = self._bias.squares() if self._has_bias else 0.0
        return squares + self._squares

    def sums(self, weights: Tensor) -> dict[str, Tensor]:
        """As :meth:`Samples.sums`."""
        sums = self._bias.sums(weights) if self._has_bias else {}
        if self._has_weight:
            total = torch.stack([weighted_sum(without(part, weights), weights) for part in self._samples])
            sums["weight"] = self._layout.weight(total)
        return sums

    def _make(self, module: nn.Conv1d | nn.Conv2d, inputs: Tensor, gradients: Tensor, scratch: Scratch) -> None:
        weight, layout = module.weight, _layout(module, scratch)
        self._layout = layout
        self._samples = scratch.empty(
            (module, "samples"), (layout.parts, len(inputs), weight.numel() // layout.parts), weight
        )
        copied = weight.numel() // layout.parts // weight.shape[0] * module.groups * gradients[0, 0].numel()
        size, squares, biases = max(1, _COPIED // copied), [], []
        for start in range(0, len(inputs), size):
            chosen = slice(start, start + size)
            own = self._samples[:, chosen]
            layout.gradients(_padded(module, inputs[chosen]), gradients[chosen], own)
            squares.append(torch.stack([squared_norms(part) for part in own]).sum(dim=0))
            if self._has_bias:
                biases.append(gradients[chosen].flatten(2).sum(dim=2))
        self._squares = torch.cat(squares)
        if self._has_bias:
            self._bias = Materialised({"bias": torch.cat(biases)})


class _Patches:
    """All patches, (channels k k, pixels), then one product per example and group. For any convolution."""

    parts = 1

    def __init__(self, module: nn.Conv1d | nn.Conv2d, scratch: Scratch) -> None:
        self._shape, self._groups = tuple(module.weight.shape), module.groups
        self._kernel, self._stride, self._dilation = (
            _pair(side) for side in (module.kernel_size, module.stride, module.dilation)
        )
        self._name, self._scratch = (module, "patches"), scratch

    def gradients(self, inputs: Tensor, gradients: Tensor, out: Tensor) -> None:
        """As :meth:`_Layout.gradients`; each gradient in the weight's order."""
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
        together, pixels = count * self._groups, height * width
        sideways = copied.view(together, -1, pixels).transpose(1, 2)
        fan, outputs = sideways.shape[2], outputs // self._groups
        if fan <= _SMALL_PATCH and 3 * outputs > 2 * fan:
            # A product with small patches that lie sideways takes over twice as long, so turn them first, by the
            # identity, which is quicker than a copy and exact; beside a value that is not finite there may be NaN.
            identity = torch.eye(fan, dtype=inputs.dtype, device=inputs.device).expand(together, fan, fan)
            turned = self._scratch.empty((self._name, "turned"), (together, pixels, fan), inputs)
            sideways = torch.bmm(sideways, identity, out=turned)
        torch.bmm(gradients.reshape(together, outputs, pixels), sideways, out=out.view(together, outputs, fan))

    def weight(self, total: Tensor) -> Tensor:
        """As :meth:`_Layout.weight`."""
        return total.view(self._shape)


class _NeighbouringRows:
    """With channels last, k neighbouring pixels of a row are contiguous: copied once for each pixel.

    A kernel row's gradient is then one product per example over consecutive rows of that copy.
    For convolutions without stride, dilation and groups.
    """

    def __init__(self, module: nn.Conv1d | nn.Conv2d, scratch: Scratch) -> None:
        self._outputs, self._channels = module.weight.shape[:2]
        self._kernel = _pair(module.kernel_size)
        self.parts = self._kernel[0]
        self._shape = tuple(module.weight.shape)
        self._module, self._scratch = module, scratch

    def gradients(self, inputs: Tensor, gradients: Tensor, out: Tensor) -> None:
        """As :meth:`_Layout.gradients`; each kernel row's gradient as (output, kernel column, channel)."""
        count, channels, padded_height, padded_width = inputs.shape
        outputs, height, width = gradients.shape[1:]
        across = self._kernel[1]
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
        for y, kernel_row in enumerate(out):
            lines = copied[:, y * width : y * width + height * width]
            torch.bmm(upright, lines, out=kernel_row.view(count, outputs, across * channels))

    def weight(self, total: Tensor) -> Tensor:
        """As :meth:`_Layout.weight`."""
        by_row = total.view(self.parts, self._outputs, self._kernel[1], self._channels)
        return by_row.permute(1, 3, 0, 2).reshape(self._shape)


def _layout(module: nn.Conv1d | nn.Conv2d, scratch: Scratch) -> _Layout:
    plain = all(side == 1 for side in (*module.stride, *module.dilation, module.groups))
    if plain and module.weight.shape[1] >= _SOME_CHANNELS:
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
