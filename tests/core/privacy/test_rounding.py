import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leptonic.errors import PrivacyError
from leptonic.privacy.rounding import NormBounds, conditional_round, norm_bounds
from leptonic.randomness import SecureStream


def on_sphere(size: int, norm: float, seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=size)
    return values * (norm / np.linalg.norm(values))


@settings(max_examples=60)
@given(size=st.integers(1, 600), norm=st.floats(0.01, 1e8), seed=st.integers(0, 2**32))
def test_norm_bounds_always_hold(size: int, norm: float, seed: int) -> None:
    bounds = norm_bounds(norm, size)
    rounded = conditional_round(on_sphere(size, norm * (1 - 1e-12), seed), bounds, SecureStream())
    exact = [int(value) for value in rounded]
    assert sum(value * value for value in exact) <= bounds.l2_squared
    assert sum(abs(value) for value in exact) <= bounds.l1
    assert bounds.l1 <= bounds.l2 * math.sqrt(size) * (1 + 1e-12)
    bounds.check(rounded)


def test_rounding_is_unbiased_and_to_neighbours() -> None:
    values = np.array([0.0, 0.25, -0.25, 3.0, 7.9, -7.9, 0.5, -1.5])
    source, wide = SecureStream(b"r" * 32), NormBounds(10**9, 10**9)
    draws = np.array([conditional_round(values, wide, source) for _ in range(20_000)])
    assert (np.abs(draws - values) < 1).all()
    assert (draws[:, [0, 3]] == values[[0, 3]]).all()
    assert draws.mean(0) == pytest.approx(values, abs=5 * 0.5 / math.sqrt(len(draws)))


def test_the_condition_hardly_biases() -> None:
    """At the published bound an attempt fails with probability 0.61 at most, and mostly far less often."""
    size, norm = 4096, 40.0
    values, source = on_sphere(size, norm, 1), SecureStream(b"c" * 32)
    bounds = norm_bounds(norm, size)
    draws = np.array([conditional_round(values, bounds, source) for _ in range(400)])
    assert (draws.mean(0) - values) @ values / norm**2 == pytest.approx(0, abs=0.02)


def test_bounds_by_hand() -> None:
    # 10^2 + 400/4 + 10 + 20/2 = 220 < (10 + 20)^2
    assert norm_bounds(10.0, 400) == NormBounds(l2_squared=220, l1=220)
    # one entry: (10 + 1)^2 > 100 + 1/4 + 10 + 1/2
    assert norm_bounds(10.0, 1) == NormBounds(l2_squared=110, l1=10)
    assert norm_bounds(0.1, 1).l2_squared == 0
    assert norm_bounds(100.0, 4) == NormBounds(l2_squared=10_102, l1=math.isqrt(4 * 10_102))


def test_the_check_is_exact() -> None:
    bounds = NormBounds(l2_squared=25, l1=7)
    assert bounds.kept_by(np.array([3, -4]))
    assert not bounds.kept_by(np.array([3, -4, 1]))
    assert not bounds.kept_by(np.array([2, 2, 2, 2]))
    with pytest.raises(PrivacyError, match="exceed the norm"):
        bounds.check(np.array([5, 1]))
    # Beyond float64's 53 bits, and beyond int64 when added up.
    large = np.full(4, 2**31 - 1, dtype=np.int64)
    exact = 4 * (2**31 - 1) ** 2
    assert NormBounds(exact, 2**40).kept_by(large)
    assert not NormBounds(exact - 1, 2**40).kept_by(large)
    assert not NormBounds(2**80, 2**80).kept_by(np.array([2**31 + 1]))
    assert not NormBounds(2**80, 2**80).kept_by(np.array([-(2**63)]))


def test_vectors_that_cannot_be_within_bounds_are_refused() -> None:
    with pytest.raises(PrivacyError, match="cannot be rounded within bounds"):
        conditional_round(np.full(100, 10.0), norm_bounds(20.0, 100), SecureStream())
    for bad in (math.nan, math.inf, 1e12):
        with pytest.raises(PrivacyError, match="not finite, or longer"):
            conditional_round(np.array([bad]), norm_bounds(20.0, 1), SecureStream())
    for clip in (0.0, math.nan, math.inf):
        with pytest.raises(PrivacyError, match="no norm bounds"):
            norm_bounds(clip, 8)
