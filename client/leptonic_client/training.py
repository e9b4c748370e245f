"""One client's local work in one round: from the global model to a :class:`LocalUpdate`.

:class:`LocalTrainer` holds what a process needs once (model, task, algorithm); a :class:`LocalWork` holds the
data, the received vectors and the client's state, and the outcome is returned, so that one trainer serves a
node's single client or all clients of a simulation.
"""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from leptonic import models, parameters, randomness
from leptonic.algorithms import Trained, Work, algorithm_for
from leptonic.data.catalogue import spec_of
from leptonic.device import placed, torch_device
from leptonic.errors import DataError, RunError
from leptonic.experiment import Experiment
from leptonic.pipeline import ClientLevelPipeline, ClippedPipeline, pipeline_for, reference_examples
from leptonic.privacy.accounting import ExamplePlan
from leptonic.schedule import learning_rate
from leptonic.tasks import task_for
from leptonic.tasks.evaluation import evaluate
from leptonic.update import LocalUpdate, Vector
from leptonic_client.data import LocalData, batches, steps_of
from leptonic_client.steps import Corrector, optimizer_for, plain_steps, trainable

__all__ = ["LocalTrainer", "LocalWork", "Protection"]


@dataclass(frozen=True)
class Protection:
    """Example-level privacy of one round: the client's plan and the streams that protect it."""

    plan: ExamplePlan
    noise: randomness.SecureStream
    sampling: randomness.SecureStream


@dataclass(frozen=True)
class LocalWork:
    """One client's training in one round, ready to be done.

    start: the global model, (d,). sent: the algorithm's broadcast vectors. state: what this client kept.
    round_number: from 1. protection: of single examples, None without. clip_norm: of the round, where it is told
    with the model. epsilon: spent in this run under privacy, this round included.
    """

    client: int
    round_number: int
    data: LocalData
    start: Vector
    sent: Mapping[str, Vector]
    state: Mapping[str, Vector]
    protection: Protection | None = None
    clip_norm: float | None = None
    epsilon: float | None = None


class LocalTrainer:
    """Trains any client's data from any starting vector, as the experiment says."""

    def __init__(self, experiment: Experiment, *, device: str | None = None) -> None:
        self.experiment = experiment
        self.spec = spec_of(experiment.data)
        self.task = task_for(experiment.task, self.spec)
        self.algorithm = algorithm_for(experiment)
        self.device = torch_device(device or experiment.training.device)
        torch.set_num_threads(experiment.training.threads)
        self.model = placed(models.build(experiment.model, self.spec, experiment.seed), self.device)
        self.layout = parameters.layout_of(self.model)
        self.pipeline = pipeline_for(experiment, self.layout.size)
        self._losses_checked = False
        self._reference_steps = steps_of(experiment.training, reference_examples(experiment))

    @property
    def work_length(self) -> int:
        """Bytes of what a client is sent to train: the model, the algorithm's vectors, the clip where it adapts."""
        adapts = isinstance(self.pipeline, ClippedPipeline) and self.pipeline.adapts
        return 4 * self.layout.size * (1 + len(self.algorithm.broadcast)) + (8 if adapts else 0)

    def train(self, work: LocalWork) -> LocalUpdate:
        """Train from the global model and return the update.

        Raises DataError for a client without examples; under privacy its update is noise, as if it had some.
        """
        if not len(work.data) and work.protection is None:
            raise DataError(f"client {work.client} has no training examples")
        parameters.from_vector(self.model, work.start)
        correct = Corrector(self.model, self.layout, self.algorithm.correction(work.sent, work.state))
        self.model.train()
        with randomness.torch_stream(self.experiment.seed, "training", work.client, work.round_number):
            if work.protection is None:
                steps, metrics = self._plain(work, correct)
            else:
                steps, metrics = self._private(work.data, correct, self.rate(work), work.protection), {}
        return self.update_of(work, parameters.to_vector(self.model) - work.start, steps=steps, metrics=metrics)

    def rate(self, work: LocalWork) -> float:
        """The learning rate of the work's round."""
        return learning_rate(self.experiment.training, work.round_number - 1)

    def update_of(self, work: LocalWork, delta: Vector, *, steps: int, metrics: Mapping[str, float]) -> LocalUpdate:
        """What the algorithm makes of a model that training moved by ``delta`` (d,) in so many steps.

        Raises RunError if the training diverged, unless that would tell something that privacy hides.
        """
        if not all(map(math.isfinite, metrics.values())) and not isinstance(self.pipeline, ClientLevelPipeline):
            raise RunError(
                "local training diverged (the loss is not finite): lower training.learning_rate or clip gradients"
            )
        plan = work.protection.plan if work.protection else None
        examples = float(len(work.data) if plan is None else plan.public_size)
        trained = Trained(
            delta=delta,
            weight=self.pipeline.weight_of(examples),
            work=Work(steps, self._reference_steps, self.rate(work), self.experiment.training.momentum),
            sent=work.sent,
            state=work.state,
        )
        contributed = self.algorithm.contribute(trained)
        sums = {**contributed.sums, **{f"train_{name}": value for name, value in metrics.items()}}
        return LocalUpdate(vectors=contributed.vectors, weight=examples, sums=sums, state=contributed.state)

    def evaluate(self, vector: Vector, data: LocalData) -> dict[str, float]:
        """Metric sums of the model ``vector`` (d,) over the held-out examples, with their number as ``examples``."""
        parameters.from_vector(self.model, vector)
        batch_size = self.experiment.evaluation.batch_size
        return evaluate(self.task, self.model, *data.held_out(), batch_size=batch_size, device=self.device)

    def shuffle(self, work: LocalWork) -> np.random.Generator:
        """The stream that orders a client's examples in a round, without privacy."""
        return randomness.generator(self.experiment.seed, "batches", work.client, work.round_number)

    def _plain(self, work: LocalWork, correct: Corrector) -> tuple[int, dict[str, float]]:
        settings = self.experiment.training
        return plain_steps(
            work.data,
            batches(settings, len(work.data), self.shuffle(work)),
            model=self.model,
            task=self.task,
            optimizer=optimizer_for(settings, trainable(self.model), self.rate(work)),
            correct=correct,
            training=settings,
            device=self.device,
        )

    def _private(self, data: LocalData, correct: Corrector, rate: float, protection: Protection) -> int:
        """DP-SGD; no metric leaves it. Corrections enter after the noise (they derive from noised models)."""
        from leptonic.privacy.example_level import private_training

        self.check_losses()
        features, labels = data.batch(torch.arange(len(data)))
        # The data need no gradient, which is as it should be.
        warnings.filterwarnings("ignore", message="Full backward hook is firing")
        with private_training(
            self.model,
            optimizer_for(self.experiment.training, trainable(self.model), rate),
            features,
            labels,
            plan=protection.plan,
            clip_norm=self.experiment.privacy.clip_norm if self.experiment.privacy else 0.0,
            noise=protection.noise,
            sampling=protection.sampling,
            accumulation_steps=self.experiment.training.accumulation_steps,
        ) as private:
            for batch, target in private.batches():
                self.task.losses(self.model(batch.to(self.device)), target.to(self.device)).sum().backward()
                private.step(correct)
        return protection.plan.steps_per_round

    def check_losses(self) -> None:
        """Raise PrivacyError if the task's loss of an example depends on others; tried once, on made-up examples."""
        if self._losses_checked:
            return
        from leptonic.privacy.compatibility import check_losses, made_up

        probe = made_up(self.spec.input_shape, torch.float32).to(self.device)
        with torch.no_grad(), torch.random.fork_rng():
            outputs = self.model(torch.cat([probe, probe]))
        check_losses(self.task.losses, outputs, torch.arange(4, device=self.device) % self.spec.classes)
        self._losses_checked = True
