import importlib.util
import math
import sys

import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from leptonic.errors import PrivacyError, UnaccountedMechanism
from leptonic.privacy.composition import Accountant, Composition, check_delta
from leptonic.privacy.mechanisms import DistributedDiscreteGaussian, SampledGaussian, Skellam

has_pld = importlib.util.find_spec("dp_accounting") is not None
pld = pytest.param("pld", marks=pytest.mark.skipif(not has_pld, reason="dp-accounting is not installed"))
KNOWN = Composition.of([(SampledGaussian(1.0, 0.1), 100)])


def gaussian_epsilon(mu: float, delta: float) -> float:
    """Exact epsilon of the Gaussian mechanism with sensitivity mu standard deviations (Balle & Wang 2018)."""

    def excess(epsilon: float) -> float:
        return float(norm.cdf(mu / 2 - epsilon / mu) - math.exp(epsilon + norm.logcdf(-mu / 2 - epsilon / mu)) - delta)

    return float(brentq(excess, 0, 100))


@pytest.mark.parametrize(("accountant", "epsilon"), [("rdp", 5.67), ("prv", 4.80)])
def test_known_values(accountant: Accountant, epsilon: float) -> None:
    """With fractional orders too, Renyi gives 5.64 (tests of the example-level accounting)."""
    assert KNOWN.epsilon(1e-3, accountant=accountant) == pytest.approx(epsilon, abs=0.01)


@pytest.mark.skipif(not has_pld, reason="dp-accounting is not installed")
def test_known_value_of_pld() -> None:
    assert KNOWN.epsilon(1e-3, accountant="pld") == pytest.approx(4.78, abs=0.01)


def test_pld_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    with pytest.raises(PrivacyError, match=r"pip install 'leptonic\[pld\]'"):
        KNOWN.epsilon(2e-3, accountant="pld")


@pytest.mark.parametrize("accountant", ["rdp", "prv", pld])
def test_different_gaussians_compose_to_one(accountant: Accountant) -> None:
    composition = Composition.of([(SampledGaussian(4.0), 3), (SampledGaussian(6.0), 10)])
    mu = math.sqrt(3 / 16 + 10 / 36)
    exact = gaussian_epsilon(mu, 1e-5)
    found = composition.epsilon(1e-5, accountant=accountant)
    assert exact <= found <= exact * (1.15 if accountant == "rdp" else 1.01)


def test_equal_steps_stand_together() -> None:
    steps = [(SampledGaussian(5.0), 1), (SampledGaussian(6.0), 2)] * 150
    composition = Composition.of([*steps, (SampledGaussian(9.0), 0)])
    assert composition.entries == ((SampledGaussian(5.0), 150), (SampledGaussian(6.0), 300))


@pytest.mark.parametrize("accountant", ["rdp", "prv", "pld"])
def test_nothing_costs_nothing(accountant: Accountant) -> None:
    if accountant != "pld" or has_pld:
        assert Composition.of([]).epsilon(1e-5, accountant=accountant) == 0.0


def test_mixtures_have_one_curve() -> None:
    parts = [
        (SampledGaussian(5.0, 0.2), 7),
        (Skellam(1e4, 1e5, 1e6), 3),
        (DistributedDiscreteGaussian(1e4, 1e5, 1e4, 50, 1024), 2),
    ]
    whole = Composition.of(parts).renyi()
    summed = Composition.of(parts[:1]).renyi() + Composition.of(parts[1:]).renyi()
    assert whole.values == pytest.approx(summed.values)
    assert Composition.of(parts).epsilon(1e-5, accountant="rdp") == whole.epsilon(1e-5)


def test_skellam_costs_what_the_gaussian_does_where_its_variance_is_large() -> None:
    skellam = Composition.of([(Skellam(1e8, 1e7, 4e8), 10)]).epsilon(1e-5, accountant="rdp")
    gaussian = Composition.of([(SampledGaussian(2.0), 10)]).epsilon(1e-5, accountant="rdp")
    assert gaussian < skellam < gaussian * 1.0001


@pytest.mark.parametrize("mechanism", [Skellam(1, 1, 5), DistributedDiscreteGaussian(1, 1, 5, 3, 4)])
@pytest.mark.parametrize("accountant", ["prv", "pld"])
def test_what_only_renyi_knows_is_refused_elsewhere(
    mechanism: Skellam | DistributedDiscreteGaussian, accountant: Accountant
) -> None:
    composition = Composition.of([(SampledGaussian(1.0), 1), (mechanism, 1)])
    with pytest.raises(UnaccountedMechanism, match="use rdp"):
        composition.epsilon(1e-5, accountant=accountant)


def test_everything_else_is_refused() -> None:
    with pytest.raises(UnaccountedMechanism, match="bound for str"):
        Composition.of([("laplace", 1)])  # type: ignore[list-item]
    with pytest.raises(UnaccountedMechanism, match="'gdp'"):
        KNOWN.epsilon(1e-3, accountant="gdp")  # type: ignore[arg-type]
    with pytest.raises(PrivacyError, match="-1 releases"):
        Composition.of([(SampledGaussian(1.0), -1)])
    with pytest.raises(PrivacyError, match="delta"):
        KNOWN.epsilon(0.0, accountant="prv")


def test_delta_is_below_one_of_the_units() -> None:
    check_delta(1e-4, units=1000)
    for delta in (1e-3, 0.5, 0.0, math.nan):
        with pytest.raises(PrivacyError, match=r"below 0\.001"):
            check_delta(delta, units=1000)
