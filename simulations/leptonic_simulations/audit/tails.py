"""Bounds on tails that hold for every sample size: what a test of this audit accuses upon.

Each returns at least the probability that a correct mechanism gives so extreme an outcome, so that a test at a level
keeps to it without any approximation.
"""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["NORMAL_KURTOSIS", "excess", "pairs", "shortfall", "shows"]

NORMAL_KURTOSIS = 3.0


def shortfall(residuals: NDArray[np.floating], *, kurtosis: float = NORMAL_KURTOSIS) -> float:
    """Of so small a mean square, where all entries are independent, of mean square 1 or more and such a kurtosis.

    exp(-N (1 - s)^2 / (2 kurtosis)) for a mean square of s below 1. kurtosis: E[x^4] / E[x^2]^2, at most; a sum of
    two independent entries has no more. Returns 1.0 for no entries.
    Source: Maurer 2003, A bound on the deviation probability for sums of non-negative random variables, Theorem 1.
    """
    if residuals.size == 0:
        return 1.0
    missing = 1.0 - float(np.mean(np.square(residuals, dtype=np.float64)))
    # A NaN shows no noise at all.
    return math.exp(-residuals.size * missing**2 / (2 * kurtosis)) if missing > 0 else float(missing <= 0)


def excess(successes: int, *, trials: int, probability: float) -> float:
    """Of so many successes in independent trials, each of this probability at most.

    exp(-n KL(k/n || p)) for k/n above p. Source: Chernoff 1952; Hoeffding 1963, Theorem 1.
    """
    if trials == 0 or successes <= probability * trials:
        return 1.0
    share = successes / trials
    divergence = share * math.log(share / probability)
    if share < 1:
        divergence += (1 - share) * math.log((1 - share) / (1 - probability))
    return math.exp(-trials * divergence)


def shows(tests: int, level: float, *, kurtosis: float = NORMAL_KURTOSIS) -> int:
    """The fewest entries without any noise that one of so many tests at a shared level accuses upon."""
    return math.ceil(2 * kurtosis * math.log(tests / level))


def pairs(first: NDArray[np.float64], second: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    """Difference and sum over the root of two: both as large as their parts where these are independent."""
    yield (first - second) / math.sqrt(2)
    yield (first + second) / math.sqrt(2)
