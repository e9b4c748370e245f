"""Real vectors to integer vectors of bounded norm: what the sensitivity of distributed noise rests on.

Called by :mod:`leptonic.privacy.distributed`. Rounding at random is unbiased, but may lengthen a vector; so it is
repeated until the norm is within a bound that it keeps with probability 1 - beta, beta = e^-1/2. The guarantee
rests on the check of the integers alone, which is exact, and not on the reals, the rotation or the rounding.
Source: Kairouz, Liu & Steinke 2021, arXiv 2102.06387, Algorithm 1.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leptonic.errors import PrivacyError
from leptonic.randomness import SecureStream

__all__ = ["NormBounds", "conditional_round", "norm_bounds"]

_ATTEMPTS = 250
"""Each passes with probability 1 - beta = 0.39 at least: all fail with a probability below 10^-50."""

_LARGEST_ENTRY = 2**31


@dataclass(frozen=True)
class NormBounds:
    """What an integer vector must keep to.

    l2_squared: bound on the sum of squares. l1: bound on the sum of absolute values, which follows from it by
    Cauchy and since |x| <= x^2 for integers. Both are exact integers.
    """

    l2_squared: int
    l1: int

    @property
    def l2(self) -> float:
        """Bound on the Euclidean norm, D2."""
        return math.sqrt(self.l2_squared)

    def kept_by(self, values: NDArray[np.int64]) -> bool:
        """Whether both norms are within bounds, in integer arithmetic without overflow. values: (d,), d < 2^32."""
        if len(values) and not -_LARGEST_ENTRY <= int(values.min()) <= int(values.max()) <= _LARGEST_ENTRY:
            return False
        squares = values * values
        # In two halves: the whole squares, up to 2^62 each, would overflow when added.
        high, low = int((squares >> 32).sum()), int((squares & 0xFFFFFFFF).sum())
        return (high << 32) + low <= self.l2_squared and int(np.abs(values).sum()) <= self.l1

    def check(self, values: NDArray[np.int64]) -> None:
        """Raise PrivacyError unless both norms are within bounds."""
        if not self.kept_by(values):
            raise PrivacyError("a client's integers exceed the norm that its noise was calibrated for")


def norm_bounds(scaled_clip: float, dimension: int) -> NormBounds:
    """The norms that rounding a vector of norm ``scaled_clip`` (in steps) keeps with probability 1 - e^-1/2.

    D2^2 = min{ (s c + sqrt d)^2, (s c)^2 + d/4 + sqrt(2 ln(1/beta)) (s c + sqrt(d)/2) }, rounded down, where
    2 ln(1/beta) = 1; D1 = min{ sqrt(d) D2, D2^2 }.
    """
    if not (math.isfinite(scaled_clip) and scaled_clip > 0 and dimension >= 1):
        raise PrivacyError(f"no norm bounds for a clip of {scaled_clip} steps in {dimension} dimensions")
    root = math.sqrt(dimension)
    certain = (scaled_clip + root) ** 2
    likely = scaled_clip**2 + dimension / 4 + scaled_clip + root / 2
    squared = math.floor(min(certain, likely))
    return NormBounds(l2_squared=squared, l1=min(math.isqrt(dimension * squared), squared))


def conditional_round(values: NDArray[np.float64], bounds: NormBounds, stream: SecureStream) -> NDArray[np.int64]:
    """Each entry to one of its two neighbours, with the entry as expectation, until both norms are within bounds.

    values: (d,) float64, in steps. Returns (d,) int64, within bounds for certain. The condition biases the mean a
    little towards shorter vectors. Raises PrivacyError if no attempt is within bounds,
    that is, if the values were longer than the bounds are for.
    """
    floors = np.floor(values)
    if not (np.abs(floors) < _LARGEST_ENTRY).all():
        raise PrivacyError("a client's update is not finite, or longer than its clipping norm allows")
    fractions, integers = values - floors, floors.astype(np.int64)
    for _ in range(_ATTEMPTS):
        rounded = integers + (stream.uniform(len(values)) < fractions)
        if bounds.kept_by(rounded):
            return rounded
    raise PrivacyError("a client's update is longer than its clipping norm allows: it cannot be rounded within bounds")
