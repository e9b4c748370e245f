"""The lattice: sums equal Python's big integers in any order, never wrap; rounding is to the nearest."""

import math
from fractions import Fraction
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from leptonic.errors import ExperimentError, RunError
from leptonic.integers import CHUNK, Lattice, add, from_fixed, to_fixed

Vector = NDArray[np.float32]

FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)
RANGES = st.floats(1e-6, 1e6)
CLIENTS = st.integers(1, 10_000)
FACTORS = st.floats(0.0, 1.0)


def signed(words: NDArray[np.uint32]) -> list[int]:
    return [word - 2**32 if word >= 2**31 else word for word in words.tolist()]


def vectors(size: int = 5) -> st.SearchStrategy[Vector]:
    return hnp.arrays(np.float32, size, elements=FINITE)


def test_the_bound_leaves_room_for_every_client_and_no_more() -> None:
    for clients in (1, 2, 3, 7, 10, 1000, 2**31 - 1):
        bound = Lattice(range=8.0, clients=clients).bound
        assert clients * bound <= 2**31 - 1 < clients * (bound + 1)
        assert Lattice(range=8.0, clients=clients).scale == bound / 8.0


def test_ties_round_half_to_even() -> None:
    lattice = Lattice(range=8.0, clients=(2**31 - 1) // 4)
    assert (lattice.bound, lattice.scale) == (4, 0.5)
    words, clamped = lattice.quantise(np.array([1, 3, 5, -1, -3, -5, 2, 8], dtype=np.float32))
    assert signed(words) == [0, 2, 2, 0, -2, -2, 1, 4]
    assert clamped == 0
    assert words.dtype == np.uint32


@given(values=vectors(), reach=RANGES, clients=CLIENTS, factor=FACTORS)
def test_each_word_is_the_nearest_step_to_the_exact_product(
    values: Vector, reach: float, clients: int, factor: float
) -> None:
    lattice = Lattice(range=reach, clients=clients)
    words, clamped = lattice.quantise(values, factor)
    scale = Fraction(lattice.scale)
    for value, word in zip(values.tolist(), signed(words), strict=True):
        exact = Fraction(max(-reach, min(reach, value))) * Fraction(factor) * scale
        assert abs(word - exact) <= Fraction(1, 2) + Fraction(1, 2**20)  # the product is rounded to float64
        assert abs(word) <= lattice.bound
    assert clamped == sum(abs(value) > reach for value in values.tolist())


@given(values=vectors(), reach=RANGES, clients=CLIENTS)
def test_a_round_trip_errs_by_at_most_half_a_step(values: Vector, reach: float, clients: int) -> None:
    lattice = Lattice(range=reach, clients=clients)
    within = np.clip(values, -np.float32(reach * 0.999), np.float32(reach * 0.999))
    words, clamped = lattice.quantise(within)
    back = lattice.dequantise(words, 1.0)
    half_step, float32_rounding = 1 / (2 * lattice.scale), np.spacing(np.abs(within)) / 2
    assert clamped == 0
    assert back.dtype == np.float32
    assert np.all(np.abs(back.astype(np.float64) - within) <= half_step * (1 + 1e-6) + float32_rounding)


@given(
    updates=st.lists(st.tuples(vectors(), FACTORS), min_size=1, max_size=8),
    reach=RANGES,
    order=st.randoms(use_true_random=False),
)
def test_sums_are_exact_in_any_order(updates: list[tuple[Vector, float]], reach: float, order: Random) -> None:
    lattice = Lattice(range=reach, clients=len(updates))
    encoded = [lattice.quantise(values, factor)[0] for values, factor in updates]
    exact = [sum(column) for column in zip(*map(signed, encoded), strict=True)]
    shuffled = list(encoded)
    order.shuffle(shuffled)
    total = np.zeros(5, dtype=np.uint32)
    for words in shuffled:
        add(total, words)
    assert signed(total) == exact


@given(updates=st.lists(st.tuples(vectors(), FACTORS), min_size=1, max_size=8), reach=RANGES)
def test_a_sum_in_one_is_the_sum_of_each(updates: list[tuple[Vector, float]], reach: float) -> None:
    lattice = Lattice(range=reach, clients=len(updates))
    each = [lattice.quantise(values, factor) for values, factor in updates]
    values, factors = np.stack([values for values, _ in updates]), np.array([factor for _, factor in updates])
    words, clamped = lattice.quantise_sum(values, factors)
    assert signed(words) == [sum(column) for column in zip(*(signed(own) for own, _ in each), strict=True)]
    assert clamped == sum(own for _, own in each)


def test_a_sum_in_one_of_long_updates_is_made_in_chunks() -> None:
    lattice, random = Lattice(range=1.0, clients=3), np.random.default_rng(1)
    values = random.normal(0, 0.6, (3, 2 * CHUNK + 7)).astype(np.float32)
    words, clamped = lattice.quantise_sum(values, np.array([0.25, 1.0, 0.5]))
    total = np.zeros(values.shape[1], np.uint32)
    for row, factor in zip(values, (0.25, 1.0, 0.5), strict=True):
        add(total, lattice.quantise(row, factor)[0])
    assert (words == total).all()
    assert clamped == np.count_nonzero(np.abs(values) > 1.0) > 0


def test_a_sum_in_one_refuses_a_weight_over_the_cap() -> None:
    with pytest.raises(RunError, match="outside"):
        Lattice(range=8.0, clients=2).quantise_sum(np.zeros((2, 3), np.float32), np.array([0.5, 1.5]))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_sum_in_one_refuses_what_is_not_finite(bad: float) -> None:
    values = np.zeros((3, 4), np.float32)
    values[1, 2] = bad
    with pytest.raises(RunError, match="not finite"):
        Lattice(range=8.0, clients=3).quantise_sum(values, np.ones(3))


@pytest.mark.parametrize("clients", [1, 2, 3, 10, 1000])
@pytest.mark.parametrize("reach", [8.0, 0.1, 1 / 3, 1e-30, 1e30])
def test_all_clients_at_either_end_do_not_wrap(clients: int, reach: float) -> None:
    lattice = Lattice(range=reach, clients=clients)
    ends = np.array([-3e38, 3e38, np.float32(reach), -np.float32(reach)], dtype=np.float32)
    total = np.zeros(4, dtype=np.uint32)
    for _ in range(clients):
        words, clamped = lattice.quantise(ends)
        add(total, words)
    assert clamped == 2 + 2 * (float(np.float32(reach)) > reach)
    expected = clients * lattice.bound
    assert signed(total)[:2] == [-expected, expected]
    np.testing.assert_allclose(lattice.dequantise(total, clients), [-reach, reach, reach, -reach], rtol=1e-6)


@pytest.mark.parametrize("sign", [-1, 1])
def test_the_float32_next_above_the_range_is_clamped(sign: int) -> None:
    # float32(0.1) is more than 0.1: unclamped it would be a word of 2^31 + 30.
    lattice = Lattice(range=0.1, clients=1)
    words, clamped = lattice.quantise(np.array([sign * 0.1], dtype=np.float32))
    assert signed(words) == [sign * lattice.bound]
    assert clamped == 1


def test_a_weighted_mean_comes_back() -> None:
    draws = np.random.default_rng(1)
    updates = draws.uniform(-1, 1, (10, 1000)).astype(np.float32)
    weights = draws.integers(1, 600, 10)
    lattice = Lattice(range=1.0, clients=10)
    total = np.zeros(1000, dtype=np.uint32)
    for values, weight in zip(updates, weights, strict=True):
        add(total, lattice.quantise(values, weight / 600)[0])
    mean = lattice.dequantise(total, weights.sum() / 600)
    exact = weights @ updates.astype(np.float64) / weights.sum()
    np.testing.assert_allclose(mean, exact, rtol=1e-6, atol=10 / (2 * lattice.scale) * 600 / weights.sum())


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5])
def test_chunks_do_not_show(size: int) -> None:
    values = np.linspace(-9, 9, size, dtype=np.float32)
    lattice = Lattice(range=8.0, clients=7)
    words, clamped = lattice.quantise(values, 0.3)
    factor = np.float64(0.3 * lattice.scale)
    whole = np.rint(np.clip(values.astype(np.float64), -8, 8) * factor).astype(np.int64)
    assert np.array_equal(words.view(np.int32), whole)
    assert clamped == np.count_nonzero(np.abs(values) > 8)
    back = lattice.dequantise(words, 0.3)
    assert np.array_equal(back, (whole / lattice.scale / 0.3).astype(np.float32))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_named(bad: float) -> None:
    values = np.zeros(2 * CHUNK, dtype=np.float32)
    values[[CHUNK + 3, CHUNK + 9]] = bad
    with pytest.raises(RunError, match=rf"2 of the update's {2 * CHUNK} entries are not finite .*entry {CHUNK + 3}\)"):
        Lattice(range=8.0, clients=3).quantise(values)


def test_inputs_are_not_modified() -> None:
    values = np.array([100.0, 1.0], dtype=np.float32)
    lattice = Lattice(range=8.0, clients=2)
    words, _ = lattice.quantise(values, 0.5)
    kept = words.copy()
    lattice.dequantise(words, 0.5)
    assert values.tolist() == [100.0, 1.0]
    assert np.array_equal(words, kept)


@pytest.mark.parametrize(
    ("reach", "clients", "message"),
    [
        (0.0, 1, "range"),
        (-1.0, 1, "range"),
        (math.nan, 1, "range"),
        (math.inf, 1, "range"),
        (1e39, 1, "range"),
        (1e-320, 1, "too small"),
        (1.0, 0, "0 clients"),
        (1.0, 2**31, "2147483648 clients"),
    ],
)
def test_impossible_lattices_are_refused(reach: float, clients: int, message: str) -> None:
    with pytest.raises(ExperimentError, match=message):
        Lattice(range=reach, clients=clients)


@pytest.mark.parametrize("factor", [-0.1, 1.0000001, math.nan])
def test_a_factor_outside_0_to_1_is_refused(factor: float) -> None:
    with pytest.raises(RunError, match="factor"):
        Lattice(range=8.0, clients=1).quantise(np.zeros(1, dtype=np.float32), factor)


@pytest.mark.parametrize("divisor", [0.0, -1.0, math.nan, math.inf])
def test_a_divisor_that_is_no_weight_is_refused(divisor: float) -> None:
    with pytest.raises(RunError, match="divided"):
        Lattice(range=8.0, clients=1).dequantise(np.zeros(1, dtype=np.uint32), divisor)


@pytest.mark.parametrize("words", [np.zeros(1, dtype=np.uint32), np.zeros(3, dtype=np.uint64)])
def test_words_of_another_layout_are_not_added(words: NDArray[np.uint32]) -> None:
    with pytest.raises(RunError, match="cannot be added"):
        add(np.zeros(3, dtype=np.uint32), words)


@given(
    rows=st.lists(st.lists(st.floats(-(2.0**26), 2.0**26), min_size=3, max_size=3), min_size=1, max_size=20),
    order=st.randoms(use_true_random=False),
)
@settings(max_examples=50)
def test_metric_sums_are_exact_to_their_step_in_any_order(rows: list[list[float]], order: Random) -> None:
    exact = [sum(round(Fraction(value) * 2**20) for value in column) for column in zip(*rows, strict=True)]
    order.shuffle(rows)
    total = np.zeros(3, dtype=np.uint64)
    for row in rows:
        add(total, to_fixed(row))
    assert [Fraction(value) for value in from_fixed(total)] == [Fraction(float(steps)) / 2**20 for steps in exact]


def test_metric_sums_at_the_limit_do_not_wrap() -> None:
    total = np.zeros(2, dtype=np.uint64)
    largest = 2.0**42 - 1
    for _ in range(2):
        add(total, to_fixed([largest, -largest], clients=2))
    assert from_fixed(total).tolist() == [2 * largest, -2 * largest]


@pytest.mark.parametrize("value", [2.0**27, -(2.0**27) - 1, 1e300])
def test_a_metric_that_could_wrap_is_refused(value: float) -> None:
    with pytest.raises(RunError, match="metric sum 1"):
        to_fixed([0.0, value])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_metric_that_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(RunError, match="not finite"):
        to_fixed([value])
