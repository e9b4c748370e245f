"""What an audit finds, and how the chance of a false accusation is shared among what may accuse.

An audit accuses a correct run with probability :data:`LEVEL` at most. What is deterministic (a bound that neighbouring
inputs break) needs no share of it. Each family of statistical tests has a share that is fixed beforehand, and divides
it evenly among its tests, whose number depends on the experiment alone (Bonferroni). Estimates and demonstrations
never accuse.
"""

from dataclasses import dataclass, field
from typing import Literal

__all__ = ["GUESSES", "LEVEL", "NOISE", "SAMPLING", "Finding", "Verdict"]

LEVEL = 1e-3
"""Probability that a correct run is accused of anything."""
NOISE, SAMPLING, GUESSES = 4e-4, 1e-4, 5e-4
"""The shares of the tests of the noise, of the sampling, and of the guesses who was there."""

Verdict = Literal["holds", "contradicted", "warns", "shown"]


@dataclass(frozen=True)
class Finding:
    """The answer to one question.

    audit: the family it belongs to. question: what was checked. claimed, found: in ``unit``, where it is a number.
    level: the probability with which this check accuses a correct run; None where it cannot, 0.0 where it is
    deterministic. figures: more numbers, by name.
    """

    audit: str
    question: str
    verdict: Verdict
    detail: str = ""
    unit: str = ""
    claimed: float | None = None
    found: float | None = None
    level: float | None = None
    figures: dict[str, float] = field(default_factory=dict)
