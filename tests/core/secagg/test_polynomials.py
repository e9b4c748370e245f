"""Polynomials: through given points as by Lagrange's formula, and through most points as by trying all."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leptonic.secagg.polynomials import PRIME, decode, newton, value_at

ELEMENTS = st.integers(0, PRIME - 1)
PLACES = st.lists(st.integers(1, 2**32 - 1), min_size=1, max_size=9, unique=True)


def evaluated(coefficients: Sequence[int], place: int) -> int:
    return sum(coefficient * place**power for power, coefficient in enumerate(coefficients)) % PRIME


def lagrange(at: int, points: dict[int, int]) -> int:
    """In rational numbers; only the last division is one of the field."""
    total = Fraction(0)
    for own, value in points.items():
        term = Fraction(value)
        for other in points.keys() - {own}:
            term *= Fraction(at - other, own - other)
        total += term
    return total.numerator * pow(total.denominator, -1, PRIME) % PRIME


def tried(points: dict[int, int], threshold: int, most: int) -> set[tuple[int, ...]]:
    """The values at the points of every polynomial that all but ``most`` of them lie on."""
    found = set()
    for places in combinations(points, threshold):
        some = {place: points[place] for place in places}
        values = tuple(lagrange(place, some) for place in points)
        if sum(value != points[place] for place, value in zip(points, values, strict=True)) <= most:
            found.add(values)
    return found


@given(places=PLACES, data=st.data(), at=st.integers(0, 2**32))
@settings(max_examples=50)
def test_newtons_polynomial_has_lagranges_values(places: list[int], data: st.DataObject, at: int) -> None:
    points = {place: data.draw(ELEMENTS) for place in places}
    polynomial = newton(places, list(points.values()))
    assert value_at(at, polynomial, places) == lagrange(at, points)
    assert all(value_at(place, polynomial, places) == value for place, value in points.items())


@given(coefficients=st.lists(ELEMENTS, max_size=6), at=ELEMENTS)
def test_with_places_of_zeros_a_value_is_that_of_powers(coefficients: list[int], at: int) -> None:
    assert value_at(at, coefficients, [0] * len(coefficients)) == evaluated(coefficients, at)


@given(data=st.data(), threshold=st.integers(1, 5), more=st.integers(0, 7))
@settings(max_examples=60)
def test_a_polynomial_is_found_behind_as_many_wrong_points_as_half_of_those_beyond_the_threshold(
    data: st.DataObject, threshold: int, more: int
) -> None:
    coefficients = data.draw(st.lists(ELEMENTS, min_size=threshold, max_size=threshold))
    coefficients[-1] = coefficients[-1] or 1
    places = data.draw(st.permutations(range(1, threshold + more + 1)))
    wrong = data.draw(st.sets(st.sampled_from(places), max_size=more // 2))
    points = {place: (evaluated(coefficients, place) + (place in wrong)) % PRIME for place in places}
    assert decode(points, threshold) == coefficients


@given(data=st.data(), threshold=st.integers(1, 3), more=st.integers(0, 4))
@settings(max_examples=60)
def test_where_no_polynomial_fits_enough_points_none_is_given(data: st.DataObject, threshold: int, more: int) -> None:
    """Small values make points that fit by chance, and more wrong ones than can be found."""
    points = {place: data.draw(st.integers(0, 3)) for place in range(1, threshold + more + 1)}
    found, expected = decode(points, threshold), tried(points, threshold, more // 2)
    assert len(expected) <= 1
    values = None if found is None else tuple(evaluated(found, place) for place in points)
    assert values == next(iter(expected), None)


def test_points_that_all_lie_elsewhere_give_nothing() -> None:
    assert decode({place: 7**place for place in range(1, 12)}, 3) is None


@pytest.mark.parametrize("threshold", [1, 4])
def test_the_highest_coefficients_may_be_zero(threshold: int) -> None:
    assert decode({1: 5, 2: 5, 3: 9, 4: 5, 5: 5, 6: 5}, threshold) == [5]
