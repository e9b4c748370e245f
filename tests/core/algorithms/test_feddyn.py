"""FedDyn against Acar et al. 2021 (arXiv 2111.04263), Algorithm 1, with exact local minimisation."""

import numpy as np
import pytest
from tests.core.algorithms.quadratics import Client, Federation, Real, draw, optimum_of

from leptonic.algorithms import algorithm_for
from leptonic.experiment_file import from_mapping

ALPHA = 0.5
TO_THE_END = 90
"""Steps of rate 0.2 that bring (1 - 0.2 (h + alpha))^K below 2e-9 for every h and alpha >= 0.5."""


def feddyn(clients: list[Client], alpha: float = ALPHA) -> Federation:
    algorithm = algorithm_for(from_mapping({"name": "x", "algorithm": {"name": "feddyn", "alpha": alpha}}))
    return Federation(algorithm, clients, rate=0.2, model=np.full(3, 1.5))


class Paper:
    """theta_k = argmin L_k - <g_k, theta> + alpha/2 ||theta - theta_t||^2, in closed form for quadratics."""

    def __init__(self, clients: list[Client], alpha: float = ALPHA) -> None:
        self.clients, self.alpha, self.theta = clients, alpha, np.full(3, 1.5)
        self.h, self.g = np.zeros(3), [np.zeros(3) for _ in clients]

    def play(self, cohort: list[int]) -> Real:
        ends = []
        for k in cohort:
            c = self.clients[k]
            top = c.curvature * c.optimum + self.g[k] + self.alpha * self.theta
            end = top / (c.curvature + self.alpha)
            self.g[k] = self.g[k] - self.alpha * (end - self.theta)
            # First-order optimality makes the new g_k the client's own gradient at its end point.
            assert self.g[k] == pytest.approx(c.gradient(end), abs=1e-9)
            ends.append(end)
        moved = sum(end - self.theta for end in ends)
        self.h = self.h - self.alpha / len(self.clients) * moved
        self.theta = np.mean(ends, axis=0) - self.h / self.alpha
        return self.theta


@pytest.mark.parametrize("cohort_size", [1, 2, 6])
@pytest.mark.parametrize("alpha", [0.5, 2.0])
def test_follows_the_paper_round_by_round_with_partial_participation(cohort_size: int, alpha: float) -> None:
    clients = draw(20, 6, steps=(TO_THE_END,))
    ours, paper = feddyn(clients, alpha), Paper(clients, alpha)
    random = np.random.default_rng(0)
    for _ in range(25):
        cohort = random.choice(6, cohort_size, replace=False).tolist()
        assert ours.play(cohort) == pytest.approx(paper.play(cohort), abs=3e-5)
        assert ours.server["h"] == pytest.approx(paper.h, abs=3e-5)
        for index in cohort:
            assert ours.kept[index]["gradient"] == pytest.approx(paper.g[index], abs=3e-5)


@pytest.mark.parametrize("cohort_size", [2, 4])
def test_reaches_the_global_optimum(cohort_size: int) -> None:
    clients = draw(21, 4, steps=(TO_THE_END,))
    ours = feddyn(clients, alpha=2.0)
    random = np.random.default_rng(1)
    for _ in range(120):
        ours.play(random.choice(4, cohort_size, replace=False).tolist())
    assert ours.model == pytest.approx(optimum_of(clients), abs=1e-4)


def test_the_optimum_is_its_fixed_point() -> None:
    clients = draw(22, 4, steps=(TO_THE_END,))
    ours = feddyn(clients)
    optimum = optimum_of(clients)
    ours.model = optimum.copy()
    ours.kept = {i: {"gradient": c.gradient(optimum).astype(np.float32)} for i, c in enumerate(clients)}
    for _ in range(5):
        assert ours.play() == pytest.approx(optimum, abs=1e-5)


def test_weights_do_not_count() -> None:
    clients = draw(23, 3, steps=(TO_THE_END,), weights=True)
    equal = [Client(c.curvature, c.optimum, 1.0, c.steps) for c in clients]
    ours, plain = feddyn(clients), feddyn(equal)
    for _ in range(5):
        assert ours.play() == pytest.approx(plain.play(), abs=1e-7)


def test_h_sums_the_gradients_of_all_clients() -> None:
    """h = mean over all clients of their g_k, from h = g = 0: the invariant behind the paper's analysis."""
    clients = draw(24, 5, steps=(TO_THE_END,))
    ours = feddyn(clients)
    random = np.random.default_rng(2)
    for _ in range(30):
        ours.play(random.choice(5, 2, replace=False).tolist())
        kept = [ours.kept.get(i, {}).get("gradient", np.zeros(3)) for i in range(5)]
        assert ours.server["h"] == pytest.approx(np.mean(kept, axis=0), abs=1e-5)
