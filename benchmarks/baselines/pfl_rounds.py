"""Rounds of pfl-research's simulation in one process: FederatedAveraging over its SimulatedBackend.

Run by benchmarks/simulation.py; makes one round for each line that it reads, and answers with its seconds.
Without evaluation and with the users' tensors in memory, as in pfl's own benchmarks. Wants pfl[pytorch].

    python pfl_rounds.py FOLDER --model logistic --cohort 50 --threads 1
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from bare import Workload, build
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.sampling import get_user_sampler
from pfl.hyperparam.base import NNEvalHyperParams, NNTrainHyperParams
from pfl.metrics import Metrics, Weighted
from pfl.model.pytorch import PyTorchModel
from torch import Tensor, nn

MANY = 10**9


class Learner(nn.Module):
    """The model, with the two methods that pfl asks for."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def loss(self, features: Tensor, labels: Tensor) -> Tensor:
        """The mean cross-entropy of a batch."""
        self.train()
        return F.cross_entropy(self.model(features), labels)

    @torch.no_grad()
    def metrics(self, features: Tensor, labels: Tensor) -> dict[str, Weighted]:
        """pfl evaluates before its first round, which is not counted."""
        self.eval()
        return {"loss": Weighted(F.cross_entropy(self.model(features), labels, reduction="sum").item(), len(labels))}


class OnDemand(TrainingProcessCallback):
    """Lets a round begin when a line is read, and answers when it has ended; stops at the end of the input."""

    def __init__(self) -> None:
        self._began = 0.0

    def wait(self) -> bool:
        """Whether another round is wanted."""
        wanted = bool(sys.stdin.readline())
        self._began = time.perf_counter()
        return wanted

    def after_central_iteration(
        self, aggregate_metrics: Metrics, model: PyTorchModel, *, central_iteration: int
    ) -> tuple[bool, Metrics]:
        """The model has its round's update."""
        print(time.perf_counter() - self._began, flush=True)
        return not self.wait(), Metrics()


def users(folder: Path) -> FederatedDataset:
    """Every user's tensors."""
    features, labels, rows = (np.load(folder / f"{name}.npy", "r") for name in ("features", "labels", "rows"))
    data = {user: [torch.from_numpy(features[own]), torch.from_numpy(labels[own])] for user, own in enumerate(rows)}
    return FederatedDataset.from_slices(data, get_user_sampler("minimize_reuse", list(data)))


def main() -> None:
    """Answer until the input ends."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cohort", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    Workload.add_arguments(parser)
    options = parser.parse_args()
    workload = Workload.of(options)
    torch.set_num_threads(options.threads)
    learner, data, on_demand = Learner(build(workload.model)), users(options.folder), OnDemand()
    if not on_demand.wait():
        return
    FederatedAveraging().run(
        NNAlgorithmParams(
            central_num_iterations=MANY,
            evaluation_frequency=MANY,
            train_cohort_size=options.cohort,
            val_cohort_size=None,
        ),
        SimulatedBackend(training_data=data, val_data=data),
        PyTorchModel(learner, torch.optim.SGD, torch.optim.SGD(learner.parameters(), lr=1.0)),
        NNTrainHyperParams(
            local_num_epochs=None,
            local_learning_rate=workload.rate,
            local_batch_size=workload.batch,
            local_num_steps=workload.steps,
        ),
        NNEvalHyperParams(local_batch_size=None),
        callbacks=[on_demand],
        send_metrics_to_platform=False,
    )


if __name__ == "__main__":
    main()
