"""Krum and Multi-Krum: keep the updates that lie closest to their neighbours.

Source: Blanchard, El Mhamdi, Guerraoui, Stainer 2017, arXiv 1703.02757, section 4, and its variant
Multi-Krum.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leptonic_server.rules.rule import Combined, check, columns

__all__ = ["Krum"]


@dataclass(frozen=True)
class Krum:
    """The mean of the ``select`` updates with the best scores (Krum: one).

    The score of an update is the sum of its squared distances to its n - byzantine - 2 nearest others; the
    smallest is best. Defined for n >= 2 byzantine + 3. Distances are sums of squared differences in float64
    that do not depend on the order of the rows; equal scores are decided by roster order.
    Work: n^2 d / 2. Extra memory: about 2 MiB and an (n, n) float64 matrix besides the result.
    """

    byzantine: int
    select: int

    @property
    def needed(self) -> int:
        """Krum's own condition, and enough updates that all selected can be honest."""
        return max(2 * self.byzantine + 3, self.select + self.byzantine)

    def combine(self, updates: NDArray[np.float32]) -> Combined:
        """See :class:`leptonic_server.rules.Rule`. The selected rows are kept."""
        check(updates, rule="krum", needed=self.needed)
        scores = self._scores(_squared_distances(updates))
        best = np.argsort(scores, kind="stable")[: self.select]
        total = np.zeros(updates.shape[1], dtype=np.float64)
        # Best first, so that the rounding of the sum does not depend on the order of the rows either.
        for row in best:
            total += updates[row]
        return Combined((total / self.select).astype(np.float32), tuple(sorted(best.tolist())))

    def _scores(self, distances: NDArray[np.float64]) -> NDArray[np.float64]:
        others = distances.copy()
        np.fill_diagonal(others, np.inf)
        others.sort(axis=1)
        nearest: NDArray[np.float64] = others[:, : len(others) - self.byzantine - 2].sum(axis=1)
        return nearest


def _squared_distances(updates: NDArray[np.float32]) -> NDArray[np.float64]:
    """Squared Euclidean distances of all pairs of rows, (n, n) float64.

    From the differences, not from inner products: those are faster, but cancel where updates nearly agree.
    """
    clients = len(updates)
    distances = np.zeros((clients, clients), dtype=np.float64)
    for part in columns(updates):
        chunk = updates[:, part].astype(np.float64)
        buffer = np.empty_like(chunk)
        for row in range(clients - 1):
            apart = np.subtract(chunk[row + 1 :], chunk[row], out=buffer[row + 1 :])
            distances[row, row + 1 :] += np.einsum("ij,ij->i", apart, apart)
    return distances + distances.T
