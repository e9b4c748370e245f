import math

import numpy as np
import pytest
from scipy.stats import binom

from leptonic.errors import PrivacyError
from leptonic.privacy.one_run_audit import epsilon_lower_bound, p_value


@pytest.mark.parametrize(
    ("canaries", "guesses", "correct", "epsilon"),
    [(1000, 100, 100, 3.47), (1000, 100, 90, 1.63), (5000, 500, 500, 4.98)],
)
def test_known_values(canaries: int, guesses: int, correct: int, epsilon: float) -> None:
    found = epsilon_lower_bound(correct=correct, guesses=guesses, canaries=canaries, delta=1e-5, level=0.05)
    assert found == pytest.approx(epsilon, abs=0.006)


def test_without_delta_it_is_a_binomial_test() -> None:
    assert p_value(1.0, correct=40, guesses=50, canaries=100, delta=0.0) == pytest.approx(
        binom.sf(39, 50, math.e / (1 + math.e))
    )
    # All right: (e^eps / (1 + e^eps))^r = level
    level, guesses = 0.01, 30
    root = level ** (1 / guesses)
    found = epsilon_lower_bound(correct=guesses, guesses=guesses, canaries=guesses, delta=0.0, level=level)
    assert found == pytest.approx(math.log(root / (1 - root)), abs=1e-5)


def test_delta_as_defined() -> None:
    v, r, m, delta, epsilon = 35, 50, 400, 1e-4, 0.7
    law = binom(r, math.exp(epsilon) / (1 + math.exp(epsilon)))
    gain = max((law.cdf(v - 1) - law.cdf(v - i - 1)) / i for i in range(1, v + 1))
    expected = law.sf(v - 1) + 2 * m * delta * gain
    assert p_value(epsilon, correct=v, guesses=r, canaries=m, delta=delta) == pytest.approx(expected)


def test_a_true_claim_is_rarely_refuted() -> None:
    """Randomised response, for which the bound is tight."""
    epsilon, level = 1.5, 0.05
    right = np.random.default_rng(0).binomial(200, math.exp(epsilon) / (1 + math.exp(epsilon)), size=2000)
    bounds = {
        int(v): epsilon_lower_bound(correct=int(v), guesses=200, canaries=200, delta=0.0, level=level)
        for v in np.unique(right)
    }
    refuted = np.mean([bounds[int(v)] > epsilon for v in right])
    assert refuted <= level + 4 * math.sqrt(level / 2000)
    assert np.median([bounds[int(v)] for v in right]) > 1.0


def test_more_success_refutes_more() -> None:
    found = [
        epsilon_lower_bound(correct=v, guesses=100, canaries=1000, delta=1e-5, level=1e-3) for v in range(0, 101, 10)
    ]
    assert found == sorted(found)
    assert found[:6] == [0.0] * 6
    assert found[-1] > 1.8
    assert epsilon_lower_bound(correct=100, guesses=100, canaries=1000, delta=0.4, level=1e-3) == 0.0


def test_many_guesses_do_not_overflow() -> None:
    assert epsilon_lower_bound(
        correct=60_000, guesses=100_000, canaries=100_000, delta=0.0, level=0.05
    ) == pytest.approx(math.log(0.6 / 0.4), abs=0.02)


def test_impossible_numbers_are_refused() -> None:
    for correct, guesses, canaries in ((11, 10, 20), (5, 30, 20), (-1, 10, 20)):
        with pytest.raises(PrivacyError, match="cannot be"):
            p_value(1.0, correct=correct, guesses=guesses, canaries=canaries, delta=0.0)
    with pytest.raises(PrivacyError, match="level"):
        epsilon_lower_bound(correct=1, guesses=1, canaries=1, delta=0.0, level=0.0)
