"""What is audited: the code that an experiment's clients run, and how an auditor asks it.

An auditor builds the clients as a node or a simulation does, asks them with requests, and changes only what a
client's own data and updates could be, or the noise and the sampling of a single step where it measures a bound. A
test of the audit hands in a faulty trainer or client instead.
"""

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from leptonic import parameters
from leptonic.data.catalogue import spec_of
from leptonic.errors import PrivacyError
from leptonic.experiment import Experiment, FedAvg, OwnData
from leptonic.experiment.training import Schedule
from leptonic.pipeline import ClippedPipeline, Pipeline
from leptonic.privacy.accounting import ExamplePlan
from leptonic.update import Vector
from leptonic.wire import Request, inline
from leptonic_client.data import LocalData
from leptonic_client.home import ClientHome
from leptonic_client.participant import Participant
from leptonic_client.training import LocalTrainer, LocalWork
from leptonic_server.central_noise import CentralNoise, central_noise
from leptonic_simulations.clients import FederatedData

__all__ = ["Auditor", "Subject", "auditing", "held", "observed"]


class MakesTrainers(Protocol):
    """As :class:`LocalTrainer`."""

    def __call__(self, experiment: Experiment, /) -> LocalTrainer: ...


class MakesClients(Protocol):
    """As :class:`Participant`."""

    def __call__(
        self, trainer: LocalTrainer, data: LocalData, index: int, home: ClientHome, /, *, public_size: int | None
    ) -> Participant: ...


class MakesServerNoise(Protocol):
    """As :func:`central_noise`."""

    def __call__(self, experiment: Experiment, pipeline: Pipeline, /, *, seeded: bool) -> CentralNoise | None: ...


@dataclass(frozen=True)
class Subject:
    """The parts that are audited."""

    experiment: Experiment
    trainer: MakesTrainers = LocalTrainer
    client: MakesClients = Participant
    server_noise: MakesServerNoise = central_noise


class Auditor:
    """Asks clients of one subject. data: what there is to be learned; made: whether it was made up."""

    def __init__(self, subject: Subject, home: ClientHome) -> None:
        self.subject, self._home = subject, home
        self.experiment = subject.experiment
        self.trainer = subject.trainer(self.experiment)
        self.start: Vector = parameters.to_vector(self.trainer.model)
        self.data, self.made = _data(self.experiment)

    def client(
        self,
        data: LocalData,
        index: int = 0,
        *,
        public_size: int | None = None,
        trainer: LocalTrainer | None = None,
    ) -> Participant:
        """A client that holds these data. public_size: as it declares; default: what it holds. trainer: if another."""
        return self.subject.client(trainer or self.trainer, data, index, self._home, public_size=public_size)

    def rows(self, client: int, most: int | None = None) -> LocalData:
        """The first examples of a client of the experiment."""
        chosen = torch.from_numpy(np.asarray(self.data.rows[client])[:most])
        return held(self.data.features[chosen], self.data.labels[chosen])

    @property
    def declared(self) -> int:
        """Examples that a client declares: those of the first."""
        return len(self.data.rows[0])

    def ask(
        self, client: Participant, *, run: str | None = None, round_number: int = 1, clip_norm: float | None = None
    ) -> tuple[Request, bytes]:
        """A request to train from the first model, of a run of its own unless named, and what it carries.

        clip_norm: of the round, where it adapts; default: the first.
        """
        algorithm, pipeline = self.trainer.algorithm, self.trainer.pipeline
        state = algorithm.init(self.trainer.layout.size)
        content = b"".join(vector.tobytes() for vector in (self.start, *(state[name] for name in algorithm.broadcast)))
        if isinstance(pipeline, ClippedPipeline) and pipeline.adapts:
            content += np.float64(clip_norm or pipeline.plan.clip_norm).astype("<f8").tobytes()
        request = Request(
            run=run or secrets.token_hex(8),
            experiment=self.experiment.hash,
            round=round_number,
            step="train",
            attempt=1,
            client=client.index,
            payload=inline(content),
        )
        return request, content

    def work(self, client: Participant, *, run: str | None = None, round_number: int = 1) -> LocalWork:
        """What a client would do upon such a request, with its own streams."""
        return client.prepare(*self.ask(client, run=run, round_number=round_number))

    def example_plan(self) -> ExamplePlan:
        """What protects the examples of a client. Raises PrivacyError where nothing does."""
        if not isinstance(plan := self.client(self.rows(0)).plan, ExamplePlan):
            raise PrivacyError("the experiment has no example-level privacy")
        return plan

    def sums(self, message: bytes) -> dict[str, float]:
        """What a client's message says beside its noised vectors, and what does not follow from those."""
        pipeline = self.trainer.pipeline
        sums = pipeline.sums(pipeline.from_bytes(message))
        return {name: value for name, value in sums.items() if name != "clamped"}


@contextmanager
def auditing(subject: Subject) -> Iterator[Auditor]:
    """An auditor, whose clients keep what they must in a folder that is gone afterwards."""
    with TemporaryDirectory(prefix="leptonic-audit-") as folder:
        home = ClientHome(Path(folder))
        try:
            yield Auditor(subject, home)
        finally:
            home.close()


def held(features: Tensor, labels: Tensor) -> LocalData:
    """Examples as a client holds them, all for training."""
    return LocalData(features, labels, rows=torch.arange(len(labels)), held_rows=torch.empty(0, dtype=torch.long))


def observed(experiment: Experiment, learning_rate: float) -> Experiment:
    """The same with one plain step of gradient descent, so that the update is the step's gradient times the rate."""
    training = experiment.training.model_copy(
        update={
            "local_epochs": None,
            "local_steps": 1,
            "optimizer": "sgd",
            "momentum": 0.0,
            "weight_decay": 0.0,
            "learning_rate": learning_rate,
            "schedule": Schedule(),
        }
    )
    return experiment.model_copy(update={"training": training, "algorithm": FedAvg(name="fedavg")})


def _data(experiment: Experiment) -> tuple[FederatedData, bool]:
    """The experiment's data; made up where only its clients have them: what is audited is the code."""
    if not (isinstance(experiment.data, OwnData) and experiment.data.path is None):
        return FederatedData.of(experiment), False
    spec, clients = spec_of(experiment.data), experiment.federation.clients
    each = max(experiment.training.batch_size, 64)
    generator = torch.Generator().manual_seed(0)
    features = torch.randn((each, *spec.shape), generator=generator)
    labels = torch.randint(0, spec.classes, (each,), generator=generator)
    rows: Sequence[np.ndarray] = [np.arange(each)] * clients
    return FederatedData(features, labels, rows), True
