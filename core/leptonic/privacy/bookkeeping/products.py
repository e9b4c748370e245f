"""Sums of outer products over many examples, precise enough that one example moves them by at most the bound.

A float32 product over all rows at once rounds each partial sum, and in a large batch of aligned gradients the
rounding comes near to the clipping slack of 1e-4: over n aligned rows it is about 3e-8 n^1.5 / sqrt(3) of one row.
So products run over at most 128 examples and 1024 rows (3e-5 then), 256 examples' blocks are added pairwise,
and those sums, where there are several, in float64.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from leptonic.privacy.clipping import wide

__all__ = ["summed", "weighted_products"]

_EXAMPLES = 128
_ROWS = 1024
_NARROW = 256


def weighted_products(gradients: Tensor, inputs: Sequence[Tensor], weights: Tensor) -> tuple[list[Tensor], Tensor]:
    """The sum over examples i and rows t of weights_i gradients_it inputs_it^T, for each of the inputs.

    gradients: (n, rows, o). inputs: (n, rows, k) each. weights: (n,).
    Returns a (o, k) sum for each of the inputs, and sum_it weights_i gradients_it, (o,), in the narrowest type that
    holds them: float32 where nothing had to be added in float64.
    """
    examples, rows, outputs = gradients.shape
    size = max(1, min(_EXAMPLES, _ROWS // rows))
    widths = [source.shape[2] for source in inputs]
    of = _of_narrow_inputs if sum(widths) < outputs else _of_narrow_gradients
    parts: list[list[Tensor]] = []
    whole = examples // size * size
    for chosen, blocks in ((slice(0, whole), whole // size), (slice(whole, examples), 1)):
        if chosen.start != chosen.stop:
            few = of(gradients[chosen], [x[chosen] for x in inputs], weights[chosen].to(gradients.dtype), blocks)
            parts = [[*one, *more] for one, more in zip(parts, few, strict=True)] if parts else few
    sums = [summed(part, every=max(1, _NARROW // size)) for part in parts]
    if of is _of_narrow_inputs:
        *products, bias = sums[0].split([*widths, 1])
        return [product.t() for product in products], bias[0]
    return sums[:-1], sums[-1]


def _of_narrow_inputs(gradients: Tensor, inputs: Sequence[Tensor], weights: Tensor, blocks: int) -> list[list[Tensor]]:
    """One product for each block, of weighted inputs and the weights with the gradients, (widths + 1, o)."""
    examples, rows, outputs = gradients.shape
    weight = weights[:, None, None]
    scaled = gradients.new_empty(examples, rows, sum(source.shape[2] for source in inputs) + 1)
    start = 0
    for source in inputs:
        torch.mul(source, weight, out=scaled[:, :, start : start + source.shape[2]])
        start += source.shape[2]
    scaled[:, :, start:] = weight
    upright = gradients.reshape(blocks, -1, outputs)
    return [_outer(scaled.view(blocks, upright.shape[1], -1), upright)]


def _of_narrow_gradients(
    gradients: Tensor, inputs: Sequence[Tensor], weights: Tensor, blocks: int
) -> list[list[Tensor]]:
    """For each block a product of weighted gradients with each of the inputs, (o, k), and their sum, (o,)."""
    scaled = (gradients * weights[:, None, None]).reshape(blocks, -1, gradients.shape[2])
    products = [_outer(scaled, source.reshape(blocks, scaled.shape[1], -1)) for source in inputs]
    return [*products, list(scaled.sum(dim=1))]


def _outer(left: Tensor, right: Tensor) -> list[Tensor]:
    """left^T right for each block of (blocks, rows, o) and (blocks, rows, k); of two the second is added to the first.

    So many are there where rows are few and products large, and an addition by itself takes a tenth of all the time.
    """
    if len(left) != 2:
        return list(torch.bmm(left.transpose(1, 2), right))
    return [torch.mm(left[0].t(), right[0]).addmm_(left[1].t(), right[1])]


def summed(blocks: Sequence[Tensor], *, every: int) -> Tensor:
    """The sum of float32 blocks, (*shape): pairwise within ``every`` blocks, in float64 beyond, if there are more."""
    total, *others = (_pairwise(blocks[start : start + every]) for start in range(0, len(blocks), every))
    if others:
        total = total.to(wide(total))
        for other in others:
            total += other
    return total


def _pairwise(blocks: Sequence[Tensor]) -> Tensor:
    if len(blocks) == 1:
        return blocks[0]
    half = len(blocks) // 2
    return _pairwise(blocks[:half]).add_(_pairwise(blocks[half:]))
