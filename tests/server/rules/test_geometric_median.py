"""The geometric median against known points, its invariances and its breakdown point."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from leptonic_server.rules.geometric_median import GeometricMedian
from leptonic_server.rules.rule import CELLS

EXACT = GeometricMedian(iterations=1000, smoothing=1e-9)
DEFAULT = GeometricMedian(iterations=32, smoothing=1e-6)


def median_of(*points: tuple[float, ...], rule: GeometricMedian = EXACT) -> NDArray[np.float32]:
    return rule.combine(np.array(points, dtype=np.float32)).vector


def spread(updates: NDArray[np.float32], centre: NDArray[np.float32]) -> float:
    """The objective: the sum of distances."""
    return float(np.linalg.norm(updates.astype(np.float64) - centre.astype(np.float64), axis=1).sum())


@pytest.mark.parametrize("positions", [(0, 1, 10), (-5, 0, 1, 2, 30), (3, 3, 3, 4, 5), (0, 1, 2, 3, 4, 5, 600)])
def test_on_a_line_it_is_the_median(positions: tuple[float, ...]) -> None:
    direction = np.array([2.0, -1.0, 2.0]) / 3
    updates = (1.0 + np.outer(positions, direction)).astype(np.float32)
    expected = 1.0 + np.median(positions) * direction
    np.testing.assert_allclose(EXACT.combine(updates).vector, expected, atol=1e-5)


def test_of_an_equilateral_triangle_it_is_the_centre() -> None:
    height = math.sqrt(3) / 2
    np.testing.assert_allclose(median_of((0, 0), (1, 0), (0.5, height)), [0.5, height / 3], atol=1e-6)


def test_of_a_triangle_it_is_the_fermat_point() -> None:
    # Isosceles, base 2 and apex at height 4: the sides are seen under 120 degrees from height 1 / sqrt 3.
    np.testing.assert_allclose(median_of((-1, 0), (1, 0), (0, 4)), [0, 1 / math.sqrt(3)], atol=1e-5)
    # 3-4-5 triangle: trilinear coordinates csc(A + pi/3) : csc(B + pi/3) : csc(C + pi/3).
    angles = (math.pi / 2, math.atan2(4, 3), math.atan2(3, 4))
    corners = np.array([[0, 0], [3, 0], [0, 4]])
    barycentric = np.array(
        [side / math.sin(angle + math.pi / 3) for side, angle in zip((5, 4, 3), angles, strict=True)]
    )
    expected = barycentric @ corners / barycentric.sum()
    np.testing.assert_allclose(median_of((0, 0), (3, 0), (0, 4)), expected, atol=1e-5)


def test_of_a_triangle_with_a_wide_angle_it_is_that_corner() -> None:
    np.testing.assert_allclose(median_of((-10, 1), (10, 1), (0, 0)), [0, 0], atol=1e-5)


def test_of_a_convex_quadrilateral_it_is_where_the_diagonals_cross() -> None:
    np.testing.assert_allclose(median_of((0, 0), (4, 4), (0, 4), (6, -2)), [2, 2], atol=1e-5)


def test_an_update_with_half_of_the_weight_wins() -> None:
    # A point with as much weight as all others together is a geometric median.
    np.testing.assert_allclose(median_of((1, 2), (1, 2), (50, -3)), [1, 2], atol=1e-5)
    np.testing.assert_allclose(median_of((1, 2), (9, 9), (1, 2), (50, -3), (1, 2)), [1, 2], atol=1e-5)


def test_weights_pull_as_in_a_triangle_of_forces() -> None:
    # Repeated corners are weights 2, 2, 3: at the optimum the weighted unit vectors cancel.
    corners = np.array([[0, 0], [4, 0], [1, 3]], dtype=np.float32)
    weights = np.array([2, 2, 3])
    centre = EXACT.combine(np.repeat(corners, weights, axis=0)).vector.astype(np.float64)
    apart = corners - centre
    forces = weights[:, None] * apart / np.linalg.norm(apart, axis=1, keepdims=True)
    np.testing.assert_allclose(forces.sum(axis=0), 0, atol=1e-4)


def test_one_and_two_updates() -> None:
    assert median_of((3, 4)).tolist() == [3, 4]
    assert median_of((0, 0), (2, 4)).tolist() == [1, 2]


@given(
    clients=st.integers(3, 15),
    size=st.integers(2, 6),
    seed=st.integers(0, 2**32 - 1),
    shift=st.floats(-10, 10),
)
@settings(max_examples=40, deadline=None)
def test_translation_and_rotation_move_it_along(clients: int, size: int, seed: int, shift: float) -> None:
    draws = np.random.default_rng(seed)
    updates = draws.standard_normal((clients, size))
    rotation, _ = np.linalg.qr(draws.standard_normal((size, size)))
    moved = (updates @ rotation + shift).astype(np.float32)
    straight = EXACT.combine(updates.astype(np.float32)).vector
    # Flat optima are compared by what they minimise: the vector there may differ by more than its objective.
    expected = (straight @ rotation + shift).astype(np.float32)
    assert spread(moved, EXACT.combine(moved).vector) == pytest.approx(spread(moved, expected), rel=1e-5)
    np.testing.assert_allclose(EXACT.combine(moved).vector, expected, atol=5e-3)


@given(clients=st.integers(3, 12), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_no_direction_leads_further_down(clients: int, seed: int) -> None:
    draws = np.random.default_rng(seed)
    updates = draws.standard_normal((clients, 4)).astype(np.float32)
    centre = DEFAULT.combine(updates).vector
    least = spread(updates, centre)
    for _ in range(20):
        other = centre + 0.1 * draws.standard_normal(4).astype(np.float32)
        assert spread(updates, other) >= least * (1 - 1e-3)


@pytest.mark.parametrize("liars", [1, 3, 5, 9])
@pytest.mark.parametrize("lie", [1e3, 1e6, 1e30])
def test_any_minority_leaves_it_near_the_honest(liars: int, lie: float) -> None:
    clients = 2 * liars + 1
    updates = np.random.default_rng(liars).standard_normal((clients, 30)).astype(np.float32)
    updates[:liars] = lie
    honest = updates[liars:]
    centre = honest.mean(axis=0)
    radius = np.linalg.norm(honest - centre, axis=1).max()
    # Minsker 2015, Lemma 2.1: beyond this factor of the radius no majority could pull it.
    factor = 2 * (clients - liars) / (clients - 2 * liars)
    for rule in (GeometricMedian(iterations=3, smoothing=1e-6), DEFAULT, EXACT):
        vector = rule.combine(updates).vector.astype(np.float64)
        assert np.linalg.norm(vector - centre) <= factor * radius


def test_a_median_that_is_an_update_does_not_hold_the_steps_back() -> None:
    # (1, 1) is the coordinate-wise median, but its corner is below 120 degrees.
    corners = np.array([[0.0, 1.1], [1.0, 1.0], [1.1, 0.0]], dtype=np.float32)
    assert np.array_equal(np.median(corners, axis=0), [1, 1])
    apart = corners - DEFAULT.combine(corners).vector
    units = apart / np.linalg.norm(apart, axis=1, keepdims=True)
    np.testing.assert_allclose(units.sum(axis=0), 0, atol=1e-3)


def test_slices_do_not_show() -> None:
    size = CELLS // 2
    short = np.random.default_rng(4).standard_normal((5, 3)).astype(np.float32)
    wide = np.zeros((5, size), dtype=np.float32)
    places = [0, size // 2, size - 1]
    wide[:, places] = short
    vector = DEFAULT.combine(wide).vector
    np.testing.assert_allclose(vector[places], DEFAULT.combine(short).vector, rtol=1e-6)
    assert np.count_nonzero(vector) == 3
