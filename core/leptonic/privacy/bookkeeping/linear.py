"""Gradients that are sums of outer products: linear layers, also over sequences, and LSTM layers.

The gradient of example i is the sum over rows t of g_it x_it^T. Its squared norm is |g|^2 |x|^2 for one row,
and for several the sum over all pairs of rows of (g_s . g_t)(x_s . x_t), the Gram form, without the gradient.
Source: Goodfellow 2015, arXiv 1510.01799; Li et al. 2022, arXiv 2110.05679.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from leptonic.privacy.bookkeeping.products import weighted_products
from leptonic.privacy.bookkeeping.samples import Materialised, Samples
from leptonic.privacy.clipping import squared_norms, wide, without

__all__ = ["OuterProducts", "linear", "outer_products"]

_ALLOWANCE = 2.0**-20
_CANCELLING = 100.0

_FEW_ROWS, _MANY_ROWS, _WIDE = 8, 48, 256
"""Products of 8 rows with up to 48 take no longer for each pair than of 48 with 48, where rows have 256 values or more:
those above the diagonal are then enough, and take two thirds of the time of all."""

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

    In float32 the Gram form is wrong by a small multiple of 2^-24 (sum_t |g_t| |x_t|)^2, and the weighted sum by
    one of 2^-24 sum_t |g_t| |x_t|. Both matter where rows cancel. Hence: 2^-20 of that square (measured errors are
    below three quarters of it for constant rows, below an eighth for random ones) is added, which can only lower
    the factor; and where the square exceeds 100 squared norms, or is not finite, the example's gradient is made,
    and both its norm and its part in the sum come from what was made. So factors fall below the exact ones by at
    most 5e-5, and an error of 2^-20 more would raise them by no more than that, which the slack covers.
    """

    def __init__(self, gradients: Tensor, inputs: Mapping[str, Tensor], biases: Sequence[str]) -> None:
        self._gradients, self._inputs, self._biases = gradients, inputs, biases
        self._apart: Tensor | None = None
        self._made: Materialised | None = None

    def squares(self) -> Tensor:
        """As :meth:`Samples.squares`."""
        if self._gradients.shape[1] == 1:
            return self._of_one_row()
        squares, square_of_sum, vanished = self._gram()
        exact = (square_of_sum <= _CANCELLING * squares) | (square_of_sum == 0)
        squares += _ALLOWANCE * square_of_sum + vanished
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
        """Squared norms, (sum_t |g_t| |x_t|)^2, and at most what underflow took, each (n,) float64."""
        examples, rows, outputs = self._gradients.shape
        widths = sum(source.shape[2] for source in self._inputs.values())
        gram = self._gradients.new_zeros(examples, rows, rows)
        other = torch.full_like(gram, float(len(self._biases)))
        halves = _add_products(gram, self._gradients)
        for source in self._inputs.values():
            halves = _add_products(other, source) or halves
        of_gradients, of_inputs = torch.stack([g.diagonal(dim1=1, dim2=2) for g in (gram, other)]).to(wide(gram))
        lengths = of_gradients.sqrt() * of_inputs.sqrt()
        # In a product of two rows each term that float32 does not hold is below its least normal number.
        ends = (of_gradients.sum(dim=1) + rows * outputs * _TINY) * widths
        ends += (of_inputs.sum(dim=1) + rows * widths * _TINY) * outputs
        gram.mul_(other)
        if halves:
            gram.mul_(_twice_above(rows, gram))
        squares = gram.flatten(1).sum(dim=1).to(wide(gram))
        return squares, lengths.sum(dim=1).square(), rows * _TINY * ends

    def _materialised(self, chosen: Tensor) -> Materialised:
        gradients = self._gradients[chosen]
        samples = {name: torch.bmm(gradients.transpose(1, 2), source[chosen]) for name, source in self._inputs.items()}
        return Materialised(samples | dict.fromkeys(self._biases, gradients.sum(dim=1)))


def _add_products(total: Tensor, rows: Tensor) -> bool:
    """Add every two rows' product, of (n, rows, k), to (n, rows, rows); True if some below the diagonal lack."""
    count, turned = rows.shape[1], rows.transpose(1, 2)
    if rows.shape[2] < _WIDE or count > _MANY_ROWS:
        total.baddbmm_(rows, turned)
        return False
    for start in range(0, count, _FEW_ROWS):
        few = slice(start, start + _FEW_ROWS)
        total[:, few, start:] += torch.bmm(rows[:, few], turned[:, :, start:])
    return True


def _twice_above(rows: int, like: Tensor) -> Tensor:
    """What a product of two rows counts for where half of them are known, (rows, rows)."""
    strip = torch.arange(rows, device=like.device) // _FEW_ROWS
    return (strip[:, None] <= strip).to(like.dtype) + (strip[:, None] < strip)
