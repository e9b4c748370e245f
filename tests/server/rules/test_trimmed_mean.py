"""The trimmed mean against SciPy's, and what it cuts where the fraction is awkward."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import trim_mean  # type: ignore[import-untyped]

from leptonic_server.rules.rule import CELLS
from leptonic_server.rules.trimmed_mean import TrimmedMean


def draw(clients: int, size: int) -> NDArray[np.float32]:
    return np.random.default_rng(clients).standard_normal((clients, size)).astype(np.float32)


@pytest.mark.parametrize("trim", [0.0, 0.125, 0.25, 0.375, 0.45])
@pytest.mark.parametrize("clients", [8, 10, 13, 40])
def test_equals_scipy(trim: float, clients: int) -> None:
    updates = draw(clients, 50)
    expected = trim_mean(updates.astype(np.float64), trim, axis=0)
    combined = TrimmedMean(trim).combine(updates)
    np.testing.assert_allclose(combined.vector, expected, rtol=1e-6, atol=1e-7)
    assert combined.kept == tuple(range(clients))


def test_equals_scipy_over_several_slices() -> None:
    updates = draw(6, CELLS // 2)
    np.testing.assert_allclose(
        TrimmedMean(0.2).combine(updates).vector, trim_mean(updates, 0.2, axis=0), rtol=1e-5, atol=1e-6
    )


def test_by_hand() -> None:
    updates = np.array([[1, 100], [2, 1], [4, 2], [9, 3], [1000, -5]], dtype=np.float32)
    assert TrimmedMean(0.2).combine(updates).vector.tolist() == [5, 2]
    assert TrimmedMean(0.4).combine(updates).vector.tolist() == [4, 2]


@pytest.mark.parametrize(
    ("trim", "clients", "cut"),
    [(0.29, 100, 29), (0.1, 10, 1), (0.1, 5, 1), (0.01, 3, 1), (0.3, 10, 3), (0.4999999999999, 10, 4)],
)
def test_the_number_cut_at_each_end(trim: float, clients: int, cut: int) -> None:
    updates = np.zeros((clients, 1), dtype=np.float32)
    ordered = np.sort(draw(clients, 1), axis=0)
    expected = ordered[cut : clients - cut].astype(np.float64).mean()
    updates[:] = ordered[::-1]
    assert TrimmedMean(trim).combine(updates).vector[0] == np.float32(expected)


@pytest.mark.parametrize("liars", [1, 2, 3])
def test_as_many_liars_as_are_cut_leave_it_among_the_honest(liars: int) -> None:
    updates = draw(10, 100)
    updates[:liars] = -1e6
    honest = updates[liars:]
    vector = TrimmedMean(0.3).combine(updates).vector
    assert np.all((honest.min(axis=0) <= vector) & (vector <= honest.max(axis=0)))


def test_trim_zero_is_the_mean_of_any_number() -> None:
    assert TrimmedMean(0.0).needed == 1
    assert TrimmedMean(0.0).combine(np.array([[1.0], [5.0]], dtype=np.float32)).vector[0] == 3
