"""The state between rounds: what is sent, what is stored, and one step."""

from typing import Any

import numpy as np
import pytest

from leptonic.algorithms import algorithm_for
from leptonic.errors import RunError
from leptonic.experiment_file import from_mapping
from leptonic.update import Mean
from leptonic_server.optimizers import optimizer_for
from leptonic_server.state import RoundState

MODEL = np.linspace(-1, 1, 7).astype(np.float32)


def settings(algorithm: str, optimizer: dict[str, Any]) -> Any:
    return from_mapping({"name": "x", "algorithm": {"name": algorithm}, "server_optimizer": optimizer})


def mean(algorithm: Any, value: float) -> Mean:
    vectors = {segment.name: np.full(7, value, np.float32) for segment in algorithm.segments}
    return Mean(vectors, {name: 10.0 for name in ("count", "weight", *algorithm.sums)}, count=10)


COMBINATIONS = [
    ("fedavg", {"name": "sgd"}),
    ("fedavg", {"name": "sgd", "momentum": 0.9}),
    ("fedavg", {"name": "adam"}),
    ("fedprox", {"name": "yogi"}),
    ("fednova", {"name": "adagrad"}),
    ("scaffold", {"name": "sgd"}),
    ("feddyn", {"name": "sgd"}),
]


@pytest.mark.parametrize(("name", "optimizer"), COMBINATIONS)
def test_stored_and_loaded_between_rounds_a_run_is_the_same(name: str, optimizer: dict[str, Any]) -> None:
    experiment = settings(name, optimizer)
    algorithm, stepping = algorithm_for(experiment), optimizer_for(experiment.server_optimizer)
    unbroken = RoundState.first(MODEL, algorithm, stepping)
    stored = RoundState.from_vectors(unbroken.vectors())
    for value in (0.1, -0.2, 0.3):
        unbroken = unbroken.step(mean(algorithm, value), algorithm, stepping, clients=20)
        stored = RoundState.from_vectors(stored.step(mean(algorithm, value), algorithm, stepping, clients=20).vectors())
    left, right = unbroken.vectors(), stored.vectors()
    assert left.keys() == right.keys()
    assert all(left[key].tobytes() == right[key].tobytes() for key in left)


@pytest.mark.parametrize(("name", "optimizer"), COMBINATIONS)
def test_a_step_leaves_the_state_before_it_as_it_was(name: str, optimizer: dict[str, Any]) -> None:
    """A failed commit is repeated from it."""
    experiment = settings(name, optimizer)
    algorithm, stepping = algorithm_for(experiment), optimizer_for(experiment.server_optimizer)
    before = RoundState.first(MODEL.copy(), algorithm, stepping)
    before = before.step(mean(algorithm, 0.1), algorithm, stepping, clients=20)
    copy = {key: vector.copy() for key, vector in before.vectors().items()}
    before.step(mean(algorithm, 0.5), algorithm, stepping, clients=20)
    assert all((vector == copy[key]).all() for key, vector in before.vectors().items())


def test_fedavg_moves_the_model_by_the_mean() -> None:
    experiment = settings("fedavg", {"name": "sgd"})
    algorithm, stepping = algorithm_for(experiment), optimizer_for(experiment.server_optimizer)
    after = RoundState.first(MODEL, algorithm, stepping).step(mean(algorithm, 0.25), algorithm, stepping, clients=20)
    np.testing.assert_allclose(after.model, MODEL + 0.25)


@pytest.mark.parametrize("name", ["fedavg", "scaffold"])
def test_the_broadcast_is_the_model_and_the_algorithms_vectors_little_endian(name: str) -> None:
    experiment = settings(name, {"name": "sgd"})
    algorithm = algorithm_for(experiment)
    state = RoundState.first(MODEL, algorithm, optimizer_for(experiment.server_optimizer))
    sent = np.frombuffer(state.broadcast(algorithm), "<f4").reshape(-1, 7)
    assert len(sent) == 1 + len(algorithm.broadcast)
    assert (sent[0] == MODEL).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_model_that_is_not_finite_stops_the_run_with_advice(value: float) -> None:
    experiment = settings("fedavg", {"name": "sgd"})
    algorithm, stepping = algorithm_for(experiment), optimizer_for(experiment.server_optimizer)
    state = RoundState.first(MODEL, algorithm, stepping)
    with pytest.raises(RunError, match="learning rates"):
        state.step(mean(algorithm, value), algorithm, stepping, clients=20)
