"""Gradients that are sums of outer products: linear layers, also over sequences, and LSTM layers.

The gradient of example i is the sum over rows t of g_it x_it^T. Its squared norm is |g|^2 |x|^2 for one row,
and for several the sum over all pairs of rows of (g_s . g_t)(x_s . x_t), the Gram form, without the gradient.
Source: Goodfellow 2015, arXiv 1510.01799; Li et al. 2022, arXiv 2110.05679.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from leptonic.privacy.bookkeeping.products import weighted_products
from leptonic.privacy.bookkeeping.samples import Materialised, Samples
from leptonic.privacy.clipping import squared_norms, wide, without

__all__ = ["OuterProducts", "linear", "outer_products"]

_CANCELLING = 100.0

_BLOCK = 256
"""Values of a row that are multiplied at a time: fewer add up with less rounding."""

_FEW_ROWS, _MANY_ROWS, _WIDE = 8, 48, 256
"""On Intel's processors products of 8 rows with up to 48 take no longer for each pair than of 48 with 48, where rows
have 256 values or more: those above the diagonal are then enough, and take two thirds of the time of all. On AMD's they
would take half as long again."""

_ROUNDING = 2.0**-24
"""At most by so much, relatively, does one operation in float32 round."""

_TINY = torch.finfo(torch.float32).tiny


def linear(module: nn.Module, inputs: Tensor, gradients: Tensor) -> Samples:
    """nn.Linear. inputs: (n, ..., in). gradients: (n, ..., out)."""
    assert isinstance(module, nn.Linear)
    count = len(inputs)
    rows = inputs.reshape(count, -1, module.in_features)
    weights = {"weight": rows} if module.weight.requires_grad else {}
    biases = ["bias"] if module.bias is not None and module.bias.requires_grad else []
    return outer_products(gradients.reshape(count, -1, module.out_features), weights, biases)


def outer_products(gradients: Tensor, inputs: Mapping[str, Tensor], biases: Sequence[str]) -> Samples:
    """The cheaper form for these sizes.

    gradients: (n, rows, o). inputs: for each weight (o, k), its (n, rows, k). biases: names of parameters (o,),
    to each of which every row's gradient goes as it is.
    """
    _, rows, outputs = gradients.shape
    widths = sum(source.shape[2] for source in inputs.values())
    if not inputs or (rows > 1 and rows * (outputs + widths) > outputs * widths):
        upright = gradients.transpose(1, 2)
        samples = {name: torch.bmm(upright, source) for name, source in inputs.items()}
        return Materialised(samples | dict.fromkeys(biases, gradients.sum(dim=1)))
    return OuterProducts(gradients, inputs, biases)


class OuterProducts:
    """Norms in factored form; gradients only of those few examples for which that would not be precise.

    Where rows cancel, little is left of large products, and their rounding is large beside it. Hence squares are
    raised by the most that they can be wrong by, whatever the rows hold and in whatever order float32 adds: a product
    of two rows of k values is wrong by at most k 2^-24 times the product of their lengths, which every other factor
    then multiplies. That can only lower an example's factor: by 1e-5 to 1e-4, and up to 2e-3 where rows cancel. Where
    the square of sum_t |g_t| |x_t| exceeds 100 squared norms, or is not finite, the example's gradient is made, and
    both its norm and its part in the sum come from what was made. The rounding of the sum itself is a multiple of
    2^-24 sum_t |g_t| |x_t|: as measured, the slack covers it up to there.
    """

    def __init__(self, gradients: Tensor, inputs: Mapping[str, Tensor], biases: Sequence[str]) -> None:
        self._gradients, self._inputs, self._biases = gradients, inputs, biases
        self._apart: Tensor | None = None
        self._made: Materialised | None = None

    def squares(self) -> Tensor:
        """As :meth:`Samples.squares`."""
        if self._gradients.shape[1] == 1:
            return self._of_one_row()
        squares, square_of_sum, allowance = self._gram()
        exact = ((square_of_sum <= _CANCELLING * squares) | (square_of_sum == 0)) & allowance.isfinite()
        squares += allowance
        if bool(exact.all()):
            return squares
        self._apart = torch.nonzero(~exact).flatten()
        self._made = self._materialised(self._apart)
        squares[self._apart] = self._made.squares()
        return squares

    def sums(self, weights: Tensor) -> dict[str, Tensor]:
        """As :meth:`Samples.sums`."""
        rest = weights
        if self._apart is not None:
            rest = weights.clone()
            rest[self._apart] = 0.0
        gradients = without(self._gradients, rest)
        inputs = [without(source, rest) for source in self._inputs.values()]
        products, bias = weighted_products(gradients, inputs, rest)
        sums = dict(zip(self._inputs, products, strict=True)) | {name: bias.clone() for name in self._biases}
        if self._made is not None:
            for name, more in self._made.sums(weights[self._apart]).items():
                sums[name] = sums[name] + more
        return sums

    def _of_one_row(self) -> Tensor:
        """|g|^2 (|x|^2 + one for each bias); what may have vanished in float32 squares is added."""
        factor = squared_norms(self._gradients) + self._gradients.shape[2] * _TINY
        others = [squared_norms(source) + source.shape[2] * _TINY for source in self._inputs.values()]
        return factor * (torch.stack(others).sum(dim=0) + len(self._biases))

    def _gram(self) -> tuple[Tensor, Tensor, Tensor]:
        """Squared norms, (sum_t |g_t| |x_t|)^2, and the most that the first can be too small by, each (n,) float64."""
        rows, outputs = self._gradients.shape[1:]
        widths = [source.shape[2] for source in self._inputs.values()]
        gram, of_gradients = _products([self._gradients], ones=0)
        other, of_inputs = _products(self._inputs.values(), ones=len(self._biases))
        # Of the last factor: one product, and additions of rows, and of their sums where there is no float64.
        allowance = (_roundings(widths) + 2 * rows) * _weighed(gram, of_inputs)
        allowance += _roundings([outputs]) * _weighed(other, of_gradients)
        # In a product of two rows each term that float32 does not hold is below its least normal number.
        ends = (of_gradients.square().sum(dim=1) + rows * outputs * _TINY) * sum(widths)
        ends += (of_inputs.square().sum(dim=1) + rows * sum(widths) * _TINY) * outputs
        squares = gram.mul_(other).sum(dim=2).to(wide(gram)).sum(dim=1)
        square_of_sum = (of_gradients * of_inputs).sum(dim=1).square()
        return squares, square_of_sum, _ROUNDING * allowance + rows * _TINY * (ends + rows)

    def _materialised(self, chosen: Tensor) -> Materialised:
        gradients = self._gradients[chosen]
        samples = {name: torch.bmm(gradients.transpose(1, 2), source[chosen]) for name, source in self._inputs.items()}
        return Materialised(samples | dict.fromkeys(self._biases, gradients.sum(dim=1)))


def _products(sources: Iterable[Tensor], *, ones: int) -> tuple[Tensor, Tensor]:
    """Products of every two rows of each of the sources (n, rows, k), side by side with so many columns of ones.

    Returns (n, rows, rows), and the rows' lengths, (n, rows), wide.
    """
    first, *others = [block for source in sources for block in source.split(_BLOCK, dim=2)]
    total = _with_itself(first)
    for block in others:
        total += _with_itself(block)
    if ones:
        total += float(ones)
    return total, total.diagonal(dim1=1, dim2=2).to(wide(total)).sqrt()


def _with_itself(block: Tensor) -> Tensor:
    count, turned = block.shape[1], block.transpose(1, 2)
    if block.shape[2] < _WIDE or count > _MANY_ROWS or block.device.type != "cpu" or not _on_intel():
        return torch.bmm(block, turned)
    total = block.new_empty(len(block), count, count)
    for start in range(0, count, _FEW_ROWS):
        end = start + _FEW_ROWS
        total[:, start:end, start:] = torch.bmm(block[:, start:end], turned[:, :, start:])
        total[:, end:, start:end] = total[:, start:end, end:].transpose(1, 2)
    return total


def _roundings(widths: Sequence[int]) -> int:
    """How often, at most, what becomes of one product of two values is rounded in :func:`_products`.

    Once in each addition of its block, of the blocks (one fewer than there are), and of the ones.
    """
    return min(_BLOCK, max(widths)) + sum(-(-width // _BLOCK) for width in widths)


def _weighed(products: Tensor, lengths: Tensor) -> Tensor:
    """sum_st |products_st| lengths_s lengths_t for each example. Returns (n,), wide."""
    # The products are as symmetric as they need be, and PyTorch multiplies from the left four times as fast.
    columns = torch.bmm(lengths.to(products.dtype)[:, None], products.abs())
    return (columns[:, 0].to(lengths.dtype) * lengths).sum(dim=1)


@lru_cache
def _on_intel() -> bool:
    """Whether this is known to be one of Intel's processors, for which MKL has ways of its own."""
    capabilities: Callable[[], Mapping[str, Any]] = getattr(torch.cpu, "get_capabilities", dict)
    return "Intel" in str(capabilities().get("cpu_name"))
