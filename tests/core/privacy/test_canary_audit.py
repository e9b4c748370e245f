import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from leptonic.errors import PrivacyError
from leptonic.privacy.canary_audit import Gaussian, cosines, delta_between, epsilon_between, epsilon_from_cosines


def simulated(dimension: int, canaries: int, seed: int) -> np.ndarray:
    """Cosines of canaries with their sum at z = 1, by their law: 1/|release| apart, 1/sqrt(d) wide."""
    length = math.sqrt(dimension + canaries)
    return np.random.default_rng(seed).normal(1 / length, dimension**-0.5, size=canaries)


def test_the_gaussian_mechanism_has_its_exact_epsilon() -> None:
    assert epsilon_between(Gaussian(1.0, 1.0), Gaussian(0.0, 1.0), 1e-5) == pytest.approx(4.377, abs=5e-4)
    assert epsilon_between(Gaussian(-2.0, 3.0), Gaussian(1.0, 3.0), 1e-5) == pytest.approx(4.377, abs=5e-4)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Gaussian(1.0, 1.0), Gaussian(0.0, 1.0)),
        (Gaussian(1.0, 1.2), Gaussian(0.0, 1.0)),
        (Gaussian(1.0, 0.8), Gaussian(0.0, 1.0)),
        (Gaussian(0.0, 2.0), Gaussian(0.5, 1.5)),
        (Gaussian(-1.0, 1.0 + 1e-9), Gaussian(0.0, 1.0)),
        (Gaussian(0.3, 1.0), Gaussian(0.3, 1.0)),
        (Gaussian(0.3, 0.9), Gaussian(0.3, 1.0)),
    ],
)
@pytest.mark.parametrize("epsilon", [0.0, 0.1, 1.0])
def test_delta_is_the_integral_of_the_excess(first: Gaussian, second: Gaussian, epsilon: float) -> None:
    def excess(x: float) -> float:
        p, q = norm.pdf(x, first.mean, first.deviation), norm.pdf(x, second.mean, second.deviation)
        return max(0.0, float(p - math.exp(epsilon) * q))

    expected = sum(quad(excess, low, low + 1, limit=200)[0] for low in range(-14, 14))
    assert delta_between(first, second, epsilon) == pytest.approx(expected, abs=1e-7)


def test_known_value() -> None:
    """d = 10^5, 300 canaries, z = 1: exact 4.38. The estimate's centre and spread are as documented."""
    found = [
        [
            epsilon_from_cosines(simulated(10**5, 300, seed), dimension=10**5, delta=1e-5, fit_deviation=fit)
            for fit in (True, False)
        ]
        for seed in range(100)
    ]
    fitted, nominal = np.array(found).T
    assert fitted.mean() == pytest.approx(4.38, abs=0.25)
    assert nominal.mean() == pytest.approx(4.38, abs=0.12)
    assert 0.2 < nominal.std() < 0.4 < fitted.std() < 1.1


def test_a_noised_sum_of_canaries() -> None:
    source, dimension, canaries = np.random.default_rng(3), 20_000, 300
    directions = source.standard_normal((canaries, dimension), dtype=np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    noise = source.standard_normal(dimension)
    released = directions.sum(0) + noise
    found = epsilon_from_cosines(cosines(released, directions), dimension=dimension, delta=1e-5, fit_deviation=False)
    assert found == pytest.approx(4.38, abs=1.0)
    # Left out of the sum, they show nothing.
    absent = epsilon_from_cosines(cosines(noise, directions), dimension=dimension, delta=1e-5, fit_deviation=False)
    assert absent < 1.0


def test_cosines() -> None:
    canaries = np.array([[2.0, 0.0], [3.0, 3.0], [0.0, -1.0]])
    assert cosines(np.array([5.0, 0.0]), canaries) == pytest.approx([1.0, math.sqrt(0.5), 0.0])


def test_extremes() -> None:
    same = Gaussian(0.0, 1.0)
    assert epsilon_between(same, same, 1e-5) == 0.0
    assert epsilon_between(Gaussian(100.0, 1.0), same, 1e-5) == math.inf
    with pytest.raises(PrivacyError, match="at least 2"):
        epsilon_from_cosines(np.array([0.1]), dimension=10, delta=1e-5)
    with pytest.raises(PrivacyError, match="delta"):
        epsilon_between(same, same, 0.0)
