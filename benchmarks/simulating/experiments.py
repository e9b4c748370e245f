"""The experiments that the simulation benchmark runs, as the sections of experiment files."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from leptonic.experiment import Experiment
from leptonic.experiment_file import from_mapping
from leptonic_simulations.clients import FederatedData

__all__ = ["MODELS", "cores", "export", "five_steps", "flute", "from_mapping", "population", "soak"]

MODELS = ("logistic", "mlp", "lenet", "cnn")
"""Called as in baselines/bare.py; each name's defaults are its model: MLP-200, CNN with 1.66 M parameters."""
NEVER = 10**6
"""Rounds between evaluations, so that only the first and the last model are evaluated."""
LEAN = {"report": False, "tensorboard": False}
"""The baselines write no report either."""

Sections = dict[str, Any]


def cores() -> int:
    """Processor cores that this process, and whatever it starts, may use."""
    return len(os.sched_getaffinity(0))


def flute(rounds: int, *, engine: str | None) -> Sections:
    """FLUTE's LR_MNIST: 1000 clients of 60 examples, 10 a round, one epoch in batches of 10.

    engine: None leaves engine and outputs as they are by default, with a report.
    """
    sections = _sections(
        model={"name": "logistic"},
        federation={"clients": 1000, "cohort": 10},
        training={"rounds": rounds, "local_epochs": 1, "batch_size": 10, "learning_rate": 0.03},
    )
    if engine is None:
        return sections
    return {**sections, "outputs": LEAN, "simulation": {"engine": engine}}


def five_steps(model: str, rounds: int, *, engine: str = "exact", cohort: int = 50, device: str = "cpu") -> Sections:
    """Clients that take 5 steps of 10 examples, of 60 that each holds."""
    return _sections(
        model={"name": model},
        federation={"clients": 1000, "cohort": cohort},
        training={**_five_steps(rounds), "device": device},
        outputs=LEAN,
        simulation={"engine": engine},
    )


def population(clients: int, rounds: int, *, algorithm: str) -> Sections:
    """A round of 100 out of so many clients, each of which draws its 60 examples by itself."""
    return _sections(
        model={"name": "logistic"},
        federation={"clients": clients, "cohort": 100, "partition": {"scheme": "sampled", "examples": 60}},
        training=_five_steps(rounds),
        algorithm={"name": algorithm},
        outputs=LEAN,
        simulation={"engine": "batched"},
    )


def soak(rounds: int, *, engine: str) -> Sections:
    """Small rounds with everything that a round does: evaluation, TensorBoard, clients with a state."""
    return {
        "name": "soak",
        "data": {"name": "digits"},
        "model": {"name": "logistic"},
        "federation": {"clients": 50, "cohort": 10},
        "training": {"rounds": rounds, "local_steps": 2, "batch_size": 10, "learning_rate": 0.03},
        "algorithm": {"name": "scaffold"},
        "outputs": {"report": False},
        "simulation": {"engine": engine, "workers": 2},
    }


def export(experiment: Experiment, data: FederatedData, folder: Path) -> None:
    """Write what the baselines read: features, labels, and the rows (clients, 60) of each client, as .npy."""
    least = min(len(rows) for rows in data.rows)
    rows = np.stack([data.rows[client][:least] for client in range(experiment.federation.clients)])
    arrays = {"features": data.features.numpy(), "labels": data.labels.numpy(), "rows": rows}
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)


def _five_steps(rounds: int) -> Sections:
    return {"rounds": rounds, "local_steps": 5, "batch_size": 10, "learning_rate": 0.03}


def _sections(**sections: Any) -> Sections:
    return {"name": "simulation", "data": {"name": "mnist"}, "evaluation": {"every": NEVER}, **sections}
