"""A lower bound on epsilon from one run, in which each of many canaries was put in or left out by a fair coin.

Called by audits, with numbers fixed before the run: how many canaries, how many guesses, at which level. A claim
that lies below the bound is false (with probability 1 - level); a bound below the claim proves nothing.
Source: Steinke, Nasr & Jagielski 2023, arXiv 2305.08846.
"""

import math

import numpy as np
from numpy.typing import NDArray

from leptonic.errors import PrivacyError

__all__ = ["epsilon_lower_bound", "p_value"]

_LARGEST_EPSILON = 64.0
_TOLERANCE = 1e-6


def p_value(epsilon: float, *, correct: int, guesses: int, canaries: int, delta: float) -> float:
    """The largest probability that an (epsilon, delta)-private run lets so many guesses be right. In [0, 1].

    p = Pr[B >= v] + 2 m delta max_(1 <= i <= v) Pr[v > B >= v - i] / i, where B is Binomial(r, e^eps / (1 + e^eps)).
    correct: v. guesses: r, on canaries that the guesser may choose; the rest are abstained from. canaries: m.
    Raises PrivacyError unless 0 <= v <= r <= m.
    """
    if not 0 <= correct <= guesses <= canaries:
        raise PrivacyError(f"{correct} right of {guesses} guesses on {canaries} canaries cannot be")
    law = _binomial(guesses, epsilon)
    tail = float(law[correct:].sum())
    if correct == 0:
        return 1.0
    below = np.cumsum(law[:correct][::-1]) / np.arange(1, correct + 1)
    return min(1.0, tail + 2 * canaries * delta * float(below.max()))


def epsilon_lower_bound(*, correct: int, guesses: int, canaries: int, delta: float, level: float) -> float:
    """The largest epsilon that such a success refutes at ``level``: p_value <= level. 0.0 where it refutes none.

    A smaller claim is refuted with it, since whoever keeps to that keeps to a larger one too. level: probability
    with which a true claim is refuted, fixed beforehand; 1e-3 where a test fails on it.
    """
    if not 0 < level < 1:
        raise PrivacyError(f"an audit's level of {level}: must be between 0 and 1")

    def refuted(epsilon: float) -> bool:
        return p_value(epsilon, correct=correct, guesses=guesses, canaries=canaries, delta=delta) <= level

    if not refuted(0.0):
        return 0.0
    low, high = 0.0, _LARGEST_EPSILON
    while high - low > _TOLERANCE:
        middle = (low + high) / 2
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return low


def _binomial(trials: int, epsilon: float) -> NDArray[np.float64]:
    """Probabilities of 0 .. trials successes, each with probability e^eps / (1 + e^eps). Returns (trials + 1,)."""
    count = np.arange(trials + 1)
    log_factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, trials + 1)))])
    log_ways = log_factorials[-1] - log_factorials - log_factorials[::-1]
    # p^k (1 - p)^(n - k) with 1 - p = p e^-eps
    law: NDArray[np.float64] = np.exp(log_ways - (trials - count) * epsilon - trials * math.log1p(math.exp(-epsilon)))
    return law
