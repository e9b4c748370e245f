"""The randomised Hadamard rotation, which spreads an update evenly over its coordinates before rounding.

Called on the client before, and on the server after, secure aggregation. The seed is public and the rotation
protects nothing: it makes every coordinate small, so that few bits hold a sum.
Source: Suresh et al. 2017, arXiv 1611.00429.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leptonic.errors import PrivacyError
from leptonic.randomness import SecureStream

__all__ = ["Rotation", "padded_size", "walsh_hadamard"]


@dataclass(frozen=True)
class Rotation:
    """x -> H diag(signs) x / sqrt(d), on vectors padded by zeros to d = :func:`padded_size` entries.

    size: entries of a vector before padding. seed: 32 public bytes, which name the signs.
    """

    size: int
    seed: bytes

    def __post_init__(self) -> None:
        padded_size(self.size)

    @property
    def padded(self) -> int:
        """Entries of a rotated vector, d."""
        return padded_size(self.size)

    def forward(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """values: (size,). Returns (d,) float64 of the same norm."""
        rotated = np.zeros(self.padded)
        rotated[: self.size] = values
        rotated *= self._signs()
        return walsh_hadamard(rotated)

    def inverse(self, rotated: NDArray[np.float64]) -> NDArray[np.float64]:
        """rotated: (d,), left as it is. Returns (size,) float64, what was rotated to within rounding of float64."""
        values = walsh_hadamard(np.array(rotated, dtype=np.float64))
        values *= self._signs()
        return values[: self.size]

    def _signs(self) -> NDArray[np.int8]:
        words = SecureStream(self.seed).words(-(-self.padded // 64)).astype("<u8", copy=False)
        bits = np.unpackbits(words.view(np.uint8), count=self.padded, bitorder="little")
        signs: NDArray[np.int8] = 1 - 2 * bits.view(np.int8)
        return signs


def padded_size(size: int) -> int:
    """The smallest power of two that is at least ``size``. Raises PrivacyError if the size is not positive."""
    if size < 1:
        raise PrivacyError(f"a vector of {size} entries cannot be rotated")
    return 1 << (size - 1).bit_length()


def walsh_hadamard(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The orthonormal Walsh-Hadamard transform, its own inverse, in d log2(d) additions.

    values: (d,) float64, d a power of two; overwritten. Returns (d,) float64. Additions are made in one order on
    every machine, so the result has the same bits everywhere.
    """
    bits = (len(values) - 1).bit_length()
    # As a matrix: the butterflies of each half of the index run over whole rows, never over single entries.
    matrix = values.reshape(1 << bits // 2, -1)
    _butterflies(matrix)
    turned = np.ascontiguousarray(matrix.T)
    _butterflies(turned)
    matrix[:] = turned.T
    values *= 1 / math.sqrt(len(values))
    return values


def _butterflies(matrix: NDArray[np.float64]) -> None:
    """Transform along the first axis, in place and without a factor. matrix: (2^k, columns), contiguous."""
    rows, span = len(matrix), 1
    while span < rows:
        pairs = matrix.reshape(rows // (2 * span), 2, -1)
        first, second = pairs[:, 0], pairs[:, 1]
        difference = first - second
        first += second
        second[:] = difference
        span *= 2
