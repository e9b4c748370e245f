"""SCAFFOLD against Karimireddy et al. 2020, Algorithm 1, option II, global step size 1."""

import numpy as np
import pytest
from tests.core.algorithms.quadratics import Client, Federation, Real, draw, optimum_of

from leptonic.algorithms import algorithm_for
from leptonic.experiment_file import from_mapping

RATE = 0.05


def scaffold(clients: list[Client], momentum: float = 0.0) -> Federation:
    algorithm = algorithm_for(from_mapping({"name": "x", "algorithm": {"name": "scaffold"}}))
    return Federation(algorithm, clients, rate=RATE, momentum=momentum)


class Paper:
    """Algorithm 1 with exact gradients; the local loop in closed form. The first c and c_i are zero."""

    def __init__(self, clients: list[Client]) -> None:
        size = len(clients[0].optimum)
        self.clients, self.x, self.c = clients, np.zeros(size), np.zeros(size)
        self.own: list[Real] = [np.zeros(size) for _ in clients]

    def play(self, cohort: list[int]) -> Real:
        moves, changes = [], []
        for i in cohort:
            client = self.clients[i]
            # y <- y - r (g_i(y) - c_i + c): the gradient of a quadratic whose optimum is shifted.
            shifted = Client(client.curvature, client.optimum - (self.c - self.own[i]) / client.curvature)
            y = shifted.descended(self.x, RATE, client.steps)
            fresh = self.own[i] - self.c + (self.x - y) / (client.steps * RATE)
            moves.append(y - self.x)
            changes.append(fresh - self.own[i])
            self.own[i] = fresh
        share = len(cohort) / len(self.clients)
        self.x = self.x + np.mean(moves, axis=0)
        self.c = self.c + share * np.mean(changes, axis=0)
        return self.x


@pytest.mark.parametrize("cohort_size", [1, 2, 6])
def test_follows_the_paper_round_by_round_with_partial_participation(cohort_size: int) -> None:
    clients = draw(12, 6, steps=(1, 10, 25))
    ours, paper = scaffold(clients), Paper(clients)
    random = np.random.default_rng(0)
    for _ in range(40):
        cohort = random.choice(6, cohort_size, replace=False).tolist()
        assert ours.play(cohort) == pytest.approx(paper.play(cohort), abs=2e-5)
        assert ours.server["control"] == pytest.approx(paper.c, abs=2e-5)
        for index in cohort:
            assert ours.kept[index]["control"] == pytest.approx(paper.own[index], abs=2e-5)


def test_the_servers_control_stays_the_mean_of_all_the_clients() -> None:
    clients = draw(13, 5)
    ours = scaffold(clients)
    random = np.random.default_rng(1)
    for _ in range(60):
        ours.play(random.choice(5, 2, replace=False).tolist())
        kept = [ours.kept.get(i, {}).get("control", np.zeros(3)) for i in range(5)]
        assert ours.server["control"] == pytest.approx(np.mean(kept, axis=0), abs=1e-5)


@pytest.mark.parametrize("cohort_size", [2, 4])
def test_reaches_the_optimum_with_many_local_steps_where_fedavg_does_not(cohort_size: int) -> None:
    clients = draw(14, 4, steps=(40,))
    ours, average = scaffold(clients), Federation(algorithm_for(from_mapping({"name": "x"})), clients, rate=RATE)
    random = np.random.default_rng(2)
    for _ in range(150):
        ours.play(random.choice(4, cohort_size, replace=False).tolist())
        average.play()
    optimum = optimum_of(clients)
    assert ours.model == pytest.approx(optimum, abs=1e-4)
    assert float(np.abs(average.model - optimum).max()) > 0.05


def test_at_the_optimum_each_control_is_the_clients_gradient_there() -> None:
    clients = draw(15, 3, steps=(20,))
    ours = scaffold(clients)
    for _ in range(300):
        ours.play()
    optimum = optimum_of(clients)
    for index, client in enumerate(clients):
        assert ours.kept[index]["control"] == pytest.approx(client.gradient(optimum), abs=1e-4)
    assert ours.server["control"] == pytest.approx(np.zeros(3), abs=1e-4)


def test_weights_do_not_move_its_fixed_point() -> None:
    """The controls are averaged uniformly, so the objective is the paper's: every client counts the same."""
    clients = draw(16, 3, steps=(10,), weights=True)
    ours = scaffold(clients)
    for _ in range(250):
        ours.play()
    assert ours.model == pytest.approx(optimum_of(clients), abs=1e-4)


def test_under_momentum_a_control_is_still_a_mean_of_gradients() -> None:
    """With a constant gradient option II must give that gradient exactly, whatever the momentum."""
    flat = Client(curvature=np.full(3, 1e-9), optimum=np.array([1e9, -2e9, 5e8]), steps=7)
    ours = scaffold([flat], momentum=0.9)
    gradient = flat.gradient(ours.model)
    ours.play()
    assert ours.kept[0]["control"] == pytest.approx(gradient, rel=1e-5)


def test_declares_what_it_sends() -> None:
    algorithm = scaffold(draw(17, 1)).algorithm
    assert [(s.name, s.weighted) for s in algorithm.segments] == [("model", True), ("control", False)]
    assert algorithm.broadcast == ("control",)
