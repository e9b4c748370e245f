"""The coordinate-wise median.

Source: Yin, Chen, Ramchandran, Bartlett 2018, arXiv 1803.01498, Definition 1.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leptonic_server.rules.rule import Combined, check, ordered_columns

__all__ = ["Median"]


@dataclass(frozen=True)
class Median:
    """Each entry is the median of that entry over the clients; the mean of the middle two for even n.

    Stays within the honest clients' entries while fewer than n / 2 clients lie. Does not depend on the order
    of the rows. Extra memory: about 1 MiB besides the result.
    """

    @property
    def needed(self) -> int:
        """One: with fewer than three it is the mean."""
        return 1

    def combine(self, updates: NDArray[np.float32]) -> Combined:
        """See :class:`leptonic_server.rules.Rule`. Every row counts as kept."""
        check(updates, rule="median", needed=self.needed)
        clients, size = updates.shape
        low, high = (clients - 1) // 2, clients // 2
        vector = np.empty(size, dtype=np.float32)
        for part, ordered in ordered_columns(updates):
            vector[part] = (ordered[:, low].astype(np.float64) + ordered[:, high]) / 2.0
        return Combined(vector, tuple(range(clients)))
