"""The tests' tails: never below the exact probability, and small where noise is missing."""

import numpy as np
import pytest
from scipy import stats

from leptonic.privacy.integer_noise import discrete_gaussian, skellam
from leptonic.randomness import SecureStream
from leptonic_simulations.audit.findings import GUESSES, LEVEL, NOISE, SAMPLING
from leptonic_simulations.audit.noise_tests import noise_findings
from leptonic_simulations.audit.tails import excess, pairs, shortfall, shows

PARTS = {"weight": slice(0, 90), "bias": slice(90, 100)}


@pytest.mark.parametrize("count", [1, 7, 100, 10_000])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.9, 0.99, 1.0, 1.5])
def test_a_shortfall_is_at_least_as_probable_as_that_of_normal_noise(count: int, share: float) -> None:
    exact = stats.chi2(count).cdf(share * count)
    assert exact <= shortfall(np.full(count, np.sqrt(share))) <= 1


@pytest.mark.parametrize("trials", [1, 10, 1000])
@pytest.mark.parametrize("probability", [0.01, 0.3])
def test_an_excess_is_at_least_as_probable_as_the_binomials(trials: int, probability: float) -> None:
    for successes in {0, 1, trials // 10, trials // 3, trials // 2, trials}:
        exact = stats.binom(trials, probability).sf(successes - 1)
        assert exact <= excess(successes, trials=trials, probability=probability) * (1 + 1e-9) <= 1 + 1e-9


def test_what_is_not_a_number_shows_no_noise() -> None:
    assert shortfall(np.full(100, np.nan)) == 0.0


def test_the_fewest_entries_that_show_are_enough_and_one_less_is_not() -> None:
    count = shows(7, 1e-4)
    assert shortfall(np.zeros(count)) <= 1e-4 / 7 < shortfall(np.zeros(count - 1))


def test_the_shares_of_the_level_are_all_of_it() -> None:
    assert sum((NOISE, SAMPLING, GUESSES)) == pytest.approx(LEVEL)


def test_pairs_keep_the_mean_square_and_betray_what_is_shared() -> None:
    first, second = np.random.default_rng(1).normal(size=(2, 100_000))
    for combined in pairs(first, second):
        assert np.mean(combined**2) == pytest.approx(1, abs=0.02)
    difference, _ = pairs(first, first)
    _, total = pairs(first, -first)
    assert not difference.any()
    assert not total.any()


def test_levels_of_all_tests_add_up_to_the_familys() -> None:
    residuals = np.random.default_rng(2).normal(size=(2, 4, 100))
    assert sum(finding.level or 0 for finding in noise_findings(residuals, PARTS)) == pytest.approx(NOISE)


def test_correct_noise_is_accused_less_often_than_the_level_says() -> None:
    """At a level of one half: two thousand draws, and the bound leaves much room."""
    random, accused = np.random.default_rng(3), 0
    for _ in range(2000):
        findings = noise_findings(random.normal(size=(2, 4, 100)), PARTS, level=0.5)
        accused += any(finding.verdict == "contradicted" for finding in findings)
    assert accused <= 0.5 * 2000


@pytest.mark.parametrize("scale", [0.5, 0.7])
def test_noise_that_is_too_small_is_caught(scale: float) -> None:
    residuals = scale * np.random.default_rng(4).normal(size=(2, 10, 100))
    assert any(finding.verdict == "contradicted" for finding in noise_findings(residuals, PARTS))


def test_noise_that_is_missing_in_a_small_part_is_caught_there() -> None:
    residuals = np.random.default_rng(5).normal(size=(2, 10, 100))
    residuals[..., PARTS["bias"]] = 0
    variance, *others = noise_findings(residuals, PARTS)
    assert variance.verdict == "contradicted"
    assert "least: bias" in variance.detail
    assert {finding.verdict for finding in others} == {"holds"}


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("axis", [0, 1])
def test_noise_that_is_the_same_or_opposite_is_caught(axis: int, sign: int) -> None:
    residuals = np.random.default_rng(6).normal(size=(2, 2, 400))
    if axis == 0:
        residuals[1] = sign * residuals[0]
    else:
        residuals[:, 1] = sign * residuals[:, 0]
    accused = {f.question for f in noise_findings(residuals, {"all": slice(0, 400)}) if f.verdict == "contradicted"}
    assert accused == {"left between clients" if axis == 0 else "left between rounds"}


def test_one_draw_for_all_entries_is_caught() -> None:
    residuals = np.repeat(np.random.default_rng(7).normal(size=(2, 10, 1)) + 3, 100, axis=2)
    accused = {f.question for f in noise_findings(residuals, PARTS) if f.verdict == "contradicted"}
    assert "left between entries" in accused


@pytest.mark.parametrize("variance", [0.5, 4.0])
def test_integer_noise_has_at_most_the_kurtosis_that_is_reckoned_with(variance: float) -> None:
    draws = {
        "skellam": skellam(variance, 400_000, SecureStream(b"s" * 32)),
        "discrete": discrete_gaussian(variance**0.5, 400_000, SecureStream(b"d" * 32)),
    }
    for values in draws.values():
        kurtosis = np.mean(values.astype(float) ** 4) / np.mean(values.astype(float) ** 2) ** 2
        assert kurtosis <= (3 + 1 / variance) * 1.03
