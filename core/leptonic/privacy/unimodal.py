"""Exact draws from a law on the integers that rises to one mode and falls after it, a million at a time.

Called by :mod:`leptonic.privacy.integer_noise`. The method is rejection from a staircase (Devroye 1986,
"Non-Uniform Random Variate Generation", section II.3) with integer heights, in which one 63-bit word chooses
step, column and height at once. Where the word alone does not decide, decimal arithmetic of 60 digits does.
"""

import math
from collections.abc import Iterator
from decimal import Context, Decimal, localcontext
from itertools import accumulate
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from leptonic.errors import PrivacyError
from leptonic.randomness import SecureStream

__all__ = ["Law", "Sampler", "PRECISION", "TAIL_BITS"]

TAIL_BITS = 130
"""Each side's tail that a law leaves out weighs at most 2^-130."""

_BITS = 63
_FRACTION_BITS = 128
_STEPS = 1792
_FAR_STEPS = 256
_LARGEST_SUPPORT = 2**52
_BATCH = 2**16
PRECISION = Context(prec=60)
"""Of the decimal arithmetic that weights are computed in."""


class Law(Protocol):
    """Unnormalised weights on lowest .. highest, that do not rise on the way from the mode to either end.

    The true law's mass outside is at most 2 * 2^-TAIL_BITS.
    """

    lowest: int
    mode: int
    highest: int

    def weight(self, value: int) -> Decimal:
        """The weight of ``value`` over the mode's, to a relative error of 2^-124; called within :data:`PRECISION`."""
        ...


class Sampler:
    """Independent draws of one law, within statistical distance 2^-120 of it for each draw.

    The proof. The law's support is cut into steps of adjacent columns (one column for each integer). A step has
    a height H of at least S w(k), for each of its columns k, where w is the weight and S a scale for which the
    area of all steps is at most 2^63. A word below 2^63 that falls into the area is a uniform pair of a column k
    and an integer height y < H; k is kept if y + u < S w(k), where u is uniform in [0, 1). So k is kept with a
    probability proportional to w(k): rounding H up costs rejections, never exactness.

    What is not exact: u has 128 bits (an error of 2^-128 for each kept draw); w(k) is off by a factor of at most
    1 +- 2^-124, a bound that rests on the correct rounding of decimal arithmetic and on no floating-point
    library; and the tails of 2 * 2^-130 are left out. The words are taken to be uniform, as ChaCha20's are to
    anyone without the key. Time depends on the values drawn; it is not hidden.

    Raises PrivacyError where the support has more than 2^52 integers.
    """

    def __init__(self, law: Law) -> None:
        self._law = law
        columns = law.highest - law.lowest + 1
        if columns > _LARGEST_SUPPORT:
            raise PrivacyError(f"noise over {columns:.3g} integers is too wide to sample: use a smaller scale")
        with localcontext(PRECISION):
            steps = [
                *_side(law, law.mode, law.highest - law.mode + 1, 1),
                *_side(law, law.mode - 1, law.mode - law.lowest, -1),
            ]
            area = sum((step.columns * step.most for step in steps), Decimal(0))
            # One unit of height is kept back for each column, for rounding up.
            self._scale = int((2**_BITS - 2 * columns) / area)
            heights = [int(self._scale * step.most) + 1 for step in steps]
            certain = [int(self._scale * step.least) for step in steps]
        starts = [0, *accumulate(step.columns * height for step, height in zip(steps, heights, strict=True))]
        self._area = starts.pop()
        assert self._area <= 2**_BITS
        self._starts = np.array(starts, dtype=np.uint64)
        self._heights = np.array(heights, dtype=np.uint64)
        self._certain = np.array(certain, dtype=np.uint64)
        self._nearest = np.array([step.nearest for step in steps], dtype=np.int64)
        self._direction = np.array([step.direction for step in steps], dtype=np.int64)

    def draw(self, count: int, stream: SecureStream) -> NDArray[np.int64]:
        """``count`` independent draws. Returns (count,) int64; the same for the same state of the stream."""
        values = np.empty(count, dtype=np.int64)
        filled = 0
        while filled < count:
            kept = self._kept(min(_BATCH, count - filled), stream)
            values[filled : filled + len(kept)] = kept
            filled += len(kept)
        return values

    def _kept(self, words: int, stream: SecureStream) -> NDArray[np.int64]:
        """The values that so many words give: at most one each, nearly always one."""
        points = stream.words(words) >> np.uint64(64 - _BITS)
        if self._area < 2**_BITS:
            points = points[points < np.uint64(self._area)]
        step = np.searchsorted(self._starts, points, side="right") - 1
        column, height = np.divmod(points - self._starts[step], self._heights[step])
        values = self._nearest[step] + self._direction[step] * column.view(np.int64)
        keep = height < self._certain[step]
        undecided = np.flatnonzero(~keep)
        with localcontext(PRECISION):
            for place, value, level in zip(
                undecided.tolist(), values[undecided].tolist(), height[undecided].tolist(), strict=True
            ):
                keep[place] = self._below(level, self._scale * self._law.weight(value), stream)
        return values[keep]

    @staticmethod
    def _below(level: int, limit: Decimal, stream: SecureStream) -> bool:
        """Whether level + u < limit for a fresh u, uniform in [0, 1) with 128 bits."""
        whole = math.floor(limit)
        if level != whole:
            return level < whole
        high, low = stream.words(2).tolist()
        return bool((high << 64 | low) < (limit - whole) * 2**_FRACTION_BITS)


class _Step(NamedTuple):
    """Adjacent columns: the one nearest to the mode, how many, where to, and what bounds their weights."""

    nearest: int
    columns: int
    direction: int
    most: Decimal
    least: Decimal


def _side(law: Law, first: int, columns: int, direction: int) -> list[_Step]:
    """The steps of one side of the mode, outwards."""
    cuts = [*_cuts(columns)]
    weights = [law.weight(first + direction * start) for start in cuts]
    steps = []
    for start, end, most, after in zip(cuts, [*cuts, columns][1:], weights, [*weights, Decimal(0)][1:], strict=True):
        # No weight of a wide step is below that of the step after it, which saves computing the least one.
        least = most if end - start == 1 else after
        steps.append(_Step(first + direction * start, end - start, direction, most, least))
    return steps


def _cuts(columns: int) -> Iterator[int]:
    """Where the steps of a side begin.

    Where nearly all of the law lies (a Gaussian's 5 deviations of 13) the steps are narrow, so that few words
    need decimal arithmetic: some 2 in 1000.
    """
    near = columns * 3 // 8
    yield from range(0, near, max(1, -(-near // _STEPS)))
    yield from range(near, columns, max(1, -(-(columns - near) // _FAR_STEPS)))
