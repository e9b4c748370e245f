"""Renyi curves on one fixed grid of orders: stored, added, and converted once at the owner's delta.

Called by :mod:`leptonic.privacy.composition` and by ledgers. A curve bounds a whole composition, also of
mechanisms of different kinds and chosen one after the other; two (epsilon, delta) pairs would add up to far more.
Sources: Mironov 2017, arXiv 1702.07476; conversion: Canonne, Kamath & Steinke 2020, arXiv 2004.00010.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leptonic.errors import PrivacyError

__all__ = ["ORDERS", "RenyiCurve"]

ORDERS: NDArray[np.int64] = np.array([*range(2, 64), *(round(64 * 2 ** (step / 4)) for step in range(29))])
"""2, 3, .. 63, then four orders an octave up to 8192. Integers, since the Skellam bound holds for no others. Stored
curves have one value for each: the grid never changes."""
ORDERS.flags.writeable = False


@dataclass(frozen=True)
class RenyiCurve:
    """A bound on the Renyi divergence at each of :data:`ORDERS`; infinite where there is none.

    Raises PrivacyError unless there are as many values as orders, none negative or NaN.
    """

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.values) != len(ORDERS):
            raise PrivacyError(f"a Renyi curve has {len(ORDERS)} values, not {len(self.values)}")
        if not all(value >= 0 for value in self.values):
            raise PrivacyError("a Renyi curve has a value that is negative or not a number")

    @classmethod
    def zero(cls) -> "RenyiCurve":
        """The curve of no release."""
        return cls((0.0,) * len(ORDERS))

    @classmethod
    def from_json(cls, values: Sequence[float | None]) -> "RenyiCurve":
        """The inverse of :meth:`to_json`."""
        return cls(tuple(math.inf if value is None else float(value) for value in values))

    def to_json(self) -> list[float | None]:
        """One number for each order; None for infinity, which JSON lacks."""
        return [value if math.isfinite(value) else None for value in self.values]

    def __add__(self, other: "RenyiCurve") -> "RenyiCurve":
        return RenyiCurve(tuple(a + b for a, b in zip(self.values, other.values, strict=True)))

    def times(self, count: int) -> "RenyiCurve":
        """The curve of ``count`` such releases."""
        return RenyiCurve(tuple(count * value for value in self.values)) if count else RenyiCurve.zero()

    def epsilon(self, delta: float) -> float:
        """The least epsilon that some order gives at ``delta``; infinite where no order is finite.

        epsilon(a) = R(a) + ln(1 - 1/a) - ln(a delta) / (a - 1). No release costs 0.
        """
        if not 0 < delta < 1:
            raise PrivacyError(f"delta = {delta}: must be between 0 and 1")
        if not any(self.values):
            return 0.0
        epsilons = np.array(self.values) + np.log1p(-1 / ORDERS) - np.log(ORDERS * delta) / (ORDERS - 1)
        return max(0.0, float(epsilons.min()))
