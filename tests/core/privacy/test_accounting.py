import math

import numpy as np
import pytest
from opacus.accountants import RDPAccountant
from opacus.accountants.analysis.rdp import compute_rdp
from scipy.optimize import brentq
from scipy.stats import norm

from leptonic.errors import ExperimentError, PrivacyError
from leptonic.experiment import ExamplePrivacy, Training
from leptonic.privacy import accounting
from leptonic.privacy.accounting import ExamplePlan, epsilon_spent, plan, statement


def planned(*, noise: float, batch: int, size: int, steps: int, delta: float) -> ExamplePlan:
    return ExamplePlan(
        noise_multiplier=noise,
        sample_rate=batch / size,
        steps_per_round=steps,
        releases=1,
        batch_size=batch,
        public_size=size,
        delta=delta,
        target_epsilon=8.0,
    )


def privacy(epsilon: float = 3.0, delta: float = 1e-4) -> ExamplePrivacy:
    return ExamplePrivacy(unit="example", epsilon=epsilon, delta=delta)


@pytest.fixture
def uncalibrated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calibration takes seconds, and some tests ask for everything else."""
    monkeypatch.setattr(accounting, "_calibrate", lambda *_: 1.0)


def gaussian_epsilon(mu: float, delta: float) -> float:
    """Exact epsilon of the Gaussian mechanism with sensitivity mu standard deviations (Balle & Wang 2018)."""

    def excess(epsilon: float) -> float:
        tail = math.exp(epsilon + norm.logcdf(-mu / 2 - epsilon / mu))
        return float(norm.cdf(mu / 2 - epsilon / mu) - tail - delta)

    return float(brentq(excess, 0, 100))


def one_step_epsilon(rate: float, noise: float, delta: float) -> float:
    """Exact epsilon of one Poisson-subsampled Gaussian release, the worse of removing and adding an example."""

    def excess(epsilon: float) -> float:
        def crossing(level: float) -> float:
            # x where (1 - q) + q exp((2x - 1) / (2 s^2)) = level
            return noise**2 * math.log((level - 1 + rate) / rate) + 0.5

        def mixture(x: float, tail: bool) -> float:
            law = norm.sf if tail else norm.cdf
            return float((1 - rate) * law(x / noise) + rate * law((x - 1) / noise))

        x = crossing(math.exp(epsilon))
        remove = mixture(x, tail=True) - math.exp(epsilon) * norm.sf(x / noise)
        add = 0.0
        if math.exp(-epsilon) > 1 - rate:
            x = crossing(math.exp(-epsilon))
            add = norm.cdf(x / noise) - math.exp(epsilon) * mixture(x, tail=False)
        return float(max(remove, add) - delta)

    return float(brentq(excess, 1e-9, 50))


def test_known_value() -> None:
    spent = epsilon_spent(planned(noise=1.0, batch=10, size=100, steps=100, delta=1e-3), 1)
    assert spent == pytest.approx(4.80, abs=0.01)
    renyi = RDPAccountant()
    renyi.history = [(1.0, 0.1, 100)]
    assert renyi.get_epsilon(1e-3) == pytest.approx(5.64, abs=0.005)


@pytest.mark.parametrize(
    ("noise", "epochs", "published"),
    # TensorFlow Privacy's MNIST tutorial (batch 256 of 60,000, delta 1e-5), by Renyi orders.
    [(1.3, 15, 1.19), (1.1, 60, 3.01), (0.7, 45, 7.10)],
)
def test_published_dp_sgd(noise: float, epochs: int, published: float) -> None:
    steps = -(-epochs * 60_000 // 256)
    orders = [1 + x / 10 for x in range(1, 100)] + list(range(11, 64))
    curve = compute_rdp(q=256 / 60_000, noise_multiplier=noise, steps=steps, orders=orders)
    assert min(curve + math.log(1e5) / (np.array(orders) - 1)) == pytest.approx(published, abs=0.01)
    spent = epsilon_spent(planned(noise=noise, batch=256, size=60_000, steps=steps, delta=1e-5), 1)
    assert 0.7 * published < spent < published


@pytest.mark.parametrize(("noise", "steps"), [(5.0, 100), (20.0, 100), (2.0, 1)])
def test_full_batches_are_the_gaussian_mechanism(noise: float, steps: int) -> None:
    spent = epsilon_spent(planned(noise=noise, batch=10, size=10, steps=steps, delta=1e-5), 1)
    exact = gaussian_epsilon(math.sqrt(steps) / noise, 1e-5)
    assert exact <= spent <= exact + 0.02


@pytest.mark.parametrize(("rate", "noise"), [(0.5, 2.0), (0.1, 0.6), (0.9, 1.0)])
def test_one_step_against_the_closed_form(rate: float, noise: float) -> None:
    spent = epsilon_spent(planned(noise=noise, batch=int(rate * 100), size=100, steps=1, delta=1e-3), 1)
    exact = one_step_epsilon(rate, noise, 1e-3)
    assert exact <= spent <= exact + 0.02


@pytest.mark.parametrize(("noise", "batch", "steps"), [(1.0, 10, 100), (0.7, 1, 2000), (8.0, 100, 50)])
def test_never_more_than_renyi(noise: float, batch: int, steps: int) -> None:
    renyi = RDPAccountant()
    renyi.history = [(noise, batch / 100, steps)]
    assert epsilon_spent(planned(noise=noise, batch=batch, size=100, steps=steps, delta=1e-3), 1) <= (
        renyi.get_epsilon(1e-3)
    )


def test_nothing_released_costs_nothing_and_releases_add_up() -> None:
    one = planned(noise=2.0, batch=10, size=100, steps=5, delta=1e-3)
    spent = [epsilon_spent(one, rounds) for rounds in range(4)]
    assert spent[0] == 0.0
    assert spent == sorted(spent)
    assert len(set(spent)) == 4
    with pytest.raises(PrivacyError, match="-1 rounds"):
        epsilon_spent(one, -1)


@pytest.mark.parametrize(("epsilon", "releases"), [(0.3, 3), (5.0, 3)])
def test_calibration_meets_the_target_from_below(epsilon: float, releases: int) -> None:
    result = plan(privacy(epsilon, 1e-3), Training(batch_size=50), public_size=500, releases=releases)
    assert 0.985 * epsilon <= epsilon_spent(result, releases) <= epsilon


@pytest.mark.parametrize(
    ("size", "batch", "epochs", "steps"),
    [(997, 64, 1, 16), (997, 64, 2, 31), (96, 64, 1, 2), (95, 64, 1, 1), (64, 64, 3, 3), (130, 100, 1, 1)],
)
def test_steps_derive_from_the_declared_size(
    size: int, batch: int, epochs: int, steps: int, uncalibrated: None
) -> None:
    # 997 / 64 = 15.6, 1994 / 64 = 31.2, 96 / 64 = 1.5 (half up), 95 / 64 = 1.48, 1.3
    training = Training(batch_size=batch, local_epochs=epochs)
    result = plan(privacy(), training, public_size=size, releases=1)
    assert result.steps_per_round == steps
    assert result.sample_rate == batch / size
    assert result.batch_size == batch


def test_local_steps_are_taken_as_they_are(uncalibrated: None) -> None:
    training = Training(batch_size=100, local_steps=7)
    assert plan(privacy(), training, public_size=997, releases=2).steps_per_round == 7


def test_a_batch_larger_than_the_data_is_refused() -> None:
    with pytest.raises(ExperimentError, match="batch_size = 64 is more than the 63 examples"):
        plan(privacy(), Training(batch_size=64), public_size=63, releases=1)


@pytest.mark.parametrize("delta", [1 / 500, 0.1])
def test_a_delta_that_publishes_an_example_is_refused(delta: float) -> None:
    with pytest.raises(PrivacyError, match=r"set it below 0\.002"):
        plan(privacy(delta=delta), Training(batch_size=50), public_size=500, releases=1)


@pytest.mark.parametrize(("size", "releases"), [(0, 1), (100, 0), (-1, 1)])
def test_impossible_declarations_are_refused(size: int, releases: int) -> None:
    with pytest.raises(PrivacyError, match="at least 1"):
        plan(privacy(), Training(batch_size=1), public_size=size, releases=releases)


def test_an_unreachable_target_is_refused() -> None:
    with pytest.raises(PrivacyError, match="raise epsilon"):
        plan(privacy(1e-9, 1e-9), Training(batch_size=500), public_size=500, releases=10**6)


def test_the_statement_says_what_the_number_rests_on() -> None:
    text = statement(planned(noise=2.0, batch=10, size=100, steps=5, delta=1e-3))
    for part in ("epsilon = ", "delta = 0.001", "per example", "add/remove", "server", "other clients", "collude"):
        assert part in text
    assert "declared size of 100 examples" in text
