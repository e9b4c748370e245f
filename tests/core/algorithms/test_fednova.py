"""FedNova against Wang et al. 2020 (arXiv 2007.07481), equations (6)-(8), and the facts of its section 3."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.algorithms.quadratics import Client, Federation, Real, draw, optimum_of

from leptonic.algorithms import Algorithm, algorithm_for
from leptonic.algorithms.base import accumulated
from leptonic.experiment_file import from_mapping

UNEQUAL = (1, 4, 30)


def named(name: str) -> Algorithm:
    return algorithm_for(from_mapping({"name": "x", "algorithm": {"name": name}}))


@given(steps=st.integers(1, 200), momentum=st.floats(0.0, 0.99))
def test_accumulated_is_how_far_unit_gradients_move_the_model(steps: int, momentum: float) -> None:
    velocity = moved = 0.0
    for _ in range(steps):
        velocity = momentum * velocity + 1.0
        moved += velocity
    assert accumulated(steps, momentum) == pytest.approx(moved, rel=1e-9)


def norm_of_a(steps: int, momentum: float) -> float:
    """||a_i||_1 with a_i = [1 - rho^tau, ..., 1 - rho] / (1 - rho), as the paper writes it."""
    return float(sum((1 - momentum ** (steps - k)) / (1 - momentum) for k in range(steps)))


def momentum_descent(client: Client, start: Real, rate: float, momentum: float) -> Real:
    w, velocity = start.copy(), np.zeros_like(start)
    for _ in range(client.steps):
        velocity = momentum * velocity + client.gradient(w)
        w -= rate * velocity
    return w


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("reference_steps", [1, 7, 100])
def test_follows_the_paper_round_by_round(momentum: float, reference_steps: int) -> None:
    clients = draw(7, 5, steps=UNEQUAL, weights=True)
    rate = 0.02
    ours = Federation(named("fednova"), clients, rate=rate, momentum=momentum, reference_steps=reference_steps)
    paper = ours.model.copy()
    shares = np.array([c.weight for c in clients]) / sum(c.weight for c in clients)
    norms = np.array([norm_of_a(c.steps, momentum) for c in clients])
    effective = float(shares @ norms)  # tau_eff = sum p_i ||a_i||_1
    for _ in range(15):
        ends = [momentum_descent(c, paper, rate, momentum) for c in clients]
        # x+ = x - tau_eff sum p_i eta d_i, with d_i = (x - x_i) / (eta ||a_i||_1)
        directions = [(paper - end) / (rate * norm) for end, norm in zip(ends, norms, strict=True)]
        paper = paper - effective * rate * np.sum([s * d for s, d in zip(shares, directions, strict=True)], axis=0)
        assert ours.play() == pytest.approx(paper, abs=5e-6)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_equal_work_makes_it_fedavg(momentum: float) -> None:
    clients = draw(8, 4, steps=(6,), weights=True)
    nova, avg = (Federation(named(n), clients, rate=0.05, momentum=momentum) for n in ("fednova", "fedavg"))
    for _ in range(10):
        assert nova.play() == pytest.approx(avg.play(), abs=2e-6)


def test_the_reference_does_not_change_the_result() -> None:
    clients = draw(9, 4, steps=UNEQUAL, weights=True)
    runs = [Federation(named("fednova"), clients, rate=0.05, reference_steps=reference) for reference in (1, 13, 500)]
    for _ in range(5):
        models = [run.play() for run in runs]
    assert models[0] == pytest.approx(models[1], abs=1e-6)
    assert models[0] == pytest.approx(models[2], abs=1e-6)


def test_reaches_the_optimum_where_fedavg_reaches_that_of_another_objective() -> None:
    """Section 3: with unequal steps FedAvg minimises sum p_i tau_i F_i instead of sum p_i F_i."""
    clients = draw(10, 3, steps=UNEQUAL, weights=True)
    weights = [c.weight for c in clients]
    nova, avg = (Federation(named(name), clients, rate=1e-3) for name in ("fednova", "fedavg"))
    true, surrogate = optimum_of(clients, weights), optimum_of(clients, [c.weight * c.steps for c in clients])
    assert float(np.abs(true - surrogate).max()) > 0.2
    # Each begins where the other should end; what is left is the rate's own bias, of order rate x steps.
    nova.model, avg.model = surrogate.copy(), true.copy()
    for _ in range(600):
        nova.play()
        avg.play()
    assert nova.model == pytest.approx(true, abs=0.02)
    assert avg.model == pytest.approx(surrogate, abs=0.02)


def test_fixed_points_at_a_finite_rate_are_exact() -> None:
    """Of sum p_i (1 - (1 - r h_i)^tau_i) / tau_i (x - m_i) = 0, in closed form (the paper's Lemma 1, n clients)."""
    clients = draw(11, 4, steps=UNEQUAL, weights=True)
    run = Federation(named("fednova"), clients, rate=0.1)
    for _ in range(300):
        run.play()
    pulls = [c.weight * (1 - (1 - 0.1 * c.curvature) ** c.steps) / c.steps for c in clients]
    expected = sum(p * c.optimum for p, c in zip(pulls, clients, strict=True)) / sum(pulls)
    assert run.model == pytest.approx(expected, abs=1e-5)
