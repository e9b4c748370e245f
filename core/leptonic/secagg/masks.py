"""Masks: keystreams that are added to words and never held.

ChaCha20 (RFC 8439) with a fresh 32-byte key per mask. Segment 0 masks the words of a vector (32 bits each), segment
1 the sums beside it (64 bits each). A mask is expanded in pieces that stay in the cache, and added in place.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from numpy.typing import NDArray

__all__ = ["BLOCK_WORDS", "Mask", "Stream", "add_masks", "add_streams", "add_to_sums", "add_to_words", "together"]

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


@dataclass(frozen=True, slots=True)
class Stream:
    """A keystream that is expanded once for two vectors. plus, minus: which one it is added to, and taken from."""

    key: bytes = field(repr=False)
    plus: int | None
    minus: int | None


def together(many: Sequence[Iterable[Mask]]) -> list[Stream]:
    """The masks of several vectors: what one adds and another takes away, as one stream."""
    alone: defaultdict[Mask, list[int]] = defaultdict(list)
    streams = []
    for vector, masks in enumerate(many):
        for mask in masks:
            if others := alone[Mask(mask.key, not mask.negative)]:
                streams.append(_stream(mask, vector, others.pop()))
            else:
                alone[mask].append(vector)
    return streams + [_stream(mask, vector) for mask, vectors in alone.items() for vector in vectors]


def add_masks(words: NDArray[np.uint32], sums: NDArray[np.uint64], masks: Sequence[Mask]) -> None:
    """Add the masks to a vector's words (d,), modulo 2^32, and to the sums beside it, modulo 2^64; in place."""
    add_to_words(words, masks)
    add_to_sums(sums, masks)


def add_to_words(words: NDArray[np.uint32], masks: Iterable[Mask], *, start: int = 0) -> None:
    """Add the masks to part of a vector, in place. start: where the part begins, a multiple of 16 words."""
    add_streams([words], [_stream(mask, 0) for mask in masks], start=start)


def add_streams(
    parts: Sequence[NDArray[np.uint32]], streams: Iterable[Stream], *, start: int = 0, blank: bool = False
) -> None:
    """The same for several vectors: the same part of each. streams: name them by their places among the parts.

    blank: whether the parts are zero before, whatever lies there.
    """
    if start % BLOCK_WORDS:
        raise ValueError(f"a part of a mask begins at a block of {BLOCK_WORDS} words, not at word {start}")
    _add(parts, streams, segment=_WORDS, block=start // BLOCK_WORDS, blank=blank)


def add_to_sums(sums: NDArray[np.uint64], masks: Iterable[Mask]) -> None:
    """Add the masks to the sums beside a vector, in place."""
    _add([sums], [_stream(mask, 0) for mask in masks], segment=_SUMS, block=0)


def _stream(mask: Mask, vector: int, other: int | None = None) -> Stream:
    """A vector's mask. other: the vector that has its negative."""
    return Stream(mask.key, other, vector) if mask.negative else Stream(mask.key, vector, other)


def _add(
    vectors: Sequence[NDArray[np.uint32]] | Sequence[NDArray[np.uint64]],
    streams: Iterable[Stream],
    *,
    segment: int,
    block: int,
    blank: bool = False,
) -> None:
    untouched = set(range(len(vectors))) if blank else set[int]()
    steps = [(_keystream(each.key, segment, block), _changes(each, untouched)) for each in streams]
    for place in untouched:
        vectors[place][:] = 0
    first = vectors[0]
    piece = bytearray(min(PIECE, first.nbytes))
    whole = np.frombuffer(piece, dtype=first.dtype.newbyteorder("<"))
    step = len(whole)
    for start in range(0, len(first), step or 1):
        parts = [vector[start : start + step] for vector in vectors]
        stream = whole[: len(parts[0])]
        zeros, into = memoryview(_ZEROS)[: parts[0].nbytes], memoryview(piece)[: parts[0].nbytes]
        for cipher, changes in steps:
            # While it is in the cache it is added to both.
            cipher.update_into(zeros, into)
            for begin, change, place in changes:
                if begin is None:
                    change(parts[place], stream, out=parts[place])
                else:
                    begin(stream, out=parts[place])


def _changes(stream: Stream, untouched: set[int]) -> list[tuple[np.ufunc | None, np.ufunc, int]]:
    """What is done with a stream: how a vector that was untouched begins with it, any other changes, and which one."""
    changes: list[tuple[np.ufunc | None, np.ufunc, int]] = []
    for place, begin, change in ((stream.plus, np.positive, np.add), (stream.minus, np.negative, np.subtract)):
        if place is not None:
            changes.append((begin if place in untouched else None, change, place))
            untouched.discard(place)
    return changes


def _keystream(key: bytes, segment: int, block: int) -> CipherContext:
    parameter = block.to_bytes(4, "little") + bytes(8) + segment.to_bytes(4, "little")
    return Cipher(ChaCha20(key, parameter), mode=None).encryptor()
