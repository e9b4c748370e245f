"""Words of b bits as bytes, without gaps: bit k of word w is bit b w + k of a little-endian stream."""

import numpy as np
from numpy.typing import NDArray

from leptonic.errors import DecodeError

__all__ = ["packed", "packed_length", "unpacked"]

CHUNK = 2**15
"""Words that are worked on at a time; a multiple of 8, so that chunks end at bytes."""


def packed_length(count: int, bits: int) -> int:
    """Bytes of so many words."""
    return -(-count * bits // 8)


def packed(words: NDArray[np.uint32], bits: int) -> memoryview:
    """The low ``bits`` of each word. words: (d,) uint32. The rest of the last byte is zero; 32 bits share memory."""
    little = np.ascontiguousarray(words, dtype="<u4")
    if bits == 32:
        return little.data.cast("B")
    stream = np.empty(packed_length(len(words), bits), dtype=np.uint8)
    for start in range(0, len(words), CHUNK):
        octets = little[start : start + CHUNK].view(np.uint8).reshape(-1, 4)
        if bits % 8 == 0:
            part = octets[:, : bits // 8].reshape(-1)
        else:
            part = np.packbits(np.unpackbits(octets, axis=1, count=bits, bitorder="little"), bitorder="little")
        at = start * bits // 8
        stream[at : at + len(part)] = part
    return stream.data


def unpacked(stream: bytes | memoryview, count: int, bits: int) -> NDArray[np.uint32]:
    """The inverse of :func:`packed`: (count,) uint32; 32 bits share memory.

    Raises DecodeError on another length, or where a bit after the last word is set.
    """
    if len(stream) != packed_length(count, bits):
        raise DecodeError(f"{len(stream)} bytes of masked words, expected {packed_length(count, bits)}")
    octets = np.frombuffer(stream, dtype=np.uint8)
    if bits == 32:
        return octets.view("<u4")
    if (used := count * bits % 8) and octets[-1] >> used:
        raise DecodeError("a bit after the last masked word is set")
    words = np.zeros((count, 4), dtype=np.uint8)
    for start in range(0, count, CHUNK):
        rows = words[start : start + CHUNK]
        part = octets[start * bits // 8 : packed_length(start + len(rows), bits)]
        if bits % 8 == 0:
            rows[:, : bits // 8] = part.reshape(-1, bits // 8)
        else:
            digits = np.unpackbits(part, count=len(rows) * bits, bitorder="little").reshape(-1, bits)
            filled = np.packbits(digits, axis=1, bitorder="little")
            rows[:, : filled.shape[1]] = filled
    return words.view("<u4").reshape(-1)
