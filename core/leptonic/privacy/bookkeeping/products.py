"""Sums of outer products over many examples, precise enough that one example moves them by at most the bound.

A float32 product over all rows at once rounds each partial sum, and in a large batch of aligned gradients the
rounding comes near to the clipping slack of 1e-4: over n aligned rows it is about 3e-8 n^1.5 / sqrt(3) of one row.
So products run over at most 128 examples and 1024 rows (3e-5 then), 256 examples' blocks are added pairwise,
and those sums in float64.
"""

from collections.abc import Sequence

from torch import Tensor

from leptonic.privacy.clipping import wide

__all__ = ["summed", "weighted_products"]

_EXAMPLES = 128
_ROWS = 1024
_NARROW = 256


def weighted_products(gradients: Tensor, inputs: Sequence[Tensor], weights: Tensor) -> tuple[list[Tensor], Tensor]:
    """The sum over examples i and rows t of weights_i gradients_it inputs_it^T, for each of the inputs.

    gradients: (n, rows, o). inputs: (n, rows, k) each. weights: (n,).
    Returns a (o, k) sum for each of the inputs, and sum_it weights_i gradients_it, (o,); float64.
    """
    examples, rows, outputs = gradients.shape
    size = max(1, min(_EXAMPLES, _ROWS // rows))
    parts: list[list[Tensor]] = [[] for _ in range(len(inputs) + 1)]
    narrow = sum(source.shape[2] for source in inputs) < outputs
    for start in range(0, examples, size):
        chosen = slice(start, start + size)
        # The weights go to what is narrower.
        weight = weights[chosen].to(gradients.dtype)
        weight = weight if rows == 1 else weight.repeat_interleave(rows)
        upright = gradients[chosen].flatten(0, 1)
        parts[-1].append(weight @ upright)
        if not narrow:
            upright = upright * weight[:, None]
        for part, source in zip(parts, inputs, strict=False):
            own = source[chosen].flatten(0, 1)
            part.append(upright.t() @ (own * weight[:, None] if narrow else own))
    *products, bias = [summed(part, every=max(1, _NARROW // size)) for part in parts]
    return products, bias


def summed(blocks: Sequence[Tensor], *, every: int) -> Tensor:
    """The sum of float32 blocks, (*shape): pairwise within ``every`` blocks, in float64 beyond. Returns float64."""
    total: Tensor | None = None
    for start in range(0, len(blocks), every):
        part = _pairwise(blocks[start : start + every])
        total = part.to(wide(part)) if total is None else total.add_(part)
    assert total is not None
    return total


def _pairwise(blocks: Sequence[Tensor]) -> Tensor:
    if len(blocks) == 1:
        return blocks[0]
    half = len(blocks) // 2
    return _pairwise(blocks[:half]).add_(_pairwise(blocks[half:]))
