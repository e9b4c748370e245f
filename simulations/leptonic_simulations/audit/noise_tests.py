"""Tests of noise that was drawn: as large as claimed, everywhere, and new for each client, round and entry.

Called with residuals, what was released less what it was made of, in units of the claimed deviation. All tests are of
one kind: a mean square that is too small. Noise that clients or rounds share cancels in a difference; noise of opposite
sign, in a sum.
"""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from leptonic_simulations.audit.findings import NOISE, Finding
from leptonic_simulations.audit.tails import NORMAL_KURTOSIS, pairs, shortfall

__all__ = ["AUDIT", "noise_findings"]

AUDIT = "noise"

Residuals = NDArray[np.float64]


def noise_findings(
    residuals: Residuals, parts: Mapping[str, slice], *, kurtosis: float = NORMAL_KURTOSIS, level: float = NOISE
) -> list[Finding]:
    """residuals: (clients, rounds, d), each of mean square 1 if the claim holds. parts: of the d entries, by name.

    kurtosis: of the claimed law, at most. level: shared evenly among all tests.
    """
    clients, rounds, _ = residuals.shape
    families = {
        "variance, the least of any part": {name: [residuals[..., part]] for name, part in parts.items()},
        "left between entries": dict(_halves(residuals)),
        "left between clients": dict(_across(residuals)) if clients > 1 else {},
        "left between rounds": dict(_across(residuals.swapaxes(0, 1))) if rounds > 1 else {},
    }
    tests = sum(len(family) for family in families.values())
    kurtosis = max(kurtosis, NORMAL_KURTOSIS)
    return [
        _finding(question, family, kurtosis=kurtosis, each=level / tests)
        for question, family in families.items()
        if family
    ]


def _finding(question: str, family: Mapping[str, list[Residuals]], *, kurtosis: float, each: float) -> Finding:
    chances, shares = {}, {}
    for name, values in family.items():
        pooled = np.concatenate([value.reshape(-1) for value in values])
        chances[name] = shortfall(pooled, kurtosis=kurtosis)
        shares[name] = float(np.mean(np.square(pooled)))
    worst = min(chances, key=lambda name: (chances[name], shares[name]))
    wrong = chances[worst] <= each
    return Finding(
        AUDIT,
        question,
        "contradicted" if wrong else "holds",
        f"least: {worst}; a correct run shows so little with probability {chances[worst]:.2g} at most",
        unit="of it",
        claimed=1.0,
        found=shares[worst],
        level=each * len(family),
        figures={"p_value": chances[worst], "tests": float(len(family))},
    )


def _halves(residuals: Residuals) -> Iterator[tuple[str, list[Residuals]]]:
    """Neighbouring entries, and entries that lie half an update apart."""
    half, even = residuals.shape[-1] // 2, residuals.shape[-1] // 2 * 2
    splits = {
        "neighbouring entries": (residuals[..., 0:even:2], residuals[..., 1:even:2]),
        "entries half an update apart": (residuals[..., :half], residuals[..., half : 2 * half]),
    }
    for name, (first, second) in splits.items():
        for what, combined in zip(("difference", "sum"), pairs(first, second), strict=True):
            yield f"{what} of {name}", [combined]


def _across(residuals: Residuals) -> Iterator[tuple[str, list[Residuals]]]:
    """Those of the first axis, in pairs that share none: so all pooled values are independent."""
    even = len(residuals) // 2 * 2
    for what, combined in zip(("difference", "sum"), pairs(residuals[0:even:2], residuals[1:even:2]), strict=True):
        yield f"{what} of two", [combined]
