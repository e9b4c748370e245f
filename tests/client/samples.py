"""Small experiments and data for the tests of the client: 8x8 images in ten classes, made up from a seed."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from leptonic.data.examples import Examples
from leptonic.experiment import Experiment
from leptonic.experiment_file import from_mapping
from leptonic.privacy.ledger import Charge, Cost
from leptonic.privacy.mechanisms import SampledGaussian
from leptonic.wire import Request, inline
from leptonic_client.data import LocalData, local_data
from leptonic_client.training import LocalTrainer

torch.set_num_threads(1)

RUN = "0123456789abcdef"
PRIVACY = {"unit": "example", "epsilon": 20.0, "delta": 1e-3}
PRIVATE_TRAINING = {"rounds": 2, "local_steps": 1, "batch_size": 8, "learning_rate": 0.1}


def experiment(**sections: Any) -> Experiment:
    """Logistic regression on digits, two clients, two rounds; sections replace those of the same name."""
    content = {
        "name": "small",
        "seed": 7,
        "data": {"name": "digits"},
        "model": {"name": "logistic"},
        "federation": {"clients": 2},
        "training": {"rounds": 2, "batch_size": 16, "learning_rate": 0.1},
        "outputs": {"report": False, "tensorboard": False},
    }
    return from_mapping({**content, **sections})


def private_experiment(**sections: Any) -> Experiment:
    """The same under example-level privacy."""
    return experiment(**{"privacy": PRIVACY, "training": PRIVATE_TRAINING, **sections})


def examples(count: int = 40, seed: int = 0) -> Examples:
    """Examples of the shape and the classes of digits."""
    random = np.random.default_rng(seed)
    features = random.integers(0, 17, (count, 1, 8, 8)).astype(np.uint8)
    return Examples(features, random.integers(0, 10, count).astype(np.int64))


def data_of(made: Experiment, client: int = 0, *, count: int = 40, seed: int = 0) -> LocalData:
    """One client's data."""
    return local_data(made, client, examples(count, seed))


def data_file(path: Path, *, count: int = 40, seed: int = 0) -> Path:
    """The same examples as an owner keeps them."""
    made = examples(count, seed)
    np.savez(path, features=made.features, label=made.labels)
    return path


def start_of(trainer: LocalTrainer, seed: int = 1) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A model vector (d,) float32."""
    return np.random.default_rng(seed).normal(0, 0.05, trainer.layout.size).astype(np.float32)


def request(made: Experiment, content: bytes, **changes: Any) -> Request:
    """A request of round 1 to client 0."""
    numbers = {"run": RUN, "experiment": made.hash, "round": 1, "step": "train", "attempt": 1, "client": 0}
    return Request(**{**numbers, "payload": inline(content), **changes})


def charge(round_number: int, *, run: str = RUN, client: int = 0) -> Charge:
    """A round of DP-SGD."""
    cost = Cost(SampledGaussian(1.0, 0.1), 5, unit="example", adjacency="add_remove")
    return Charge(run=run, client=client, round=round_number, cost=cost)
