"""Discrete Gaussian, Poisson and Skellam noise: integers of exactly these laws, from a secure stream.

Called by the mechanisms of client-level privacy. Each draw is within statistical distance 2^-120 (Skellam: 2^-119)
of its law, as :class:`leptonic.privacy.unimodal.Sampler` proves, so n draws that carry (epsilon, delta) for the
exact law carry delta + (1 + e^epsilon) n 2^-119: 10^12 draws at epsilon = 10 add less than 10^-19.

Sources: Canonne, Kamath & Steinke 2020, arXiv 2004.00010 (discrete Gaussian); Agarwal, Kairouz & Liu 2021,
arXiv 2110.04995 (Skellam).
"""

import math
from decimal import Decimal, localcontext
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from leptonic.errors import PrivacyError
from leptonic.privacy.unimodal import PRECISION, TAIL_BITS, Sampler
from leptonic.randomness import SecureStream

__all__ = ["discrete_gaussian", "poisson", "skellam", "DiscreteGaussian", "Poisson", "log_factorial"]

_TAIL = TAIL_BITS * math.log(2)

_STIRLING = tuple(
    PRECISION.divide(Decimal(numerator), Decimal(denominator))
    for numerator, denominator in (
        (1, 12),
        (-1, 360),
        (1, 1260),
        (-1, 1680),
        (1, 1188),
        (-691, 360360),
        (1, 156),
        (-3617, 122400),
        (43867, 244188),
        (-174611, 125400),
        (77683, 5796),
    )
)
"""B_2n / (2n (2n - 1)), n = 1 .. 11. The series' error is below the first term left out: 5e-40 for z >= 64."""

_STIRLING_FROM = 64

_LARGEST_MEAN = 2.0**60
_HALF_LOG_TWO_PI = Decimal("0.918938533204672741780329736405617639861397473637783412817151540482765695927")


def discrete_gaussian(deviation: float, count: int, stream: SecureStream) -> NDArray[np.int64]:
    """``count`` draws with probability proportional to exp(-k^2 / (2 deviation^2)). Returns (count,) int64.

    The variance is at most deviation^2, and equal to it to 1e-8 from a deviation of 1 on. Raises PrivacyError
    unless the deviation is positive and at most about 1.6e14.
    """
    return _gaussian_sampler(deviation).draw(count, stream)


def poisson(mean: float, count: int, stream: SecureStream) -> NDArray[np.int64]:
    """``count`` draws with probability mean^k e^-mean / k!. Returns (count,) int64, none negative.

    Raises PrivacyError unless the mean is positive and at most 2^60.
    """
    return _poisson_sampler(mean).draw(count, stream)


def skellam(variance: float, count: int, stream: SecureStream) -> NDArray[np.int64]:
    """``count`` differences of two Poisson draws of mean variance / 2. Returns (count,) int64.

    Sums of independent Skellam draws are Skellam draws of the summed variance. Raises PrivacyError as
    :func:`poisson`.
    """
    values = poisson(variance / 2, count, stream)
    values -= poisson(variance / 2, count, stream)
    return values


class DiscreteGaussian:
    """The law of :func:`discrete_gaussian`. Beyond B lies less than exp(-B^2 / (2 deviation^2)) on each side."""

    def __init__(self, deviation: float) -> None:
        self.mode = 0
        self.highest = math.ceil(deviation * math.sqrt(2 * _TAIL)) + 2
        self.lowest = -self.highest
        with localcontext(PRECISION):
            self._twice_variance = 2 * Decimal(deviation) ** 2

    def weight(self, value: int) -> Decimal:
        """exp(-value^2 / (2 deviation^2))."""
        return (-Decimal(value * value) / self._twice_variance).exp()


class Poisson:
    """The law of :func:`poisson`.

    Its tails, t from the mean, follow Bernstein: exp(-t^2 / (2 (mean + t/3))) above, exp(-t^2 / (2 mean)) below.
    """

    def __init__(self, mean: float) -> None:
        self.mode = math.floor(mean)
        self.highest = math.ceil(mean + _TAIL / 3 + math.sqrt(_TAIL**2 / 9 + 2 * _TAIL * mean)) + 1
        self.lowest = max(0, math.floor(mean - math.sqrt(2 * _TAIL * mean)) - 1)
        with localcontext(PRECISION):
            self._log_mean = Decimal(mean).ln()
            self._at_mode = log_factorial(self.mode)

    def weight(self, value: int) -> Decimal:
        """mean^(value - mode) mode! / value!."""
        return ((value - self.mode) * self._log_mean - log_factorial(value) + self._at_mode).exp()


def log_factorial(number: int) -> Decimal:
    """ln(number!), to an absolute error of 1e-39; called within :data:`PRECISION`. Source: DLMF 5.11.1."""
    if number < _STIRLING_FROM:
        return Decimal(math.factorial(number)).ln()
    z = Decimal(number)
    inverse_square = 1 / (z * z)
    series = Decimal(0)
    for coefficient in reversed(_STIRLING):
        series = series * inverse_square + coefficient
    # ln Gamma(z) + ln z
    return (z + Decimal("0.5")) * z.ln() - z + _HALF_LOG_TWO_PI + series / z


@lru_cache(maxsize=8)
def _gaussian_sampler(deviation: float) -> Sampler:
    if not (math.isfinite(deviation) and deviation > 0):
        raise PrivacyError(f"discrete Gaussian noise needs a positive deviation, not {deviation}")
    return Sampler(DiscreteGaussian(deviation))


@lru_cache(maxsize=8)
def _poisson_sampler(mean: float) -> Sampler:
    if not 0 < mean <= _LARGEST_MEAN:
        raise PrivacyError(f"Poisson noise needs a mean above 0 and at most 2^60, not {mean}")
    return Sampler(Poisson(mean))
