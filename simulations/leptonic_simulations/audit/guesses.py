"""From canaries' scores to a lower bound on epsilon: guesses who was there, fixed in number beforehand.

Source: Steinke, Nasr & Jagielski 2023, arXiv 2305.08846, Algorithm 1.
"""

import numpy as np
from numpy.typing import NDArray

from leptonic.privacy.one_run_audit import epsilon_lower_bound, p_value
from leptonic_simulations.audit.findings import GUESSES, Finding

__all__ = ["AUDIT", "MOST_ENTRIES", "delta_of", "disentangled", "guess_finding", "guesses_of"]

AUDIT = "guesses who was there"
SMALL_DELTA = 1e-6
SUSPECTED = 0.01
"""The part of the claimed noise that the attacker reckons with: costs few guesses where all of it is there, and is what
makes them right where it is not."""
MOST_ENTRIES = 5 * 10**7
"""Of all canaries' directions together, which are held in memory."""


def delta_of(delta: float) -> float:
    """The delta at which a claim is judged: its own, or a smaller one at which its accountant states more epsilon.

    A mechanism that may fail altogether with probability delta cannot be refuted at a level near it.
    """
    return min(delta, SMALL_DELTA)


def guesses_of(canaries: int) -> int:
    """How many of so many canaries are guessed, those with the most and the least score in equal parts.

    The more, the larger an epsilon can be refuted, and the harder are the last ones to guess.
    """
    if canaries < 100:
        return canaries // 2 * 2
    return canaries // 4 * 2 if canaries < 1000 else canaries // 8 * 2


def disentangled(
    directions: NDArray[np.float64], seen: NDArray[np.float64], *, usual: float, spread: float, noise: float
) -> NDArray[np.float64]:
    """How much of each canary is in what was seen: its least mean square estimate, (m,).

    directions: (m, d), of length 1. seen: (d,), a sum of multiples of them plus noise of variance ``noise`` in each
    entry, as claimed; the multiples have mean ``usual`` and variance ``spread``. Takes canaries apart that overlap.
    """
    products = directions @ directions.T
    expected = np.full(len(directions), usual)
    ridge = SUSPECTED * noise / max(spread, 1e-12) + 1e-9
    found = np.linalg.solve(products + ridge * np.eye(len(products)), directions @ seen - products @ expected)
    return np.asarray(np.nan_to_num(expected + found), dtype=np.float64)


def guess_finding(
    scores: NDArray[np.float64], present: NDArray[np.bool_], *, epsilon: float, delta: float, what: str
) -> Finding:
    """Guess "in" for the highest scores and "out" for the lowest, and bound epsilon by how many were right.

    scores: (m,), present: (m,), by fair coins. epsilon: as accounted at delta. what: the canaries.
    """
    canaries, guesses = len(scores), guesses_of(len(scores))
    order = np.argsort(scores, kind="stable")
    low, high = order[: guesses // 2], order[canaries - guesses // 2 :]
    correct = int((~present[low]).sum() + present[high].sum())
    bound, best = (
        epsilon_lower_bound(correct=right, guesses=guesses, canaries=canaries, delta=delta, level=GUESSES)
        for right in (correct, guesses)
    )
    powerless = "" if best > epsilon else ": so few cannot refute this claim"
    return Finding(
        AUDIT,
        f"{canaries} {what}",
        "contradicted" if bound > epsilon else "holds",
        f"{correct} of {guesses} guesses right, which shows {bound:.2f}; all right would have shown {best:.2f}, "
        f"at delta {delta:g}{powerless}",
        unit="epsilon",
        claimed=epsilon,
        found=bound,
        level=GUESSES,
        figures={
            "p_value": p_value(epsilon, correct=correct, guesses=guesses, canaries=canaries, delta=delta),
            "correct": float(correct),
            "guesses": float(guesses),
            "canaries": float(canaries),
            "largest_bound_possible": best,
        },
    )
