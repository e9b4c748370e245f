"""SCAFFOLD: control variates that cancel the drift of clients with different data.

Source: Karimireddy et al. 2020, "SCAFFOLD: Stochastic Controlled Averaging for Federated Learning",
arXiv 1910.06378, Algorithm 1 with option II. As in NIID-Bench, the model's change is averaged by weight
where weighting is on; the control variates are averaged uniformly.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from leptonic.algorithms.base import Contributed, Correction, Trained, accumulated
from leptonic.algorithms.fedavg import FederatedAveraging
from leptonic.update import Mean, Segment, Vector

__all__ = ["ControlVariates"]


@dataclass(frozen=True)
class ControlVariates(FederatedAveraging):
    """Server state and broadcast: c, ``control``. Client state: c_i, ``control``."""

    segments: tuple[Segment, ...] = (Segment("model"), Segment("control", weighted=False))
    broadcast: tuple[str, ...] = ("control",)
    stateful: bool = True

    def correction(self, sent: Mapping[str, Vector], state: Mapping[str, Vector]) -> Correction:
        """Each gradient is corrected by c - c_i."""
        offset = sent["control"] - state["control"] if "control" in state else sent["control"]
        return Correction(offset=offset)

    def contribute(self, trained: Trained) -> Contributed:
        """Option II: c_i+ = c_i - c + (w_start - w) / (K lr), with K the accumulated steps under momentum."""
        effective = accumulated(trained.work.steps, trained.work.momentum) * trained.work.learning_rate
        change = (-trained.sent["control"] - trained.delta / np.float32(effective)).astype(np.float32)
        kept = trained.state["control"] + change if "control" in trained.state else change
        return Contributed(vectors={"model": trained.delta, "control": change}, sums={}, state={"control": kept})

    def init(self, size: int) -> dict[str, Vector]:
        """C starts at zero."""
        return {"control": np.zeros(size, dtype=np.float32)}

    def step(self, state: Mapping[str, Vector], mean: Mean, *, clients: int) -> tuple[dict[str, Vector], Vector]:
        """C <- c + |S|/N mean(c_i+ - c_i); the model moves by the mean change (global rate 1)."""
        share = np.float32(mean.count / clients)
        return {"control": state["control"] + share * mean.vectors["control"]}, mean.vectors["model"]
