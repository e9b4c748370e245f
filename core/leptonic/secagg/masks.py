"""Masks: keystreams that are added to words and never held.

ChaCha20 (RFC 8439) with a fresh 32-byte key per mask. Segment 0 masks the words of a vector (32 bits each), segment
1 the sums beside it (64 bits each). A mask is expanded in pieces that stay in the cache, and added in place.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from numpy.typing import NDArray

__all__ = ["BLOCK_WORDS", "Mask", "add_masks", "add_to_sums", "add_to_words"]

PIECE = 2**17
"""Bytes of keystream made at a time."""
BLOCK_WORDS = 16
"""Words of 32 bits in one block of keystream."""
_ZEROS = bytes(PIECE)
_WORDS, _SUMS = 0, 1


@dataclass(frozen=True, slots=True)
class Mask:
    """A mask and its sign. key: 32 bytes, used for nothing else."""

    key: bytes = field(repr=False)
    negative: bool = False


def add_masks(words: NDArray[np.uint32], sums: NDArray[np.uint64], masks: Sequence[Mask]) -> None:
    """Add the masks to a vector's words (d,), modulo 2^32, and to the sums beside it, modulo 2^64; in place."""
    add_to_words(words, masks)
    add_to_sums(sums, masks)


def add_to_words(words: NDArray[np.uint32], masks: Iterable[Mask], *, start: int = 0) -> None:
    """Add the masks to part of a vector, in place. start: where the part begins, a multiple of 16 words."""
    if start % BLOCK_WORDS:
        raise ValueError(f"a part of a mask begins at a block of {BLOCK_WORDS} words, not at word {start}")
    _add(words, masks, segment=_WORDS, block=start // BLOCK_WORDS)


def add_to_sums(sums: NDArray[np.uint64], masks: Iterable[Mask]) -> None:
    """Add the masks to the sums beside a vector, in place."""
    _add(sums, masks, segment=_SUMS, block=0)


def _add(words: NDArray[np.uint32] | NDArray[np.uint64], masks: Iterable[Mask], *, segment: int, block: int) -> None:
    streams = [(_keystream(mask.key, segment, block), mask.negative) for mask in masks]
    piece = bytearray(min(PIECE, words.nbytes))
    stream = np.frombuffer(piece, dtype=words.dtype.newbyteorder("<"))
    step = len(stream)
    for start in range(0, len(words), step or 1):
        part = words[start : start + step]
        zeros, into = memoryview(_ZEROS)[: part.nbytes], memoryview(piece)[: part.nbytes]
        for cipher, negative in streams:
            cipher.update_into(zeros, into)
            (np.subtract if negative else np.add)(part, stream[: len(part)], out=part)


def _keystream(key: bytes, segment: int, block: int) -> CipherContext:
    parameter = block.to_bytes(4, "little") + bytes(8) + segment.to_bytes(4, "little")
    return Cipher(ChaCha20(key, parameter), mode=None).encryptor()
