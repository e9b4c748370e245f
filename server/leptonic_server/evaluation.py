"""The server's view of the model: its layout, its first values, and its evaluation on the server's data."""

import hashlib
from collections.abc import Mapping

import safetensors.numpy
import torch

from leptonic import models, parameters
from leptonic.data.catalogue import spec_of
from leptonic.data.experiment_data import test_examples
from leptonic.device import placed, torch_device
from leptonic.experiment import Experiment
from leptonic.tasks import task_for
from leptonic.tasks.evaluation import evaluate
from leptonic.update import Vector

__all__ = ["Evaluator"]


class Evaluator:
    """Builds the experiment's model once, and evaluates vectors of its parameters."""

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment
        spec = spec_of(experiment.data)
        self.task = task_for(experiment.task, spec)
        # A server without the clients' accelerator still serves them.
        self._device = torch_device("cpu" if experiment.training.device == "cpu" else "auto")
        torch.set_num_threads(experiment.training.threads)
        self._model = placed(models.build(experiment.model, spec, experiment.seed), self._device)
        self.layout = parameters.layout_of(self._model)
        test = test_examples(experiment) if "server" in experiment.evaluation.on else None
        self._test = None if test is None else test.tensors(spec)

    def initial(self) -> Vector:
        """The model before training, (d,) float32; both sides build it alike from the seed."""
        model = models.build(self._experiment.model, spec_of(self._experiment.data), self._experiment.seed)
        return parameters.to_vector(model)

    def evaluate(self, vector: Vector) -> dict[str, float]:
        """The task's summary on the server's test data; empty where there is none."""
        if self._test is None:
            return {}
        parameters.from_vector(self._model, vector)
        batch_size = self._experiment.evaluation.batch_size
        sums = evaluate(self.task, self._model, *self._test, batch_size=batch_size, device=self._device)
        return self.summary(sums)

    def summary(self, sums: Mapping[str, float]) -> dict[str, float]:
        """What is shown of summed metrics with their ``examples``; empty where there were none."""
        if not sums.get("examples"):
            return {}
        return self.task.summary(sums, sums["examples"])

    def model_file(self, vector: Vector) -> bytes:
        """The model as a safetensors file."""
        return safetensors.numpy.save(parameters.state_dict_of(self.layout, vector))

    def model_sha256(self, vector: Vector) -> str:
        """SHA-256 of :meth:`model_file`, hexadecimal: what ``sha256sum model.safetensors`` prints."""
        return hashlib.sha256(self.model_file(vector)).hexdigest()
