"""FedNova: changes normalised by the client's own amount of work before they are averaged.

Source: Wang et al. 2020, "Tackling the Objective Inconsistency Problem in Heterogeneous Federated
Optimization", arXiv 2007.07481, equations (6)-(8); a_i for SGD with momentum from section 4.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from leptonic.algorithms.base import Contributed, Trained, accumulated
from leptonic.algorithms.fedavg import FederatedAveraging
from leptonic.update import Mean, Segment, Vector

__all__ = ["NormalisedAveraging"]


@dataclass(frozen=True)
class NormalisedAveraging(FederatedAveraging):
    """Clients send delta_i * a_ref / a_i, with a_ref public, so that the integer lattice keeps its precision.

    The server multiplies the mean by tau_eff / a_ref, where tau_eff is the weighted mean of a_i.
    """

    segments: tuple[Segment, ...] = (Segment("model"),)
    sums: tuple[str, ...] = ("work",)

    def contribute(self, trained: Trained) -> Contributed:
        """The normalised change; ``work`` sums weight * a_i / a_ref."""
        work = trained.work
        ratio = accumulated(work.steps, work.momentum) / accumulated(work.reference_steps, work.momentum)
        return Contributed(
            vectors={"model": (trained.delta / np.float32(ratio)).astype(np.float32)},
            sums={"work": trained.weight * ratio},
            state={},
        )

    def step(self, state: Mapping[str, Vector], mean: Mean, *, clients: int) -> tuple[dict[str, Vector], Vector]:
        """tau_eff times the mean normalised change."""
        effective = np.float32(mean.sums["work"] / mean.sums["weight"])
        return dict(state), mean.vectors["model"] * effective
