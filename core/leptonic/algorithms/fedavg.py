"""FedAvg: the weighted mean of the clients' changes.

Source: McMahan et al. 2017, "Communication-Efficient Learning of Deep Networks from Decentralized Data",
arXiv 1602.05629, Algorithm 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from leptonic.algorithms.base import Contributed, Correction, Trained
from leptonic.update import Mean, Segment, Vector

__all__ = ["FederatedAveraging"]


@dataclass(frozen=True)
class FederatedAveraging:
    """The base: no correction, no state; the model moves by the mean change."""

    segments: tuple[Segment, ...] = (Segment("model"),)
    sums: tuple[str, ...] = ()
    broadcast: tuple[str, ...] = ()
    stateful: bool = False

    def correction(self, sent: Mapping[str, Vector], state: Mapping[str, Vector]) -> Correction:
        """No correction."""
        return Correction()

    def contribute(self, trained: Trained) -> Contributed:
        """The change itself."""
        return Contributed(vectors={"model": trained.delta}, sums={}, state={})

    def init(self, size: int) -> dict[str, Vector]:
        """No state."""
        return {}

    def step(self, state: Mapping[str, Vector], mean: Mean, *, clients: int) -> tuple[dict[str, Vector], Vector]:
        """The mean change."""
        return dict(state), mean.vectors["model"]
