"""One encoded update, or a sum of them, and the scalars that travel beside."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leptonic.errors import DecodeError
from leptonic.integers import add, to_fixed

__all__ = ["Contribution", "decode_scalars", "encode_scalars"]


@dataclass(frozen=True)
class Contribution:
    """One encoded update, or a sum of them.

    words: (number of words,) uint32 in Z_2^32. scalars: (number of sums,) uint64, fixed point 2^-20 in Z_2^64.
    """

    words: NDArray[np.uint32]
    scalars: NDArray[np.uint64]

    def add(self, other: "Contribution") -> None:
        """Add ``other`` into this sum, in place."""
        add(self.words, other.words)
        add(self.scalars, other.scalars)

    def copy(self) -> "Contribution":
        """The same in memory of its own."""
        return Contribution(self.words.copy(), self.scalars.copy())

    def to_bytes(self) -> bytes:
        """Words then scalars, little-endian."""
        words, scalars = self.words.astype("<u4", copy=False), self.scalars.astype("<u8", copy=False)
        return b"".join((words.data, scalars.data))


def encode_scalars(values: Sequence[float]) -> bytes:
    """One client's sums as the bytes that travel."""
    return to_fixed(values).astype("<u8", copy=False).tobytes()


def decode_scalars(buffer: bytes | memoryview, count: int) -> NDArray[np.uint64]:
    """The words of :func:`encode_scalars`, which can be added. Raises DecodeError on any other length."""
    if len(buffer) != 8 * count:
        raise DecodeError(f"{len(buffer)} bytes of sums, expected {8 * count}")
    return np.frombuffer(buffer, dtype="<u8").astype(np.uint64)
