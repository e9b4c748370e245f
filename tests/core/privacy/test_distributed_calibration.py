import math

import numpy as np
import pytest

from leptonic.errors import PrivacyError
from leptonic.privacy.composition import Composition
from leptonic.privacy.distributed import DistributedMechanism, Noise
from leptonic.privacy.distributed_calibration import Counts, calibrate, scale_for
from leptonic.privacy.mechanisms import SampledGaussian
from leptonic.privacy.rounding import norm_bounds
from leptonic.randomness import SecureStream


def spent(mechanism: DistributedMechanism, *, honest: int, rounds: int, delta: float) -> float:
    return Composition.of([(mechanism.release(honest), rounds)]).epsilon(delta, accountant="rdp")


def planned(
    *,
    survivors: int = 67,
    colluders: int = 0,
    rounds: int = 1,
    epsilon: float = 3.31,
    delta: float = 1e-4,
    bits: int = 20,
    noise: Noise = "skellam",
) -> DistributedMechanism:
    counts = Counts.of(invited=100, survivors=survivors, colluders=colluders, denominator=80)
    return calibrate(
        size=10**6,
        clip_norm=0.5,
        bits=bits,
        counts=counts,
        rounds=rounds,
        epsilon=epsilon,
        delta=delta,
        clients=1000,
        noise=noise,
    )


@pytest.mark.parametrize(
    ("log_dimension", "bits", "inflation"),
    [(20, 14, 1.031), (20, 16, 1.002), (20, 20, 1.000), (27, 14, 3.0), (27, 16, 1.225), (27, 20, 1.001)],
)
def test_inflation_of_the_norm_by_rounding(log_dimension: int, bits: int, inflation: float) -> None:
    """At z = 1 and 100 clients, each of whom adds noise of c / 10."""
    dimension = 2**log_dimension
    scale = scale_for(dimension=dimension, clip_norm=1.0, local_deviation=0.1, bits=bits, invited=100)
    assert norm_bounds(scale, dimension).l2 / scale == pytest.approx(inflation, abs=6e-4)


def test_colluders_raise_epsilon() -> None:
    """Calibrated for 67 survivors, of which none, and then 33, collude."""
    mechanism = planned()
    assert spent(mechanism, honest=67, rounds=1, delta=1e-4) == pytest.approx(3.31, abs=0.005)
    assert spent(mechanism, honest=67 - 33, rounds=1, delta=1e-4) == pytest.approx(4.96, abs=0.005)


@pytest.mark.parametrize("noise", ["skellam", "discrete_gaussian"])
@pytest.mark.parametrize(("rounds", "epsilon", "bits"), [(1, 0.5, 16), (100, 3.0, 20), (1000, 8.0, 32)])
def test_the_target_is_met_from_below(noise: Noise, rounds: int, epsilon: float, bits: int) -> None:
    mechanism = planned(colluders=20, rounds=rounds, epsilon=epsilon, bits=bits, noise=noise)
    assert 0.998 * epsilon < spent(mechanism, honest=47, rounds=rounds, delta=1e-4) <= epsilon


def test_many_bits_come_to_the_gaussian_mechanism() -> None:
    mechanism = planned(rounds=50, bits=30)
    noise_multiplier = math.sqrt(67) * mechanism.local_deviation / mechanism.clip_norm
    gaussian = Composition.of([(SampledGaussian(noise_multiplier), 50)]).epsilon(1e-4, accountant="rdp")
    assert gaussian == pytest.approx(3.31, rel=1e-3)
    coarse = planned(rounds=50, bits=17)
    assert coarse.local_deviation > 1.01 * mechanism.local_deviation


def test_a_sum_fits_its_words_at_four_deviations() -> None:
    """6e-5 of the coordinates may wrap; per coordinate of a sum of full norm in the worst direction."""
    scale = scale_for(dimension=2**16, clip_norm=0.5, local_deviation=0.05, bits=12, invited=100)
    mechanism = DistributedMechanism(
        size=2**16, clip_norm=0.5, scale=scale, local_deviation=0.05, bits=12, denominator=100
    )
    direction = np.random.default_rng(0).normal(size=2**16)
    seed, source = bytes(32), SecureStream(b"w" * 32)
    integers = 100 * mechanism.integers(direction, seed, source)
    noised = integers + sum(mechanism.share(source) for _ in range(100))
    wrapped = np.count_nonzero(np.abs(noised) >= 2**11)
    assert wrapped < 2**16 * 6.4e-5 + 5 * math.sqrt(2**16 * 6.4e-5)
    assert noised.std() == pytest.approx(2**11 / 4, rel=0.02)


def test_counts() -> None:
    assert Counts.of(invited=100, survivors=67, colluders=33, denominator=80) == Counts(100, 34, 80)
    assert Counts.of(invited=100, survivors=3, colluders=33, denominator=80).honest == 1
    with pytest.raises(PrivacyError, match="at least 1"):
        Counts(invited=10, honest=0, denominator=1)
    with pytest.raises(PrivacyError, match="11 honest clients of 10"):
        Counts(invited=10, honest=11, denominator=1)


def test_what_cannot_be_met_is_refused() -> None:
    with pytest.raises(PrivacyError, match="raise the bits"):
        planned(epsilon=0.001, rounds=1000, bits=8)
    with pytest.raises(PrivacyError, match="5 bits do not hold a sum over 100 clients"):
        planned(bits=5)
    with pytest.raises(PrivacyError, match=r"below 0\.001"):
        planned(delta=1e-3)
    with pytest.raises(PrivacyError, match="0 rounds"):
        planned(rounds=0)
