import math

import numpy as np
import pytest
from opacus.accountants.analysis.rdp import compute_rdp
from scipy.special import ive

from leptonic.errors import PrivacyError, UnaccountedMechanism
from leptonic.privacy.mechanisms import DistributedDiscreteGaussian, Mechanism, SampledGaussian, Skellam
from leptonic.privacy.renyi import ORDERS


def divergence(first: np.ndarray, second: np.ndarray, order: int) -> float:
    """Renyi divergence of two laws on the same integers."""
    keep = (first > 0) & (second > 0)
    logs = order * np.log(first[keep]) - (order - 1) * np.log(second[keep])
    largest = logs.max()
    return float((largest + math.log(np.exp(logs - largest).sum())) / (order - 1))


@pytest.mark.parametrize("variance", [2.0, 30.0, 1000.0])
@pytest.mark.parametrize("shift", [1, 4, 10])
@pytest.mark.parametrize("order", [2, 3, 8])
def test_skellam_bound_holds_for_the_law_itself(variance: float, shift: int, order: int) -> None:
    reach = int(12 * math.sqrt(variance * order) + 40)
    pmf = ive(np.abs(np.arange(-reach, reach + 1)), variance)
    exact = divergence(pmf[:-shift], pmf[shift:], order)
    (bound,) = Skellam(shift**2, shift, variance).renyi(np.array([order])).tolist()
    assert exact <= bound
    if variance > 500:
        assert bound < exact * 1.02


@pytest.mark.parametrize("order", [2, 5, 20])
@pytest.mark.parametrize("local_variance", [0.25, 0.4, 1.0])
def test_discrete_gaussian_bound_holds_for_the_law_itself(local_variance: float, order: int) -> None:
    support = np.arange(-40, 41)
    local = np.exp(-(support**2) / (2 * local_variance))
    total = local / local.sum()
    for _ in range(4):
        total = np.convolve(total, local / local.sum())
    # Farther out float64 has no values left; at these orders nothing there counts.
    total = total[np.abs(np.arange(len(total)) - len(total) // 2) <= 45]
    exact = divergence(total[:-1], total[1:], order)
    release = DistributedDiscreteGaussian(1, 1, local_variance, parties=5, dimension=1)
    (bound,) = release.renyi(np.array([order])).tolist()
    assert exact <= bound
    assert bound < 1.02 * exact or local_variance < 1


def test_skellam_comes_to_the_gaussian_as_its_variance_grows() -> None:
    gaussian = SampledGaussian(2.0).renyi(ORDERS)
    for variance, excess in ((1e4, 0.3), (1e6, 3e-3), (1e8, 3e-5)):
        curve = Skellam(variance / 4, variance / 4, variance).renyi(ORDERS[:40])
        assert (curve >= gaussian[:40]).all()
        wide = Skellam(variance / 4, math.sqrt(variance) / 2 * 100, variance).renyi(ORDERS[:40])
        assert (wide / gaussian[:40] - 1).max() < excess


def test_wide_discrete_gaussians_add_up_to_one() -> None:
    release = DistributedDiscreteGaussian(100.0, 100.0, 25.0, parties=4, dimension=10**6)
    assert release.distance < 1e-100
    assert release.renyi(ORDERS) == pytest.approx(ORDERS / 2)
    narrow = DistributedDiscreteGaussian(100.0, 100.0, 0.25, parties=4, dimension=100)
    assert narrow.distance == pytest.approx(10 * sum(math.exp(-2 * math.pi**2 * 0.25 * k / (k + 1)) for k in (1, 2, 3)))
    # One party's noise is a discrete Gaussian: no distance at all.
    assert DistributedDiscreteGaussian(1, 1, 1.0, parties=1, dimension=10**6).distance == 0


def test_the_third_bound_is_never_the_least() -> None:
    for l1 in (10.0, 100.0, 1e9):
        release = DistributedDiscreteGaussian(100.0, l1, 0.3, parties=4, dimension=64)
        variance, tau = 1.2, release.distance
        third = ORDERS / 2 * (math.sqrt(100 / variance) + tau * 8) ** 2
        assert (release.renyi(ORDERS) <= third * (1 + 1e-12)).all()


def test_the_gaussian_and_its_sampled_form() -> None:
    assert SampledGaussian(3.0).renyi(ORDERS) == pytest.approx(ORDERS / 18)
    assert SampledGaussian(3.0, 0.999999).renyi(ORDERS[:20]) == pytest.approx(ORDERS[:20] / 18, rel=1e-3)
    assert (SampledGaussian(3.0, 0.1).renyi(ORDERS) < SampledGaussian(3.0).renyi(ORDERS)).all()
    few = [order for order in ORDERS.tolist() if order < 1000]
    for noise, rate in ((1.0, 0.1), (0.5, 0.01), (20.0, 0.9), (3.0, 1e-5)):
        expected = compute_rdp(q=rate, noise_multiplier=noise, steps=1, orders=few)
        assert SampledGaussian(noise, rate).renyi(np.array(few)) == pytest.approx(expected, rel=1e-9, abs=1e-14)


def test_replacing_a_unit_doubles_both_norms() -> None:
    assert Skellam(9, 5, 7).at_double_sensitivity() == Skellam(36, 10, 7)
    assert SampledGaussian(3.0).at_double_sensitivity() == SampledGaussian(1.5)
    wide = DistributedDiscreteGaussian(9, 5, 7, 2, 4)
    assert wide.at_double_sensitivity() == DistributedDiscreteGaussian(36, 10, 7, 2, 4)
    with pytest.raises(UnaccountedMechanism, match="Poisson"):
        SampledGaussian(3.0, 0.5).at_double_sensitivity()


@pytest.mark.parametrize(
    "make",
    [
        lambda: SampledGaussian(0.0),
        lambda: SampledGaussian(math.nan),
        lambda: SampledGaussian(1.0, 0.0),
        lambda: SampledGaussian(1.0, 1.1),
        lambda: Skellam(1, 1, 0.0),
        lambda: Skellam(0, 1, 1.0),
        lambda: DistributedDiscreteGaussian(1, 1, 0.2, 3, 4),
        lambda: DistributedDiscreteGaussian(1, 1, math.nan, 3, 4),
        lambda: DistributedDiscreteGaussian(1, 1, 1.0, 0, 4),
    ],
)
def test_no_mechanism_without_noise(make: "type[Mechanism]") -> None:
    with pytest.raises(PrivacyError):
        make()
