"""FedAvg against McMahan et al. 2017, Algorithm 1, in closed form on quadratics."""

import numpy as np
import pytest
from tests.core.algorithms.quadratics import Client, Federation, draw, optimum_of

from leptonic.algorithms import algorithm_for
from leptonic.experiment_file import from_mapping


def fedavg() -> Federation:
    algorithm = algorithm_for(from_mapping({"name": "x", "algorithm": {"name": "fedavg"}}))
    return Federation(algorithm, draw(1, 4, steps=(1, 5, 9), weights=True), rate=0.1)


def test_follows_the_paper_round_by_round() -> None:
    ours = fedavg()
    paper = ours.model.copy()
    shares = np.array([c.weight for c in ours.clients]) / sum(c.weight for c in ours.clients)
    for _ in range(20):
        # w_{t+1} = sum_k n_k / n w^k_{t+1}
        paper = sum(s * c.descended(paper, 0.1) for s, c in zip(shares, ours.clients, strict=True))
        assert ours.play() == pytest.approx(paper, abs=2e-6)


def test_a_cohort_is_averaged_by_its_own_weights() -> None:
    ours = fedavg()
    a, c = ours.clients[0], ours.clients[2]
    expected = (a.weight * a.descended(ours.model, 0.1) + c.weight * c.descended(ours.model, 0.1)) / (
        a.weight + c.weight
    )
    assert ours.play([2, 0]) == pytest.approx(expected, abs=1e-6)


def test_one_local_step_is_gradient_descent_on_the_weighted_objective() -> None:
    clients = draw(2, 5, steps=(1,), weights=True)
    ours = Federation(fedavg().algorithm, clients, rate=0.2)
    total = sum(c.weight for c in clients)
    gradient = sum(c.weight / total * c.gradient(ours.model) for c in clients)
    assert ours.play() == pytest.approx(-0.2 * gradient, abs=1e-6)
    for _ in range(200):
        ours.play()
    assert ours.model == pytest.approx(optimum_of(clients, [c.weight for c in clients]), abs=1e-5)


def test_keeps_and_broadcasts_nothing() -> None:
    ours = fedavg()
    ours.play()
    assert (ours.server, ours.algorithm.broadcast, ours.algorithm.sums) == ({}, (), ())
    assert all(kept == {} for kept in ours.kept.values())
    assert [(s.name, s.weighted) for s in ours.algorithm.segments] == [("model", True)]


def test_many_local_steps_bias_it_on_heterogeneous_clients() -> None:
    """The fact that SCAFFOLD, FedNova and FedDyn mend: the fixed point solves sum (1 - (1 - r h)^K)(w - m) = 0."""
    clients = [
        Client(curvature=np.array([0.2]), optimum=np.array([0.0]), steps=40),
        Client(curvature=np.array([2.0]), optimum=np.array([1.0]), steps=40),
    ]
    ours = Federation(fedavg().algorithm, clients, rate=0.1)
    for _ in range(100):
        ours.play()
    moved = [float(1 - (1 - 0.1 * c.curvature[0]) ** 40) for c in clients]
    assert float(ours.model[0]) == pytest.approx(moved[1] / sum(moved), abs=1e-5)
    assert abs(float(ours.model[0]) - float(optimum_of(clients)[0])) > 0.2
