"""FedProx: FedAvg with a proximal term mu/2 ||w - w_start||^2 in each client's objective.

Source: Li et al. 2020, "Federated Optimization in Heterogeneous Networks", arXiv 1812.06127, Algorithm 2.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from leptonic.algorithms.base import Correction
from leptonic.algorithms.fedavg import FederatedAveraging
from leptonic.update import Vector

__all__ = ["Proximal"]


@dataclass(frozen=True)
class Proximal(FederatedAveraging):
    """FedAvg, each gradient corrected by mu (w - w_start)."""

    mu: float = 0.01

    def correction(self, sent: Mapping[str, Vector], state: Mapping[str, Vector]) -> Correction:
        """The gradient of the proximal term."""
        return Correction(proximal=self.mu)
