"""The least noise that is enough, where more noise is never worse."""

from collections.abc import Callable

from leptonic.errors import PrivacyError

__all__ = ["least"]

_TOLERANCE = 1e-4
_LARGEST = 2.0**40


def least(enough: Callable[[float], bool], *, impossible: str) -> float:
    """The least noise that is ``enough``, to 1e-4 of it and rounded up: whatever is larger is enough too.

    impossible: what to say, by PrivacyError, where not even 2^40 is.
    """
    low, high = 0.0, 1.0
    while not enough(high):
        low, high = high, 2 * high
        if high > _LARGEST:
            raise PrivacyError(impossible)
    while high > low * (1 + _TOLERANCE):
        middle = (low + high) / 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
