"""The geometric median by smoothed Weiszfeld steps.

Source: RFA, Pillutla, Kakade, Harchaoui 2022, arXiv 1912.13445, the smoothed Weiszfeld algorithm, with equal
client weights. The starting point is our own choice, see :func:`_start`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leptonic_server.rules.median import Median
from leptonic_server.rules.rule import Combined, check, columns

__all__ = ["GeometricMedian"]

SETTLED = 1e-9
"""The steps end where no weight changes by more than this fraction."""


@dataclass(frozen=True)
class GeometricMedian:
    """The vector whose distances to the updates have the smallest sum.

    A step takes the mean of the updates, weighted by 1 / max(smoothing, distance to the last one).
    Each candidate is a weighted mean, so only the (n,) weights are carried from step to step.
    Stays near the honest updates while fewer than n / 2 clients lie. Depends on the order of the rows only in
    the last bits of float64, and at a tie of the start, which roster order decides.
    Work: iterations * n * d. Extra memory: about 3 MiB and one (d,) vector besides the result.
    """

    iterations: int
    smoothing: float

    @property
    def needed(self) -> int:
        """One: with fewer than three it is the mean."""
        return 1

    def combine(self, updates: NDArray[np.float32]) -> Combined:
        """See :class:`leptonic_server.rules.Rule`. Every row counts as kept, with its weight."""
        check(updates, rule="geometric_median", needed=self.needed)
        weights = _start(updates)
        for _ in range(self.iterations):
            last, weights = weights, self._reweighted(updates, weights)
            if np.all(np.abs(weights - last) <= SETTLED * weights):
                break
        vector = np.empty(updates.shape[1], dtype=np.float32)
        for part in columns(updates):
            vector[part] = _mean(weights, updates[:, part].astype(np.float64))
        return Combined(vector, tuple(range(len(updates))))

    def _reweighted(self, updates: NDArray[np.float32], weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """One Weiszfeld step, from weights to weights; both (n,) with sum 1."""
        squares = np.zeros(len(updates), dtype=np.float64)
        for part in columns(updates):
            chunk = updates[:, part].astype(np.float64)
            chunk -= _mean(weights, chunk)
            squares += np.einsum("ij,ij->i", chunk, chunk)
        pull = 1.0 / np.maximum(np.sqrt(squares), self.smoothing)
        normalised: NDArray[np.float64] = pull / pull.sum()
        return normalised


def _start(updates: NDArray[np.float32]) -> NDArray[np.float64]:
    """Equal weights on the n // 2 + 1 updates nearest to the coordinate-wise median, (n,) float64.

    The plain mean would be as far off as the liars wish, and a few steps do not bring it back. The
    coordinate-wise median itself may be an update, where the steps of the smoothed iteration are tiny.
    """
    clients = len(updates)
    middle = Median().combine(updates).vector
    squares = np.zeros(clients, dtype=np.float64)
    for part in columns(updates):
        apart = updates[:, part] - middle[part].astype(np.float64)
        squares += np.einsum("ij,ij->i", apart, apart)
    nearest = np.argsort(squares, kind="stable")[: clients // 2 + 1]
    weights = np.zeros(clients, dtype=np.float64)
    weights[nearest] = 1.0 / len(nearest)
    return weights


def _mean(weights: NDArray[np.float64], chunk: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weighted mean of the rows. weights: (n,), chunk: (n, width). Returns (width,)."""
    mean: NDArray[np.float64] = np.einsum("i,ij->j", weights, chunk)
    return mean
