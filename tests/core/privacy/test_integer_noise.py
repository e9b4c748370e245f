import math
from collections.abc import Callable
from decimal import Decimal, localcontext

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from leptonic.errors import PrivacyError
from leptonic.privacy.integer_noise import (
    DiscreteGaussian,
    Poisson,
    discrete_gaussian,
    log_factorial_ratio,
    log_ratio,
    poisson,
    skellam,
)
from leptonic.privacy.unimodal import PRECISION, Law, Sampler
from leptonic.randomness import SecureStream

DRAWS = 200_000
LEVEL = 1e-4


def stream(name: str = "a") -> SecureStream:
    return SecureStream(name.encode().ljust(32, b"."))


def fits(draws: NDArray[np.int64], pmf: Callable[[NDArray[np.int64]], NDArray[np.float64]]) -> float:
    """The p-value of a chi-square test, where rare values are taken together."""
    values = np.arange(draws.min() - 1, draws.max() + 2)
    expected = pmf(values) * len(draws)
    seen = np.bincount(draws - values[0], minlength=len(values))
    common = expected >= 20
    rest = len(draws) - expected[common].sum()
    if rest < 20:
        return float(
            stats.chisquare(seen[common], expected[common] / expected[common].sum() * seen[common].sum()).pvalue
        )
    return float(
        stats.chisquare([*seen[common], seen[~common].sum()], [*expected[common], rest], sum_check=False).pvalue
    )


def gaussian_pmf(deviation: float) -> Callable[[NDArray[np.int64]], NDArray[np.float64]]:
    support = np.arange(-math.ceil(20 * deviation) - 20, math.ceil(20 * deviation) + 21)
    total = math.fsum(np.exp(-(support**2) / (2 * deviation**2)))
    return lambda values: np.exp(-(values**2) / (2 * deviation**2)) / total


@pytest.mark.parametrize("deviation", [0.3, 0.5, 1.0, 3.3, 40.0, 900.0])
def test_discrete_gaussian_law(deviation: float) -> None:
    assert fits(discrete_gaussian(deviation, DRAWS, stream()), gaussian_pmf(deviation)) > LEVEL


@pytest.mark.parametrize("mean", [0.01, 0.5, 1.0, 7.0, 100.5, 40_000.0])
def test_poisson_law(mean: float) -> None:
    assert fits(poisson(mean, DRAWS, stream()), stats.poisson(mean).pmf) > LEVEL


@pytest.mark.parametrize("variance", [0.02, 0.5, 2.0, 50.0, 1000.0, 200_000.0])
def test_skellam_law(variance: float) -> None:
    assert fits(skellam(variance, DRAWS, stream()), stats.skellam(variance / 2, variance / 2).pmf) > LEVEL


@pytest.mark.parametrize(
    "draw",
    [
        lambda count, source: discrete_gaussian(1e6, count, source) / 1e6,
        lambda count, source: discrete_gaussian(2.0**33, count, source) / 2.0**33,
        lambda count, source: skellam(1e12, count, source) / 1e6,
        lambda count, source: skellam(2.0**60, count, source) / 2.0**30,
    ],
)
def test_wide_laws_are_nearly_normal(draw: Callable[[int, SecureStream], NDArray[np.float64]]) -> None:
    """The step width, 1e-6, is far below what this many draws can tell from a normal law."""
    values = draw(DRAWS, stream())
    assert stats.kstest(values, "norm").pvalue > LEVEL
    assert values.mean() == pytest.approx(0, abs=4 / math.sqrt(DRAWS))
    assert values.var() == pytest.approx(1, abs=4 * math.sqrt(2 / DRAWS))
    assert stats.kurtosis(values) == pytest.approx(0, abs=4 * math.sqrt(24 / DRAWS))
    assert (values < 0).sum() == pytest.approx(DRAWS / 2, abs=4 * math.sqrt(DRAWS) / 2)
    beyond = DRAWS * 2 * stats.norm.sf(3)
    assert (np.abs(values) > 3).sum() == pytest.approx(beyond, abs=4 * math.sqrt(beyond))


@pytest.mark.parametrize(
    "draw", [lambda source: discrete_gaussian(50.0, 50_000, source), lambda source: skellam(2500.0, 50_000, source)]
)
def test_a_key_repeats_and_streams_are_independent(draw: Callable[[SecureStream], NDArray[np.int64]]) -> None:
    first, again, other = draw(stream("a")), draw(stream("a")), draw(stream("b"))
    assert first.dtype == np.int64
    assert np.array_equal(first, again)
    assert abs(np.corrcoef(first, other)[0, 1]) < 5 / math.sqrt(len(first))
    assert abs(np.corrcoef(first[1:], first[:-1])[0, 1]) < 5 / math.sqrt(len(first))
    assert not np.array_equal(draw(SecureStream()), draw(SecureStream()))


def test_sums_of_skellam_are_skellam() -> None:
    source = stream()
    total = sum(skellam(0.7, DRAWS, source) for _ in range(5))
    assert fits(np.asarray(total), stats.skellam(1.75, 1.75).pmf) > LEVEL


@pytest.mark.parametrize("law", [DiscreteGaussian(3000.25), Poisson(2e7), Poisson(300.5), DiscreteGaussian(0.7)])
def test_the_staircase_encloses_the_law(law: Law) -> None:
    """What exactness rests on: certain <= S w(k) <= height in every column, and words for all of the area."""
    sampler = Sampler(law)
    sides = np.flatnonzero(np.diff(sampler._direction))
    starts = [*sampler._starts.tolist(), sampler._area]
    assert starts == sorted(starts)
    assert 2**63 * (1 - 1e-2) < starts[-1] <= 2**63
    assert len(sides) == 1
    seen = []
    with localcontext(PRECISION):
        for step, height in enumerate(sampler._heights.tolist()):
            columns, rest = divmod(starts[step + 1] - starts[step], height)
            assert rest == 0
            ends = {0, columns // 2, columns - 1} if columns > 3 else range(columns)
            for column in ends:
                value = int(sampler._nearest[step] + sampler._direction[step] * column)
                target = sampler._scale * law.weight(value)
                assert int(sampler._certain[step]) <= target <= height
            seen.append((int(sampler._nearest[step]), columns, int(sampler._direction[step])))
    covered = sorted(value for first, columns, step in seen for value in (first, first + step * (columns - 1)))
    assert (covered[0], covered[-1]) == (law.lowest, law.highest)
    assert sum(columns for _, columns, _ in seen) == law.highest - law.lowest + 1


def test_undecided_words_are_decided_by_the_fraction() -> None:
    class Words(SecureStream):
        def __init__(self, *words: int) -> None:
            self._words = list(words)

        def words(self, count: int) -> NDArray[np.uint64]:
            return np.array([self._words.pop(0) for _ in range(count)], dtype=np.uint64)

    with localcontext(PRECISION):
        limit = Decimal(7) + Decimal(1) / 4
        assert Sampler._below(6, limit, Words())
        assert not Sampler._below(8, limit, Words())
        assert Sampler._below(7, limit, Words(2**62 - 1, 2**64 - 1))
        assert not Sampler._below(7, limit, Words(2**62, 0))


@pytest.mark.parametrize("number", [0, 1, 63, 64, 65, 1000, 5_000])
@pytest.mark.parametrize("base", [0, 1, 63, 64, 1001, 4_500])
def test_ratios_of_factorials(number: int, base: int) -> None:
    with localcontext(PRECISION) as context:
        ours = log_factorial_ratio(number, base)
        context.prec = 100
        assert abs(ours - (Decimal(math.factorial(number)) / math.factorial(base)).ln()) < Decimal("1e-38")


@pytest.mark.parametrize(("number", "base"), [(1, 1), (1, 2), (19, 21), (21, 19), (10**12 + 1, 10**12), (2**60, 64)])
def test_ratios_of_numbers(number: int, base: int) -> None:
    with localcontext(PRECISION) as context:
        ours = log_ratio(number, base)
        context.prec = 100
        exact = (Decimal(number) / base).ln()
        assert abs(ours - exact) <= abs(exact) * Decimal("1e-58")


def test_poisson_weights_are_exact_ratios() -> None:
    law = Poisson(1e12 + 0.5)
    with localcontext(PRECISION):
        ratio = Decimal(1)
        for step in range(1, 300):
            ratio *= Decimal(law_mean := 1e12 + 0.5) / (law.mode + step)
        assert law_mean > law.mode
        assert abs(law.weight(law.mode + 299) / ratio - 1) < Decimal(2) ** -124


def test_tails_that_are_left_out_weigh_next_to_nothing() -> None:
    gaussian = DiscreteGaussian(1000.0)
    assert stats.norm.logsf(gaussian.highest / 1000.0) < -130 * math.log(2)
    for mean in (0.1, 5.0, 1e4):
        law = Poisson(mean)
        assert stats.poisson.logsf(law.highest, mean) < -130 * math.log(2)
        assert law.lowest == 0 or stats.poisson.logcdf(law.lowest - 1, mean) < -130 * math.log(2)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf, 1e300])
def test_impossible_parameters_are_refused(value: float) -> None:
    for draw in (discrete_gaussian, poisson, skellam):
        with pytest.raises(PrivacyError):
            draw(value, 1, stream())


@pytest.mark.parametrize("count", [0, 1, 3, 70_000])
def test_counts(count: int) -> None:
    assert discrete_gaussian(2.0, count, stream()).shape == (count,)
    assert skellam(2.0, count, stream()).shape == (count,)
