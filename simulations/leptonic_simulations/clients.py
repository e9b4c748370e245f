"""The clients of a simulation: each with rows of the shared data, all with one trainer and one home.

Every engine makes a client when it is asked and keeps the latest few, so that memory does not grow with the
population.
"""

from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from leptonic.data.catalogue import spec_of
from leptonic.data.describe import label_counts
from leptonic.data.experiment_data import client_rows, training_examples
from leptonic.data.partition import SampledRows, partition
from leptonic.errors import DataError
from leptonic.experiment import Experiment, LabelFlip
from leptonic.pipeline import NoisedPipeline
from leptonic.tasks import task_for
from leptonic.wire import Reply, Request
from leptonic_client.data import split
from leptonic_client.participant import Participant, failure, respond
from leptonic_client.training import LocalTrainer
from leptonic_simulations.scenario.liars import Liar, attack_of, liars_of
from leptonic_simulations.scenario.lies import needs_the_honest
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

    @classmethod
    def of_arrays(
        cls,
        experiment: Experiment,
        features: NDArray[np.float32],
        labels: NDArray[np.int64],
        packed: tuple[NDArray[np.intp], NDArray[np.intp]] | None,
    ) -> "FederatedData":
        """The data of another process, by the arrays that they share. packed: as :meth:`packed_rows` gives it."""
        tensors = torch.from_numpy(features), torch.from_numpy(labels)
        if packed is not None:
            return cls(*tensors, np.split(packed[0], packed[1][:-1]))
        federation = experiment.federation
        own = partition(federation.partition, labels, None, count=federation.clients, seed=experiment.seed)
        return cls(*tensors, own)

    def packed_rows(self) -> tuple[NDArray[np.intp], NDArray[np.intp]] | None:
        """All clients' rows, one after another, and where each client's end; None where each draws its own."""
        if not isinstance(self.rows, list):
            return None
        return np.concatenate(self.rows), np.cumsum([len(rows) for rows in self.rows])

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
        self.liars, self._attack = liars_of(experiment), attack_of(experiment)
        self._kept: OrderedDict[int, Participant] = OrderedDict()

    def client(self, index: int) -> Participant:
        """One client. Raises DataError where its data do not do."""
        kept = self._kept.get(index)
        if kept is None:
            return self._keep(index, self.data.rows[index])
        self._kept.move_to_end(index)
        return kept

    def expect(self, indices: Sequence[int]) -> None:
        """They will be asked for, so that those of a sampled population draw their rows together, which is quicker.

        Those whose data do not do are left for :meth:`client` to name.
        """
        if not isinstance(self.data.rows, SampledRows):
            return
        missing = [index for index in indices if index not in self._kept]
        for index, rows in zip(missing, self.data.rows.several(missing), strict=True):
            with suppress(DataError):
                self._keep(index, rows)

    def respond(
        self, request: Request, content: bytes | memoryview, room: memoryview | None = None
    ) -> tuple[Reply, bytes]:
        """One client's reply, errors included, also those of its data. Raises what is wrong with a setting.

        room: see :meth:`Participant.answer`.
        """
        try:
            client = self.client(request.client)
        except DataError as error:
            return failure(request, error, str(error)), b""
        return respond(client, request, content, session=self.session(request), room=room)

    def session(self, request: Request) -> str:
        """The attempt, where each has noise of its own, and is counted."""
        return f"{request.attempt:x}" if isinstance(self.trainer.pipeline, NoisedPipeline) else ""

    def work(self, request: Request) -> int:
        """Examples that a client visits when it is asked to train."""
        training, held = self.experiment.training, len(self.data.rows[request.client])
        if training.local_steps is not None:
            return training.local_steps * min(training.batch_size, held)
        return (training.local_epochs or 1) * held

    def close(self) -> None:
        """Close the clients' home."""
        self._home.close()

    def _keep(self, index: int, rows: NDArray[np.intp]) -> Participant:
        made = self._kept[index] = self._client(index, rows)
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return made

    def _client(self, index: int, rows: NDArray[np.intp]) -> Participant:
        lies = index in self.liars
        labels = self._flipped if lies and isinstance(self._attack, LabelFlip) else self.data.labels
        data = split(self.experiment, index, self.data.features, labels, rows)
        kind = Liar if lies and self._attack and not needs_the_honest(self._attack) else Participant
        seeded = self.experiment.simulation.seeded_noise
        return kind(self.trainer, data, index, self._home, seeded_noise=seeded)

    @cached_property
    def _flipped(self) -> Tensor:
        """The labels as those see them who flip them, one tensor for all."""
        return self.trainer.spec.classes - 1 - self.data.labels
