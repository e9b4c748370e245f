"""Named, reproducible streams for training, and secure streams for protection.

A reproducible stream is named by the experiment's seed and a path such as ``("training", client, round)``.
Clients are named by their roster index, never by a network id or by arrival, so that a run repeats.
Protective noise and secret sampling come from :class:`SecureStream` instead (DESIGN, invariant 6).
"""

import hashlib
import operator
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from numpy.random.bit_generator import ISeedSequence
from numpy.typing import NDArray

from leptonic.errors import PrivacyError

__all__ = ["SecureStream", "derive", "distinct", "distinct_each", "generator", "torch_stream"]

Name = str | int

_ZEROS = memoryview(bytes(2**16))
"""What is encrypted: in the cache, and not made anew for every call."""

_ONE = np.uint64(0x3FF0000000000000)
"""The bits of 1.0."""


def derive(seed: int, *path: Name) -> int:
    """A 63-bit seed for the stream called ``path``; different paths give independent streams.

    Text and integers differ (``"1"`` is not ``1``); NumPy integers name the same stream as Python's.
    """
    return int.from_bytes(hashlib.sha256(_name(seed, *path)).digest()[:8], "little") >> 1


class _Digest(ISeedSequence):
    """The SHA-256 hash of a stream's name, which PCG64 begins with as it is: NumPy's own spreading takes longer."""

    def __init__(self, name: bytes) -> None:
        self._words = np.frombuffer(hashlib.sha256(name).digest(), "<u8").astype(np.uint64, copy=False)

    def generate_state(self, n_words: int, dtype: Any = np.uint64) -> NDArray[np.uint64]:
        """See NumPy. n_words: four of 64 bits, the state and the increment of PCG64."""
        if n_words != len(self._words) or dtype is not np.uint64:
            raise ValueError(f"a hash is four words of 64 bits, and {n_words} of {dtype} are asked for")
        return self._words


def generator(seed: int, *path: Name) -> np.random.Generator:
    """A NumPy generator for the stream called ``path``."""
    # Typed as if it took NumPy's own class alone.
    return np.random.Generator(np.random.PCG64(_Digest(_name(seed, *path))))  # type: ignore[arg-type]


def distinct(seed: int, *path: Name, below: int, count: int) -> NDArray[np.int64]:
    """So many different integers below a bound, ascending, of the stream called ``path``: any set as likely as another.

    The first different ones of uniform draws, which are SHAKE-256 in words of 64 bits. For few out of many: a
    generator takes longer to seed than this takes.
    """
    if not 0 <= count <= below:
        raise ValueError(f"{count} different integers below {below} do not exist")
    stream, words = hashlib.shake_256(_name(seed, *path)), count
    while True:
        draws = _reduced(stream.digest(8 * words), below)
        if words == count:
            ordered = np.sort(draws)
            if (ordered[1:] != ordered[:-1]).all():
                return ordered
        else:
            _, first = np.unique(draws, return_index=True)
            if len(first) >= count:
                return np.sort(draws[np.sort(first)[:count]])
        words = 2 * words


def distinct_each(seed: int, *path: Name, last: Sequence[int], below: int, count: int) -> NDArray[np.int64]:
    """What :func:`distinct` gives for each of the streams called (*path, number of ``last``), (numbers, count)."""
    if count > below:
        raise ValueError(f"{count} different integers below {below} do not exist")
    start = _name(seed, *path)
    words = b"".join([hashlib.shake_256(start + _number(each)).digest(8 * count) for each in last])
    drawn = _reduced(words, below).reshape(len(last), count)
    drawn.sort(axis=1)
    for row in np.flatnonzero((drawn[:, 1:] == drawn[:, :-1]).any(axis=1)):
        drawn[row] = distinct(seed, *path, last[int(row)], below=below, count=count)
    return drawn


def _reduced(words: bytes, below: int) -> NDArray[np.int64]:
    """Words of 64 bits, each brought below a bound."""
    return (np.frombuffer(words, "<u8") % np.uint64(max(1, below))).astype(np.int64)


def _name(seed: int, *path: Name) -> bytes:
    """One stream's name in bytes; no other has the same."""
    return b"".join([_text(part) if isinstance(part, str) else _number(part) for part in (seed, *path)])


@lru_cache
def _text(part: str) -> bytes:
    return _sized(f"str:{part}".encode())


def _number(part: int) -> bytes:
    return _sized(b"int:%d" % operator.index(part))


def _sized(content: bytes) -> bytes:
    """Length first: no part can run into the next, whatever characters it holds."""
    return len(content).to_bytes(8, "little") + content


@contextmanager
def torch_stream(seed: int, *path: Name) -> Iterator[None]:
    """Run torch's global generators (initialisation, dropout) on the stream called ``path``.

    The state of the CPU generator, and of the CUDA generators where in use, is restored afterwards.
    """
    import torch

    with torch.random.fork_rng():
        number = derive(seed, *path)
        # Not torch.manual_seed: where an accelerator sleeps, each call queues a seed and a stack trace for ever.
        torch.default_generator.manual_seed(number)
        if torch.cuda.is_initialized():
            torch.cuda.manual_seed_all(number)
        if torch.backends.mps.is_available():
            torch.mps.manual_seed(number)
        yield


class SecureStream:
    """Words, and uniform and normal draws, from a ChaCha20 keystream (RFC 8439; zero nonce, counter from 0).

    The 256-bit key comes from the operating system unless given; a given key makes the draws repeatable,
    which only a simulation that says so may do. Each call takes fresh keystream.

    The bits are those of a cryptographic generator, but uniform and normal draws are floating-point numbers,
    not samples of the real-valued law: what such numbers give away (Mironov 2012) is for the user of the draws
    to bound. :mod:`leptonic.privacy.integer_noise` makes exact integer draws of the words.
    """

    def __init__(self, key: bytes | None = None) -> None:
        key = os.urandom(32) if key is None else key
        if len(key) != 32:
            raise PrivacyError(f"a secure stream needs a key of 32 bytes, not {len(key)}: leave it out to draw one")
        self._keystream = Cipher(ChaCha20(key, bytes(16)), mode=None).encryptor()
        self._process = os.getpid()

    def words(self, count: int) -> NDArray[np.uint64]:
        """``count`` draws, uniform on the integers in [0, 2^64). Returns (count,) uint64."""
        if os.getpid() != self._process:
            # Parent and child would draw the same noise, and the difference of two updates would be bare.
            raise PrivacyError("a secure stream was copied into another process: make it where it is used")
        drawn = np.empty(8 * count, dtype=np.uint8)
        for start in range(0, len(drawn), len(_ZEROS)):
            part = drawn[start : start + len(_ZEROS)]
            self._keystream.update_into(_ZEROS[: len(part)], part.data)
        return drawn.view("<u8").astype(np.uint64, copy=False)

    def uniform(self, count: int) -> NDArray[np.float64]:
        """``count`` draws, uniform on the 2^52 midpoints of (0, 1); never 0 or 1. Returns (count,) float64.

        52 bits, since with 53 the last midpoint is no float64 and would round to 1.
        """
        words = self.words(count)
        words >>= np.uint64(12)
        words |= _ONE
        # These are the bits of the 2^52 numbers in [1, 2); half a step less than 1 moves them to the midpoints.
        uniform = words.view(np.float64)
        uniform -= 1.0 - 2.0**-53
        return uniform

    def normal(self, count: int) -> NDArray[np.float64]:
        """``count`` standard normal draws by Box and Muller, within 8.6. Returns (count,) float64."""
        half = (count + 1) // 2
        radius = np.sqrt(-2.0 * np.log(self.uniform(half)))
        angle = (2.0 * np.pi) * self.uniform(half)
        return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count]


def noise_stream(seed: int, *path: Name, seeded: bool) -> SecureStream:
    """A stream for noise that protects somebody; ``seeded`` by the experiment, it protects nobody, and repeats."""
    if not seeded:
        return SecureStream()
    return SecureStream(hashlib.sha256(derive(seed, *path).to_bytes(8, "little")).digest())
