"""FedProx against Li et al. 2020, Algorithm 2: h_k(w) = F_k(w) + mu/2 ||w - w_t||^2."""

import numpy as np
import pytest
from tests.core.algorithms.quadratics import Client, Federation, draw, local_sgd

from leptonic.algorithms import algorithm_for
from leptonic.experiment_file import from_mapping

MU = 0.5


def fedprox(clients: list[Client], mu: float = MU, rate: float = 0.1) -> Federation:
    algorithm = algorithm_for(from_mapping({"name": "x", "algorithm": {"name": "fedprox", "mu": mu}}))
    return Federation(algorithm, clients, rate=rate, model=np.full(3, 2.0))


def test_the_local_optimum_is_the_proximal_point() -> None:
    (client,) = draw(3, 1, steps=(400,))
    start = np.array([3.0, -1.0, 0.5])
    end = local_sgd(client, start, 0.1, momentum=0.0, correction=fedprox([client]).algorithm.correction({}, {}))
    h, m = client.curvature, client.optimum
    assert end == pytest.approx((m * h + MU * start) / (h + MU), abs=1e-9)


def test_follows_the_paper_round_by_round() -> None:
    ours = fedprox(draw(4, 5, steps=(3, 20), weights=True))
    paper = ours.model.copy()
    total = sum(c.weight for c in ours.clients)
    for _ in range(20):
        ends = []
        for c in ours.clients:
            # K gradient steps on h_k: a quadratic of curvature h + mu about the proximal point.
            h = c.curvature + MU
            proximal = Client(h, (c.curvature * c.optimum + MU * paper) / h, steps=c.steps)
            ends.append(c.weight / total * proximal.descended(paper, 0.1))
        paper = np.sum(ends, axis=0)
        assert ours.play() == pytest.approx(paper, abs=2e-6)


def test_mu_zero_is_fedavg_and_a_large_mu_holds_the_model_back() -> None:
    clients = draw(5, 3)
    free, held = fedprox(clients, 0.0), fedprox(clients, 50.0, rate=0.01)
    shift = [float(np.linalg.norm(f.play() - 2.0)) for f in (free, held)]
    expected = np.mean([c.descended(np.full(3, 2.0), 0.1) for c in clients], axis=0)
    assert free.model == pytest.approx(expected, abs=1e-6)
    assert shift[1] < 0.2 * shift[0]


def test_sends_nothing_beyond_the_model() -> None:
    ours = fedprox(draw(6, 2))
    ours.play()
    assert (ours.server, ours.kept, ours.algorithm.broadcast) == ({}, {0: {}, 1: {}}, ())
