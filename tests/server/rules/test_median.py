"""The coordinate-wise median against NumPy's, and its breakdown point."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from leptonic_server.rules.median import Median
from leptonic_server.rules.rule import CELLS


@given(
    updates=hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 12), st.integers(0, 7)),
        elements=st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=False),
    )
)
def test_equals_numpy(updates: NDArray[np.float32]) -> None:
    expected = np.median(updates.astype(np.float64), axis=0).astype(np.float32)
    combined = Median().combine(updates)
    assert np.array_equal(combined.vector, expected)
    assert combined.kept == tuple(range(len(updates)))


@pytest.mark.parametrize("clients", [5, 6])
def test_equals_numpy_over_several_slices(clients: int) -> None:
    updates = np.random.default_rng(0).standard_normal((clients, CELLS // 2)).astype(np.float32)
    assert np.array_equal(Median().combine(updates).vector, np.median(updates, axis=0))


def test_middle_of_the_largest_floats_does_not_overflow() -> None:
    largest = np.finfo(np.float32).max
    assert Median().combine(np.full((2, 1), largest)).vector[0] == largest


@pytest.mark.parametrize("liars", [1, 2, 3, 4])
def test_any_minority_leaves_it_among_the_honest(liars: int) -> None:
    updates = np.random.default_rng(liars).standard_normal((9, 100)).astype(np.float32)
    updates[:liars] = 1e6
    honest = updates[liars:]
    vector = Median().combine(updates).vector
    assert np.all((honest.min(axis=0) <= vector) & (vector <= honest.max(axis=0)))
