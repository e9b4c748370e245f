"""Krum against a reference written from the paper's definition, and its resilience."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from leptonic_server.rules.krum import Krum
from leptonic_server.rules.rule import CELLS


def paper_scores(vectors: list[list[float]], byzantine: int) -> list[float]:
    """s(i): the sum over the n - f - 2 vectors closest to V_i, other than V_i, of ||V_i - V_j||^2."""
    n = len(vectors)
    scores = []
    for i in range(n):
        squares = [sum((a - b) ** 2 for a, b in zip(vectors[i], vectors[j], strict=True)) for j in range(n) if j != i]
        scores.append(sum(sorted(squares)[: n - byzantine - 2]))
    return scores


def draw(clients: int, size: int, seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((clients, size)).astype(np.float32)


@given(
    byzantine=st.integers(0, 3),
    more=st.integers(0, 4),
    size=st.integers(1, 6),
    seed=st.integers(0, 2**32 - 1),
)
def test_krum_returns_the_vector_with_the_smallest_score(byzantine: int, more: int, size: int, seed: int) -> None:
    updates = draw(2 * byzantine + 3 + more, size, seed)
    scores = paper_scores(updates.tolist(), byzantine)
    combined = Krum(byzantine, select=1).combine(updates)
    (chosen,) = combined.kept
    # In one dimension the pair of closest vectors ties up to rounding.
    assert scores[chosen] == pytest.approx(min(scores), rel=1e-12)
    assert np.array_equal(combined.vector, updates[chosen])


@given(byzantine=st.integers(0, 3), select=st.integers(1, 6), seed=st.integers(0, 2**32 - 1))
def test_multi_krum_is_the_mean_of_the_smallest_scores(byzantine: int, select: int, seed: int) -> None:
    updates = draw(9, 5, seed)
    scores = paper_scores(updates.tolist(), byzantine)
    best = sorted(sorted(range(9), key=scores.__getitem__)[:select])
    combined = Krum(byzantine, select).combine(updates)
    assert combined.kept == tuple(best)
    np.testing.assert_allclose(combined.vector, updates[best].astype(np.float64).mean(axis=0), rtol=1e-6, atol=1e-8)


def test_without_liars_selecting_all_is_the_mean() -> None:
    updates = draw(6, 30, seed=2)
    combined = Krum(byzantine=0, select=6).combine(updates)
    assert combined.kept == (0, 1, 2, 3, 4, 5)
    np.testing.assert_allclose(combined.vector, updates.mean(axis=0, dtype=np.float64), rtol=1e-6, atol=1e-8)


def test_by_hand() -> None:
    # n = 5, f = 1: two neighbours count. Scores of 0, 1, 3, 6, 100: 1 + 9, 1 + 4, 4 + 9, 9 + 25, 94^2 + 97^2.
    updates = np.array([[100], [6], [0], [3], [1]], dtype=np.float32)
    assert Krum(byzantine=1, select=1).combine(updates).kept == (4,)
    combined = Krum(byzantine=1, select=3).combine(updates)
    assert combined.kept == (2, 3, 4)
    assert combined.vector[0] == np.float32(4 / 3)


@pytest.mark.parametrize("byzantine", [1, 2, 3])
@pytest.mark.parametrize("apart", [True, False])
def test_liars_far_away_are_not_chosen_alone_or_in_collusion(byzantine: int, apart: bool) -> None:
    updates = draw(2 * byzantine + 3, 20, seed=byzantine)
    liars = range(1, 2 * byzantine, 2)
    for row in liars:
        updates[row] = 1e6 * (row if apart else 1)
    for select in (1, len(updates) - byzantine):
        kept = Krum(byzantine, select).combine(updates).kept
        assert set(kept).isdisjoint(liars)
        assert len(kept) == select


def test_a_large_common_part_does_not_drown_the_differences() -> None:
    # Inner products in float64 would lose squares of 1e-3 beside 1e12 at this size.
    offsets = np.array([0, 0.0625, 0.125, 0.1875, 2], dtype=np.float32)
    updates = np.full((5, 4), 1e6, dtype=np.float32) + offsets[:, None]
    assert Krum(byzantine=1, select=1).combine(updates).kept == (1,)


def test_ties_go_to_the_first_in_roster_order() -> None:
    updates = np.array([[1], [-1], [1], [-1], [1], [-1]], dtype=np.float32)
    assert Krum(byzantine=1, select=1).combine(updates).kept == (0,)
    assert Krum(byzantine=1, select=1).combine(-updates).kept == (0,)
    assert Krum(byzantine=1, select=4).combine(updates).kept == (0, 1, 2, 3)
    assert Krum(byzantine=1, select=50).combine(np.tile(updates, (50, 1))).kept == tuple(range(50))


def test_distances_add_up_over_slices() -> None:
    size = CELLS // 2
    updates = np.zeros((5, size), dtype=np.float32)
    # Each half alone would choose another row: 0 is best in the first, 1 in the second, 2 on the whole.
    updates[:, 0] = [0, 9, 2, -3, 50]
    updates[:, -1] = [9, 0, 2, -3, 50]
    scores = paper_scores(updates[:, [0, -1]].tolist(), 1)
    assert Krum(byzantine=1, select=1).combine(updates).kept == (int(np.argmin(scores)),)


@pytest.mark.parametrize(("byzantine", "select", "needed"), [(0, 1, 3), (1, 1, 5), (2, 1, 7), (1, 6, 7), (0, 5, 5)])
def test_needed(byzantine: int, select: int, needed: int) -> None:
    assert Krum(byzantine, select).needed == needed
