"""The clients of a simulation: each with rows of the shared data, all with one trainer and one home.

Every engine makes a client when it is asked and keeps the latest few, so that memory does not grow with the
population.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from leptonic.data.catalogue import spec_of
from leptonic.data.describe import label_counts
from leptonic.data.experiment_data import client_rows, training_examples
from leptonic.experiment import Experiment
from leptonic.tasks import task_for
from leptonic_client.data import split
from leptonic_client.participant import Participant
from leptonic_client.training import LocalTrainer
from leptonic_simulations.states import SimulatedHome

__all__ = ["FederatedData", "SimulatedClients"]

KEPT = 1024
"""Clients kept between rounds: enough for every one of a small federation."""
COUNTED = 1000
"""Clients whose label distribution is counted for the report."""


@dataclass(frozen=True)
class FederatedData:
    """features: (n, *shape) float32; labels: (n,) int64; rows: of each client, ascending."""

    features: Tensor
    labels: Tensor
    rows: Sequence[NDArray[np.intp]]

    @classmethod
    def of(cls, experiment: Experiment) -> "FederatedData":
        """Read, check, scale and divide the experiment's training data."""
        examples, spec = training_examples(experiment), spec_of(experiment.data)
        task_for(experiment.task, spec).check(examples, "training data")
        return cls(*examples.tensors(spec), client_rows(experiment, examples))

    def label_counts(self, classes: int) -> NDArray[np.int64]:
        """Examples of each class, (clients, classes), of the first clients."""
        first = [self.rows[client] for client in range(min(COUNTED, len(self.rows)))]
        return label_counts(first, self.labels.numpy(), classes)


class SimulatedClients:
    """Makes clients. alone: whether this process is the only one that opens their home."""

    def __init__(self, experiment: Experiment, folder: Path, data: FederatedData, *, alone: bool = True) -> None:
        self.experiment, self.folder, self.data = experiment, folder, data
        self.trainer = LocalTrainer(experiment)
        self._home = SimulatedHome(folder, size=self.trainer.layout.size, alone=alone)
        self.client = lru_cache(KEPT)(self._client)

    def close(self) -> None:
        """Close the clients' home."""
        self._home.close()

    def _client(self, index: int) -> Participant:
        data = split(self.experiment, index, self.data.features, self.data.labels, self.data.rows[index])
        seeded = self.experiment.simulation.seeded_noise
        return Participant(self.trainer, data, index, self._home, seeded_noise=seeded)
