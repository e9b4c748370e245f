"""What one client contributes in a round, before it is encoded, and what the server has after summing."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["LocalUpdate", "Mean", "Segment", "Vector"]

Vector = NDArray[np.float32]
"""One flat vector of the model's size, (d,) float32."""


@dataclass(frozen=True)
class Segment:
    """One model-sized part of an update.

    weighted: averaged by the clients' weights; else every counted client weighs the same.
    """

    name: str
    weighted: bool = True


@dataclass(frozen=True)
class LocalUpdate:
    """The outcome of a client's local work.

    vectors: one (d,) float32 vector per segment of the algorithm.
    weight: number of examples (or 1), before it is capped.
    sums: scalars that are summed over the cohort, by name.
    state: what the client keeps for its next round, by name; never sent.
    """

    vectors: Mapping[str, Vector]
    weight: float
    sums: Mapping[str, float] = field(default_factory=dict)
    state: Mapping[str, Vector] = field(default_factory=dict)


@dataclass(frozen=True)
class Mean:
    """The opened sum of a round, divided.

    vectors: the mean of each segment. sums: totals over the cohort. count: clients counted.
    """

    vectors: Mapping[str, Vector]
    sums: Mapping[str, float]
    count: int
