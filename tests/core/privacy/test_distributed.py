import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leptonic.errors import PrivacyError
from leptonic.privacy.distributed import DistributedMechanism, Noise
from leptonic.privacy.mechanisms import DistributedDiscreteGaussian, Skellam
from leptonic.randomness import SecureStream

SEED = bytes(range(32))


def mechanism(
    *, size: int = 300, deviation: float = 0.01, bits: int = 24, scale: float = 2000.0, noise: Noise = "skellam"
) -> DistributedMechanism:
    return DistributedMechanism(
        size=size, clip_norm=1.0, scale=scale, local_deviation=deviation, bits=bits, denominator=10.0, noise=noise
    )


def updates(clients: int, size: int, norm: float) -> np.ndarray:
    values = np.random.default_rng(5).normal(size=(clients, size))
    return values * (norm / np.linalg.norm(values, axis=1, keepdims=True))


@pytest.mark.parametrize("noise", ["skellam", "discrete_gaussian"])
@pytest.mark.parametrize("norm", [0.5, 3.0])
def test_a_sum_decodes_to_the_clipped_mean_and_the_stated_noise(noise: Noise, norm: float) -> None:
    plan, sent = mechanism(size=3000, noise=noise), updates(10, 3000, norm)
    words = [plan.encode(update, SEED, SecureStream(bytes([client]) * 32)) for client, update in enumerate(sent)]
    total = np.zeros(plan.dimension, dtype=np.uint32)
    for word in words:
        assert word.dtype == np.uint32
        assert word.max() < 2**24
        total += word
    error = plan.decode(total, SEED) - sent.sum(0) * min(1.0, 1 / norm) / 10
    # noise of 10 clients, and rounding with a variance of at most 1/4 of a step each
    most = 10 * (0.01**2 + 0.25 / 2000**2) / 10**2
    least = 10 * 0.01**2 / 10**2
    assert error.var() < most * (1 + 5 * math.sqrt(2 / 3000))
    assert error.var() > least * (1 - 5 * math.sqrt(2 / 3000))
    assert error.mean() == pytest.approx(0, abs=5 * math.sqrt(most / 3000))


@settings(max_examples=40)
@given(size=st.integers(1, 200), norm=st.floats(0, 1e30), seed=st.integers(0, 2**32))
def test_before_noise_the_norms_always_hold(size: int, norm: float, seed: int) -> None:
    plan = mechanism(size=size)
    update = np.random.default_rng(seed).normal(size=size) * norm
    integers = plan.integers(update, SEED, SecureStream())
    assert sum(int(value) ** 2 for value in integers) <= plan.bounds.l2_squared
    assert plan.bounds.l2 <= min(2000 + math.sqrt(plan.dimension), 2000 + plan.dimension)


def test_sums_wrap_to_the_centred_residue() -> None:
    plan = mechanism(size=4, bits=8, scale=1.0)
    rotated = np.array([127, 128, 255, 256 + 3], dtype=np.uint32)
    expected = np.array([127, -128, -1, 3]) / 10
    again = plan.decode(rotated, SEED)
    assert np.linalg.norm(again) == pytest.approx(np.linalg.norm(expected))
    assert plan.decode(rotated + np.uint32(1 << 20), SEED) == pytest.approx(again)
    assert plan.decode(rotated.astype(np.uint64) + np.uint64(256), SEED) == pytest.approx(again)
    one = DistributedMechanism(size=1, clip_norm=1, scale=1, local_deviation=1, bits=32, denominator=1)
    assert np.abs(one.decode(np.array([2**32 - 5], dtype=np.uint32), SEED)) == pytest.approx([5.0])
    assert np.abs(one.decode(np.array([2**31], dtype=np.uint32), SEED)) == pytest.approx([2.0**31])


def test_clients_with_equal_updates_differ_by_noise() -> None:
    plan, update = mechanism(deviation=1.0), np.ones(300)
    first, second = (plan.encode(update, SEED, SecureStream()) for _ in range(2))
    difference = (first.astype(np.int64) - second.astype(np.int64) + 2**23) % 2**24 - 2**23
    assert difference.std() == pytest.approx(math.sqrt(2) * 2000, rel=0.2)
    key = bytes(32)
    again = [plan.encode(update, SEED, SecureStream(key)) for _ in range(2)]
    assert np.array_equal(*again)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_an_update_that_is_not_finite_counts_as_zero(bad: float) -> None:
    plan, update = mechanism(), np.ones(300)
    update[7] = bad
    assert not plan.integers(update, SEED, SecureStream()).any()


def test_the_release_states_what_the_sum_carries() -> None:
    plan = mechanism()
    assert plan.release(34) == Skellam(plan.bounds.l2_squared, plan.bounds.l1, variance=34 * (2000 * 0.01) ** 2)
    discrete = mechanism(noise="discrete_gaussian").release(34)
    assert isinstance(discrete, DistributedDiscreteGaussian)
    assert (discrete.local_variance, discrete.parties, discrete.dimension) == (400.0, 34, 512)


def test_what_is_wrong_is_refused() -> None:
    for changes in ({"deviation": 0.0}, {"bits": 1}, {"bits": 33}, {"scale": math.inf}):
        with pytest.raises(PrivacyError):
            mechanism(**changes)  # type: ignore[arg-type]
    plan = mechanism()
    with pytest.raises(PrivacyError, match="no unknown share"):
        plan.release(0)
    with pytest.raises(PrivacyError, match="299 entries, expected 300"):
        plan.encode(np.ones(299), SEED, SecureStream())
    with pytest.raises(PrivacyError, match="expected 512"):
        plan.decode(np.zeros(300, dtype=np.uint32), SEED)
