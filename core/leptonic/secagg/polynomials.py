"""Polynomials over the prime field of 2^256 + 297: through given points, and through most of them.

Wrong points are found as errors of a Reed-Solomon code (Gao 2003, "A new algorithm for decoding Reed-Solomon codes").
A polynomial is the list of its coefficients from the lowest, none of which stands for zero.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache

__all__ = ["PRIME", "decode", "newton", "value_at"]

PRIME = 2**256 + 297


def newton(places: Sequence[int], values: Sequence[int]) -> list[int]:
    """The polynomial through these points by Newton's divided differences, in the basis of products of (x - place)."""
    differences = list(values)
    for order in range(1, len(places)):
        for index in range(len(places) - 1, order - 1, -1):
            inverse = _inverse(places[index] - places[index - order])
            differences[index] = (differences[index] - differences[index - 1]) * inverse % PRIME
    return differences


def value_at(place: int, polynomial: Sequence[int], places: Sequence[int]) -> int:
    """The polynomial's value; with places of zeros, that of one in powers of x."""
    value = 0
    for coefficient, other in zip(reversed(polynomial), reversed(places), strict=True):
        value = (value * (place - other) + coefficient) % PRIME
    return value


@lru_cache(2**16)
def _inverse(difference: int) -> int:
    return pow(difference, -1, PRIME)


def decode(values: Mapping[int, int], threshold: int) -> list[int] | None:
    """The polynomial of degree below ``threshold`` through all but few of these points, in powers of x, or None.

    At most half of the points beyond the threshold may be wrong.
    """
    places = list(values)
    product, through = [1], list[int]()
    for place, difference in zip(places, newton(places, list(values.values())), strict=True):
        through = _added(through, [difference * coefficient % PRIME for coefficient in product])
        product = _added([0, *product], [-place * coefficient % PRIME for coefficient in product])
    # Euclid's algorithm, stopped half way: remainder = multiplier * through modulo product.
    before, remainder, earlier, multiplier = product, through, list[int](), [1]
    while 2 * (len(remainder) - 1) >= len(places) + threshold:
        quotient, rest = _divided(before, remainder)
        before, remainder = remainder, rest
        earlier, multiplier = multiplier, _added(earlier, [-c % PRIME for c in _times(quotient, multiplier)])
    quotient, rest = _divided(remainder, multiplier)
    if rest or len(quotient) > threshold:
        return None
    return quotient or [0]


def _added(first: Sequence[int], second: Sequence[int]) -> list[int]:
    longer, shorter = (first, second) if len(first) >= len(second) else (second, first)
    total = [(a + b) % PRIME for a, b in zip(longer, shorter, strict=False)] + list(longer[len(shorter) :])
    while total and not total[-1]:
        total.pop()
    return total


def _times(first: Sequence[int], second: Sequence[int]) -> list[int]:
    product = [0] * max(0, len(first) + len(second) - 1)
    for index, a in enumerate(first):
        for offset, b in enumerate(second):
            product[index + offset] = (product[index + offset] + a * b) % PRIME
    return product


def _divided(dividend: Sequence[int], divisor: Sequence[int]) -> tuple[list[int], list[int]]:
    """Quotient and remainder."""
    rest, quotient = list(dividend), [0] * max(0, len(dividend) - len(divisor) + 1)
    inverse = pow(divisor[-1], -1, PRIME)
    for index in range(len(quotient) - 1, -1, -1):
        factor = rest[index + len(divisor) - 1] * inverse % PRIME
        quotient[index] = factor
        for offset, coefficient in enumerate(divisor):
            rest[index + offset] = (rest[index + offset] - factor * coefficient) % PRIME
    return _added(quotient, []), _added(rest, [])
