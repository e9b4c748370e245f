"""Who expands masks: this process, or workers on several cores.

The generator does not let go of Python's lock, so that other cores are reached by processes alone. A worker is sent
keys and a range; it leaves the sum of the masks over that range in memory that it shares with this process, which adds
it. Keys go through pipes to children of this process, and nowhere else.
"""

import os
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from threading import Lock
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from leptonic import child
from leptonic.errors import RunError
from leptonic.secagg.masks import BLOCK_WORDS, Mask, add_masks, add_to_sums, add_to_words
from leptonic.shared_memory import SharedBytes

__all__ = ["Expansion", "Here", "Workers"]

SLOT_WORDS = 2**19
"""Words that a worker works on at a time."""
SLOTS = 2
"""Ranges that a worker has at a time: one that it works on, and the next."""
WORTH_IT = 2**21
"""Words of keystream below which handing them over costs more than it saves: some milliseconds of one core."""

_JOB = struct.Struct("<QQII")
"""start, words, slot, masks; then the masks, each as key and sign."""
_MASK = struct.Struct("<32s?")
_DONE = b"."


class Expansion(Protocol):
    """Adds masks to a vector and the sums beside it."""

    def add(self, words: NDArray[np.uint32], sums: NDArray[np.uint64], masks: Sequence[Mask]) -> None:
        """Add them, in place, modulo 2^32 and 2^64."""
        ...

    def close(self) -> None:
        """End what it started."""
        ...


class Here:
    """Expands masks in this process, on one core."""

    def add(self, words: NDArray[np.uint32], sums: NDArray[np.uint64], masks: Sequence[Mask]) -> None:
        """Add them, in place."""
        add_masks(words, sums, masks)

    def close(self) -> None:
        """There is nothing to end."""


class Workers:
    """Expands masks in so many processes, which are started when there is enough to do."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._workers: list[_Worker] = []
        self._lock = Lock()

    def add(self, words: NDArray[np.uint32], sums: NDArray[np.uint64], masks: Sequence[Mask]) -> None:
        """Add them, in place. Raises RunError if a worker has died; the vector is of no use then."""
        if self._count < 2 or len(words) * len(masks) < WORTH_IT:
            add_masks(words, sums, masks)
            return
        with self._lock:
            self._add(words, masks)
        add_to_sums(sums, masks)

    def _add(self, words: NDArray[np.uint32], masks: Sequence[Mask]) -> None:
        if not self._workers:
            self._workers = [_Worker() for _ in range(self._count)]
        keys = b"".join(_MASK.pack(mask.key, mask.negative) for mask in masks)
        ranges = deque(_ranges(len(words), self._count * SLOTS))
        busy = deque[_Worker]()
        for _ in range(SLOTS):
            for worker in self._workers:
                if ranges:
                    worker.hand(*ranges.popleft(), keys, len(masks))
                    busy.append(worker)
        while busy:
            worker = busy.popleft()
            start, part = worker.take()
            words[start : start + len(part)] += part
            if ranges:
                worker.hand(*ranges.popleft(), keys, len(masks))
                busy.append(worker)

    def close(self) -> None:
        """End the workers."""
        for worker in self._workers:
            worker.close()
        self._workers = []


class _Worker:
    """One process, and the ranges that it has."""

    def __init__(self) -> None:
        self._memory = SharedBytes(4 * SLOTS * SLOT_WORDS)
        self._slots = np.frombuffer(self._memory.view, np.uint32).reshape(SLOTS, SLOT_WORDS)
        self._free, self._given = deque(range(SLOTS)), deque[tuple[int, int, int]]()
        self._process = child.started(
            "leptonic.secagg.expansion",
            self._memory.descriptor,
            descriptors=[self._memory.descriptor],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def hand(self, start: int, count: int, keys: bytes, masks: int) -> None:
        """Give it a range; it must have a free slot."""
        slot = self._free.popleft()
        self._given.append((start, count, slot))
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(_JOB.pack(start, count, slot, masks) + keys)
        except OSError:
            raise _died() from None

    def take(self) -> tuple[int, NDArray[np.uint32]]:
        """Wait for the range that it was given first: where it starts, and the sum of the masks."""
        assert self._process.stdout is not None
        if self._process.stdout.read(1) != _DONE:
            raise _died()
        start, count, slot = self._given.popleft()
        self._free.append(slot)
        return start, self._slots[slot, :count]

    def close(self) -> None:
        """Let it end."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        self._process.wait()
        self._slots = np.empty((0, 0), np.uint32)
        self._memory.close()


def main() -> None:
    """Expand what this worker's parent asks for, until it says no more. Arguments: the shared memory's descriptor."""
    memory = SharedBytes(4 * SLOTS * SLOT_WORDS, int(sys.argv[1]))
    slots = np.frombuffer(memory.view, np.uint32).reshape(SLOTS, SLOT_WORDS)
    with os.fdopen(0, "rb") as asked:
        while header := asked.read(_JOB.size):
            start, count, slot, masks = _JOB.unpack(header)
            keys = asked.read(masks * _MASK.size)
            part = slots[slot, :count]
            part[:] = 0
            add_to_words(part, [Mask(key, negative) for key, negative in _MASK.iter_unpack(keys)], start=start)
            os.write(1, _DONE)


def _ranges(words: int, parts: int) -> Iterator[tuple[int, int]]:
    """The vector in ranges that begin at blocks of keystream, about so many of them or more."""
    length = min(SLOT_WORDS, -(-words // (parts * BLOCK_WORDS)) * BLOCK_WORDS)
    for start in range(0, words, length):
        yield start, min(length, words - start)


def _died() -> RunError:
    return RunError("a process that expands masks has died: start again; the machine may be short of memory")
