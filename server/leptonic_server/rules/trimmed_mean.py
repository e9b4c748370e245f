"""The coordinate-wise trimmed mean.

Source: Yin, Chen, Ramchandran, Bartlett 2018, arXiv 1803.01498, Definition 2.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leptonic_server.rules.rule import Combined, check, ordered_columns

__all__ = ["TrimmedMean"]


@dataclass(frozen=True)
class TrimmedMean:
    """Each entry is the mean of that entry over the clients, without the k smallest and the k largest.

    k is trim * n rounded down, but at least 1: a trim that cut nobody would silently be the mean. With trim 0
    it is the mean. Stays within the honest clients' entries while at most k clients lie. Does not depend on
    the order of the rows. Extra memory: about 2 MiB besides the result.
    """

    trim: float

    @property
    def needed(self) -> int:
        """One entry must be left between those cut at each end."""
        return 3 if self.trim else 1

    def combine(self, updates: NDArray[np.float32]) -> Combined:
        """See :class:`leptonic_server.rules.Rule`. Every row counts as kept: each column cuts others."""
        check(updates, rule="trimmed_mean", needed=self.needed)
        clients, size = updates.shape
        cut = self._cut(clients)
        vector = np.empty(size, dtype=np.float32)
        for part, ordered in ordered_columns(updates):
            vector[part] = ordered[:, cut : clients - cut].mean(axis=1, dtype=np.float64)
        return Combined(vector, tuple(range(clients)))

    def _cut(self, clients: int) -> int:
        if not self.trim:
            return 0
        # 0.29 * 100 is 28.999999999999996 in floating point; whoever wrote 0.29 means 29.
        wanted = math.floor(self.trim * clients + 1e-9)
        return max(1, min(wanted, (clients - 1) // 2))
