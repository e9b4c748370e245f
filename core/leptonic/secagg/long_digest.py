"""The hash of long content: SHA-256 over hashes of its pieces, which several cores can take at a time.

Pieces are hashed by BLAKE2b (RFC 7693): without instructions for SHA it is twice as fast as SHA-256, and hashing takes
as long as a handful of masks.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np

__all__ = ["PIECE", "LongDigest", "leaf", "leaves", "long_digest", "root"]

PIECE = 2**20
"""Bytes of a piece."""
_ROOT = b"leptonic-secagg/1/pieces\x00"


def long_digest(*parts: bytes | memoryview) -> bytes:
    """32 bytes for parts of any length, each of which has its own pieces behind its length."""
    views = [memoryview(part).cast("B") for part in parts]
    pieces = [piece for view in views for piece in _pieces(view)]
    return root(map(len, views), map(leaf, pieces) if len(pieces) < 3 else _threads().map(leaf, pieces))


def root(lengths: Iterable[int], hashes: Iterable[bytes]) -> bytes:
    """The digest of parts of these lengths, whose pieces have these hashes."""
    digest = hashlib.sha256(_ROOT)
    for length in lengths:
        digest.update(length.to_bytes(8, "little"))
    for each in hashes:
        digest.update(each)
    return digest.digest()


def leaves(part: memoryview) -> Iterator[bytes]:
    """The hashes of a part's pieces."""
    return map(leaf, _pieces(part))


def leaf(piece: memoryview) -> bytes:
    """The hash of a piece."""
    return hashlib.blake2b(piece, digest_size=32, person=b"leptonic-secagg1").digest()


class LongDigest:
    """A :func:`long_digest` that remembers what it was told: for a simulation, whose two sides hold the same memory."""

    def __init__(self) -> None:
        self._known: dict[tuple[tuple[int, int], ...], bytes] = {}
        self._computed: tuple[bytes, bytes] | None = None

    def know(self, digest: bytes, *parts: memoryview) -> None:
        """What lies in this memory has this digest, until it is asked for or told again."""
        self._known[tuple(map(_place, parts))] = digest

    def __call__(self, *parts: bytes | memoryview) -> bytes:
        """The digest; what was told, or computed of bytes that cannot change, is asked for once more."""
        content = parts[0] if len(parts) == 1 else None
        if not isinstance(content, bytes):
            return self._known.pop(tuple(map(_place, parts)), None) or long_digest(*parts)
        before, self._computed = self._computed, None
        if before is not None and before[0] is content:
            return before[1]
        digest = long_digest(content)
        self._computed = content, digest
        return digest


def _pieces(view: memoryview) -> Iterator[memoryview]:
    for start in range(0, len(view), PIECE):
        yield view[start : start + PIECE]


def _place(content: bytes | memoryview) -> tuple[int, int]:
    """Where it lies in memory, and its length."""
    octets = np.frombuffer(content, np.uint8)
    return int(octets.__array_interface__["data"][0]), len(octets)


@cache
def _threads() -> ThreadPoolExecutor:
    """Hashing long pieces lets go of Python's lock."""
    return ThreadPoolExecutor(min(4, os.cpu_count() or 1), thread_name_prefix="digest")
