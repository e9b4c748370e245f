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

__all__ = ["discrete_gaussian", "poisson", "skellam", "DiscreteGaussian", "Poisson", "log_factorial_ratio"]

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
_SLOW_SERIES = Decimal("0.0025")
_NEGLIGIBLE = Decimal("1e-60")


def discrete_gaussian(deviation: float, count: int, stream: SecureStream) -> NDArray[np.int64]:
    """``count`` draws with probability proportional to exp(-k^2 / (2 deviation^2)). Returns (count,) int64.

    The variance is at most deviation^2, and equal to it to 1e-6 from a deviation of 1 on. Raises PrivacyError
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

    def weight(self, value: int) -> Decimal:
        """mean^(value - mode) mode! / value!."""
        return ((value - self.mode) * self._log_mean - log_factorial_ratio(value, self.mode)).exp()


def log_factorial_ratio(number: int, base: int) -> Decimal:
    """ln(number! / base!), to an absolute error of 1e-38 for numbers to 2^60; called within :data:`PRECISION`.

    By Stirling's series (DLMF 5.11.1). Of the logarithms only that of ``base`` takes long, and it is kept.
    """
    if min(number, base) < _STIRLING_FROM:
        return (Decimal(math.factorial(number)) / math.factorial(base)).ln()
    leading = (number + Decimal("0.5")) * log_ratio(number, base) + (number - base) * (_log(base) - 1)
    return leading + _stirling(number) - _stirling(base)


def log_ratio(number: int, base: int) -> Decimal:
    """ln(number / base), both positive, to a relative error of 1e-58; called within :data:`PRECISION`.

    2 artanh(y) = 2 (y + y^3/3 + y^5/5 + ...), y = (number - base) / (number + base): a few terms where y is small.
    """
    y = Decimal(number - base) / (number + base)
    square = y * y
    if square > _SLOW_SERIES:
        return (Decimal(number) / base).ln()
    term, total, odd = y, y, 1
    # What is left out is at most twice the first term left out.
    while abs(term) > abs(y) * _NEGLIGIBLE:
        term, odd = term * square, odd + 2
        total += term / odd
    return 2 * total


def _stirling(number: int) -> Decimal:
    """ln(number!) - (number + 1/2) ln(number) + number - ln(2 pi)/2, for numbers from 64 on, to 5e-40."""
    inverse = 1 / Decimal(number)
    square, series = inverse * inverse, Decimal(0)
    for coefficient in reversed(_STIRLING):
        series = series * square + coefficient
    return series * inverse


@lru_cache(maxsize=8)
def _log(number: int) -> Decimal:
    with localcontext(PRECISION):
        return Decimal(number).ln()


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
