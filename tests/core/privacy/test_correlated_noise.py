import math

import numpy as np
import pytest
from scipy.linalg import toeplitz

from leptonic.errors import PrivacyError
from leptonic.privacy.correlated_noise import BandedNoise
from leptonic.privacy.mechanisms import SampledGaussian
from leptonic.privacy.renyi import ORDERS
from leptonic.randomness import SecureStream

ROUNDS = 9


def noise(*, band: int = 4, participations: int = 2, z: float = 1.0) -> BandedNoise:
    return BandedNoise(band=band, participations=participations, sensitivity=0.5, noise_multiplier=z)


def factor(rule: BandedNoise, rounds: int = ROUNDS) -> np.ndarray:
    """C as a matrix, banded and lower-triangular."""
    column = np.zeros(rounds)
    column[: rule.band] = rule.coefficients[:rounds]
    return toeplitz(column, np.zeros(rounds))


def run(rule: BandedNoise, sums: np.ndarray, key: bytes) -> np.ndarray:
    """The releases of a run, (rounds, d)."""
    state, source, released = rule.init(sums.shape[1]), SecureStream(key), []
    for total in sums:
        release, state = rule.apply(total, state, source)
        released.append(release)
    assert len(state.sums) == len(state.released) == min(rule.band - 1, len(sums))
    return np.array(released)


def test_the_coefficients_are_the_square_root_of_prefix_sums() -> None:
    full = noise(band=ROUNDS)
    assert full.coefficients[:4] == pytest.approx([1, 1 / 2, 3 / 8, 5 / 16])
    c = factor(full)
    assert c @ c == pytest.approx(np.tril(np.ones((ROUNDS, ROUNDS))))


@pytest.mark.parametrize("band", [1, 2, 4, 20])
def test_a_run_is_the_matrix_mechanism(band: int) -> None:
    """Releases = C^-1 (C g + z) for one z of the stated deviation in all rounds."""
    rule = noise(band=band)
    sums = np.random.default_rng(1).normal(size=(ROUNDS, 4000))
    released = run(rule, sums, b"m" * 32)
    c = factor(rule)
    z = c @ (released - sums)
    assert z.std(axis=1) == pytest.approx(np.full(ROUNDS, rule.deviation), rel=5 / math.sqrt(8000))
    between = np.corrcoef(z) - np.eye(ROUNDS)
    assert np.abs(between).max() < 5 / math.sqrt(4000)
    xi = released - sums
    expected = xi[-1] + sum(c[-1, -1 - j] * xi[-1 - j] for j in range(1, min(band, ROUNDS)))
    assert expected == pytest.approx(z[-1])


def test_the_recursion_of_the_noise() -> None:
    """xi_t = (z_t - sum_j c_j xi_(t-j)) / c_0, whatever the sums are."""
    rule = noise(band=3)
    quiet = run(rule, np.zeros((ROUNDS, 50)), b"x" * 32)
    c, z = rule.coefficients, factor(rule) @ quiet
    xi: list[np.ndarray] = []
    for t in range(ROUNDS):
        xi.append((z[t] - sum(c[j] * xi[t - j] for j in range(1, min(3, t + 1)))) / c[0])
    assert np.array(xi) == pytest.approx(quiet)
    sums = np.random.default_rng(2).normal(size=(ROUNDS, 50))
    assert run(rule, sums, b"x" * 32) - sums == pytest.approx(quiet, abs=1e-7)


@pytest.mark.parametrize(("band", "participations"), [(1, 3), (3, 2), (4, 3)])
def test_the_sensitivity_is_that_of_the_worst_participation(band: int, participations: int) -> None:
    rule = noise(band=band, participations=participations, z=1.0)
    rounds = band * participations + 2
    c = factor(rule, rounds)
    joined = np.zeros(rounds)
    joined[: band * participations : band] = 1
    # One direction, every time with the full norm: C g moves by |C joined| S.
    assert np.linalg.norm(c @ joined) * 0.5 == pytest.approx(rule.deviation, rel=1e-12)
    too_near = np.zeros(rounds)
    too_near[: band * participations - 1 : max(1, band - 1)] = 1
    if band > 1:
        assert np.linalg.norm(c @ too_near[:rounds]) * 0.5 > rule.deviation
    whole = SampledGaussian(1.0).renyi(ORDERS)
    np.testing.assert_allclose(participations * rule.release().renyi(ORDERS), whole, rtol=1e-12)


def test_prefix_sums_have_less_noise_than_with_independent_noise() -> None:
    """What it is for: the same z, the same sensitivity for one participation, and a better model."""
    banded, plain = noise(band=64, participations=1), noise(band=1, participations=1)
    errors = []
    for rule in (banded, plain):
        inverse = np.linalg.inv(factor(rule, 64))
        errors.append(rule.deviation * np.linalg.norm(np.tril(np.ones((64, 64))) @ inverse))
    assert errors[0] < 0.6 * errors[1]


def test_impossible_parameters_are_refused() -> None:
    for changes in ({"band": 0}, {"participations": 0}, {"z": 0.0}, {"z": math.nan}):
        with pytest.raises(PrivacyError):
            noise(**changes)  # type: ignore[arg-type]
