"""The clients of a simulation: each with rows of the shared data, all with one trainer and one home.

Every engine makes a client when it is asked and keeps the latest few, so that memory does not grow with the
population.
"""

from functools import lru_cache
from pathlib import Path

from leptonic.data.catalogue import spec_of
from leptonic.data.describe import label_counts
from leptonic.data.experiment_data import client_rows, training_examples
from leptonic.experiment import Experiment
from leptonic_client.data import split
from leptonic_client.home import ClientHome
from leptonic_client.participant import Participant
from leptonic_client.training import LocalTrainer

__all__ = ["SimulatedClients"]

KEPT = 1024
"""Clients kept between rounds: enough for every one of a small federation."""
DRAWN = 1000
"""Clients whose label distribution is counted for the report."""


class SimulatedClients:
    """One trainer, one copy of the data; a client has its own rows and its own state."""

    def __init__(self, experiment: Experiment, folder: Path) -> None:
        self.experiment = experiment
        self.trainer = LocalTrainer(experiment)
        self._home = ClientHome(folder)
        examples = training_examples(experiment)
        self.trainer.task.check(examples, "training data")
        self._rows = client_rows(experiment, examples)
        spec = spec_of(experiment.data)
        first = [self._rows[client] for client in range(min(DRAWN, len(self._rows)))]
        self.label_counts = label_counts(first, examples.labels, spec.classes)
        self.features, self.labels = examples.tensors(spec)
        self.client = lru_cache(KEPT)(self._client)

    def close(self) -> None:
        """Close the clients' home."""
        self._home.close()

    def _client(self, index: int) -> Participant:
        data = split(self.experiment, index, self.features, self.labels, self._rows[index])
        seeded = self.experiment.simulation.seeded_noise
        return Participant(self.trainer, data, index, self._home, seeded_noise=seeded)
