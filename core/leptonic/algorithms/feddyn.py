"""FedDyn: a dynamic regulariser that aligns each client's stationary point with the global one.

Source: Acar et al. 2021, "Federated Learning Based on Dynamic Regularization", arXiv 2111.04263,
Algorithm 1. Means are uniform, as in the paper.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from leptonic.algorithms.base import Contributed, Correction, Trained
from leptonic.algorithms.fedavg import FederatedAveraging
from leptonic.update import Mean, Segment, Vector

__all__ = ["DynamicRegularisation"]


@dataclass(frozen=True)
class DynamicRegularisation(FederatedAveraging):
    """Client state: the last local gradient, ``gradient``. Server state: ``h``."""

    segments: tuple[Segment, ...] = (Segment("model", weighted=False),)
    stateful: bool = True
    alpha: float = 0.01

    def correction(self, sent: Mapping[str, Vector], state: Mapping[str, Vector]) -> Correction:
        """Each gradient is corrected by alpha (w - w_start) - gradient_i."""
        gradient = state.get("gradient")
        return Correction(proximal=self.alpha, offset=None if gradient is None else -gradient)

    def contribute(self, trained: Trained) -> Contributed:
        """gradient_i <- gradient_i - alpha (w - w_start)."""
        moved = np.float32(-self.alpha) * trained.delta
        gradient = trained.state["gradient"] + moved if "gradient" in trained.state else moved
        return Contributed(vectors={"model": trained.delta}, sums={}, state={"gradient": gradient})

    def init(self, size: int) -> dict[str, Vector]:
        """H starts at zero."""
        return {"h": np.zeros(size, dtype=np.float32)}

    def step(self, state: Mapping[str, Vector], mean: Mean, *, clients: int) -> tuple[dict[str, Vector], Vector]:
        """H <- h - alpha |P|/m mean(w_k - w); the model becomes mean(w_k) - h / alpha."""
        change = mean.vectors["model"]
        h = state["h"] - np.float32(self.alpha * mean.count / clients) * change
        return {"h": h}, np.subtract(change, h / np.float32(self.alpha), dtype=np.float32)
