"""DP-SGD of many clients at once against each of them alone, with the same (seeded) noise and batches."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.simulations.small import experiment

from leptonic import parameters
from leptonic.experiment import Experiment
from leptonic.wire import Reply, Request, inline
from leptonic_simulations.batched import BatchedEngine
from leptonic_simulations.batched.private import PerExample
from leptonic_simulations.clients import FederatedData, SimulatedClients
from leptonic_simulations.sequential import SequentialEngine

PRIVACY = {"unit": "example", "epsilon": 20.0, "delta": 1e-4, "clip_norm": 0.5}
SCALARS = 8 * 4
"""Bytes of count, weight, clamped and capped, behind the words of the model."""
SEEDED = {"engine": "sequential", "seeded_noise": True}
TRAINING = {"rounds": 2, "local_steps": 3, "batch_size": 16, "learning_rate": 0.1}


def answers(engine: Any, made: Experiment, content: bytes) -> dict[int, tuple[Reply, bytes]]:
    numbers = {"run": "0123456789abcdef", "experiment": made.hash, "round": 1, "step": "train", "attempt": 1}
    asked = [
        Request.model_validate({**numbers, "client": client, "payload": inline(content)})
        for client in range(made.federation.clients)
    ]
    return {reply.client: (reply, bytes(answer)) for reply, answer in engine.answers(asked, content)}


def both(made: Experiment, folder: Path) -> list[dict[int, tuple[Reply, bytes]]]:
    """The answers of the sequential and of the batched engine, each from a home of its own."""
    found = []
    for name, make in (("alone", SequentialEngine), ("together", lambda clients: BatchedEngine(clients, threads=1))):
        clients = SimulatedClients(made, folder / name, FederatedData.of(made))
        start = parameters.to_vector(clients.trainer.model)
        vectors = [start] + [np.full_like(start, 0.5) for _ in clients.trainer.algorithm.broadcast]
        found.append(answers(make(clients), made, np.concatenate(vectors).tobytes()))
        clients.close()
    return found


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"model": {"name": "mlp", "hidden": [8]}, "training": {**TRAINING, "momentum": 0.5, "weight_decay": 0.01}},
        {"model": {"name": "cnn", "channels": [2, 4], "hidden": 8}},
        {"training": {**TRAINING, "accumulation_steps": 5}},
        {"algorithm": {"name": "scaffold"}},
        {"algorithm": {"name": "fedprox", "mu": 50.0}},
        {"federation": {"clients": 3, "partition": {"scheme": "quantity", "alpha": 2.0, "minimum_examples": 40}}},
    ],
    ids=["logistic", "momentum", "cnn", "accumulated", "scaffold", "fedprox", "unequal"],
)
def test_with_the_same_noise_each_client_sends_the_same(tmp_path: Path, sections: dict[str, Any]) -> None:
    made = experiment(**{"privacy": PRIVACY, "simulation": SEEDED, "training": TRAINING, **sections})
    alone, together = both(made, tmp_path)
    assert alone.keys() == together.keys()
    for client, (reply, answer) in alone.items():
        assert reply.status == together[client][0].status == "done"
        assert reply.epsilon == together[client][0].epsilon
        assert answer[-SCALARS:] == together[client][1][-SCALARS:]
        words, others = (np.frombuffer(a[:-SCALARS], "<i4").astype(float) for a in (answer, together[client][1]))
        # Rounding to the lattice of the noise may fall to either side where the sums differ in their last bit.
        assert np.abs(words - others).max() <= 2e-3 * np.abs(words).max()


def test_micro_batches_are_computed_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    widths: list[int] = []
    gradients = PerExample.__call__

    def noted(self: PerExample, parameters: Any, features: torch.Tensor, labels: torch.Tensor) -> list[torch.Tensor]:
        widths.append(features.shape[1])
        return gradients(self, parameters, features, labels)

    monkeypatch.setattr(PerExample, "__call__", noted)
    both(experiment(privacy=PRIVACY, training=TRAINING), tmp_path / "whole")
    steps, widest = len(widths), max(widths)
    widths.clear()
    both(experiment(privacy=PRIVACY, training={**TRAINING, "accumulation_steps": 4}), tmp_path / "parts")
    assert len(widths) > 3 * steps
    assert max(widths) == TRAINING["batch_size"] // 4 < widest


def test_without_a_seed_no_two_answers_are_the_same(tmp_path: Path) -> None:
    made = experiment(privacy=PRIVACY, training=TRAINING)
    alone, together = both(made, tmp_path)
    assert all(alone[client][1] != together[client][1] for client in alone)


def test_a_model_that_mixes_examples_is_refused_as_by_one_client_alone(tmp_path: Path) -> None:
    """A model whose examples mix cannot be private, in any engine."""
    made = experiment(privacy=PRIVACY, training=TRAINING, model={"name": f"{__name__}:mixing"})
    for found in both(made, tmp_path):
        assert {reply.status for reply, _ in found.values()} == {"refused"}


def mixing(_spec: object) -> torch.nn.Module:
    class Mixing(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(64, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            output: torch.Tensor = self.layer(x.flatten(1))
            return output - output.mean(dim=0)

    return Mixing()
