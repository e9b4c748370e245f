"""The sequential engine: one client after another, in this process. The readable reference."""

from pathlib import Path

from leptonic.data.catalogue import spec_of
from leptonic.data.describe import label_counts
from leptonic.data.experiment_data import client_rows, training_examples
from leptonic.experiment import Experiment
from leptonic.wire import Reply, Request
from leptonic_client.data import split
from leptonic_client.home import ClientHome
from leptonic_client.participant import Participant, respond
from leptonic_client.training import LocalTrainer

__all__ = ["SequentialEngine"]


class SequentialEngine:
    """All clients share one trainer and one copy of the data; each keeps its own state and rows."""

    def __init__(self, experiment: Experiment, folder: Path) -> None:
        self._experiment = experiment
        self._trainer = LocalTrainer(experiment)
        self._home = ClientHome(folder)
        examples = training_examples(experiment)
        self._trainer.task.check(examples, "training data")
        self._rows = client_rows(experiment, examples)
        spec = spec_of(experiment.data)
        self.label_counts = label_counts(self._rows, examples.labels, spec.classes)
        self._features, self._labels = examples.tensors(spec)
        self._participants: dict[int, Participant] = {}

    def answer(self, request: Request, content: bytes | memoryview) -> tuple[Reply, bytes]:
        """One client's reply to one request."""
        return respond(self._participant(request.client), request, content)

    def close(self) -> None:
        """Close the clients' home."""
        self._home.close()

    def _participant(self, client: int) -> Participant:
        if client not in self._participants:
            data = split(self._experiment, client, self._features, self._labels, self._rows[client])
            self._participants[client] = Participant(
                self._trainer, data, client, self._home, seeded_noise=self._experiment.simulation.seeded_noise
            )
        return self._participants[client]
