"""Who expands masks: this process, or workers on several cores.

The generator does not let go of Python's lock, so that other cores are reached by processes alone. A vector that lies
in memory which the workers see is masked where it lies. Of any other they leave the sum of the masks over one range
after another in memory that they share with this process, which adds it. Masks that were announced are expanded
ahead, see :mod:`leptonic.secagg.ahead`.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from threading import Lock
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from leptonic.secagg.ahead import Ahead, Part
from leptonic.secagg.crew import Crew, Job, packed_keys
from leptonic.secagg.long_digest import PIECE, leaves, long_digest, root
from leptonic.secagg.masks import BLOCK_WORDS, Mask, add_masks, add_to_sums, together
from leptonic.shared_memory import SharedBytes

__all__ = ["Expansion", "Here", "Workers"]

SLOT_WORDS = 2**19
"""Words that a worker works on at a time."""
SLOTS = 2
"""Ranges that a worker has at a time: one that it works on, and the next."""
WORTH_IT = 2**21
"""Words of keystream below which handing them over costs more than it saves: some milliseconds of one core."""

Words = NDArray[np.uint32]
Sums = NDArray[np.uint64]


class Expansion(Protocol):
    """Adds masks to a vector and the sums beside it. processes: how many work at a time."""

    processes: int

    def add(self, words: Words, sums: Sums, masks: Sequence[Mask]) -> None:
        """Add them, in place, modulo 2^32 and 2^64."""
        ...

    def add_and_hash(self, words: Words, sums: Sums, masks: Sequence[Mask]) -> bytes:
        """The same; returns the :func:`long_digest` of both afterwards, as little-endian bytes."""
        ...

    def announce(self, words: int, many: Iterable[Sequence[Mask]]) -> None:
        """Each of these groups of masks will be added to a vector of so many words: whoever can begins now.

        Groups for which there is no room are not asked for.
        """
        ...

    def room(self, length: int) -> memoryview:
        """So many bytes in which vectors are masked fastest; those of an earlier call are of no use any more."""
        ...

    def close(self) -> None:
        """End what it started."""
        ...


class Here:
    """Expands masks in this process, on one core."""

    processes = 1

    def add(self, words: Words, sums: Sums, masks: Sequence[Mask]) -> None:
        """Add them, in place."""
        add_masks(words, sums, masks)

    def add_and_hash(self, words: Words, sums: Sums, masks: Sequence[Mask]) -> bytes:
        """Add them, in place; the digest of what came of it."""
        add_masks(words, sums, masks)
        return _digest(words, sums)

    def announce(self, words: int, many: Iterable[Sequence[Mask]]) -> None:
        """Nobody would begin earlier."""

    def room(self, length: int) -> memoryview:
        """Memory like any other."""
        return memoryview(bytearray(length))

    def close(self) -> None:
        """There is nothing to end."""


class Workers:
    """Expands masks in so many processes, which are started when there is enough to do.

    ahead: bytes at most for what is expanded ahead.
    """

    def __init__(self, count: int, *, ahead: int = 0) -> None:
        self.processes, self._room_ahead = count, ahead // 4
        self._lock = Lock()
        self._memory: SharedBytes | None = None
        self._words: Words = np.empty(0, np.uint32)
        self._slots = SimpleQueue[int]()
        self._ahead = Ahead(0, self._room_ahead)
        self._crew: Crew | None = None

    def add(self, words: Words, sums: Sums, masks: Sequence[Mask]) -> None:
        """Add them, in place. Raises RunError if a worker has died; the vector is of no use then."""
        first = self._place(words)
        with self._ahead.sum_of(len(words), masks) as summed:
            if summed is None and self._is_little(len(words), [masks]):
                add_masks(words, sums, masks)
                return
            if first is not None:
                self._add_in_place(first, len(words), masks, summed, hashed=False)
            elif summed is not None:
                at = summed(0, len(words))
                words += self._words[at : at + len(words)]
            else:
                self._add_to_foreign(self._start(), words, masks)
        add_to_sums(sums, masks)

    def add_and_hash(self, words: Words, sums: Sums, masks: Sequence[Mask]) -> bytes:
        """Add them, in place; the digest of what came of it. Raises RunError as :meth:`add`."""
        first = self._place(words)
        if first is None or self._is_little(len(words), [masks]):
            self.add(words, sums, masks)
            return _digest(words, sums)
        with self._ahead.sum_of(len(words), masks) as summed:
            hashes = self._add_in_place(first, len(words), masks, summed, hashed=True)
        add_to_sums(sums, masks)
        return root((words.nbytes, sums.nbytes), [*hashes, *leaves(_octets(sums))])

    def announce(self, words: int, many: Iterable[Sequence[Mask]]) -> None:
        """Begin with as many of them as there is room for ahead; what was announced before is forgotten."""
        if self.processes < 2 or not 0 < words <= self._room_ahead:
            return
        fitting = self._ahead.fitting(words, many)
        if not self._is_little(words, fitting):
            crew = self._start()
            self._ahead.begin(crew, words, fitting)

    def room(self, length: int) -> memoryview:
        """Memory that the workers see. Those who do not are ended."""
        self.close()
        if self.processes < 2:
            return memoryview(bytearray(length))
        view = self._share(length)
        return view[len(view) - length :]

    def close(self) -> None:
        """End the workers."""
        if self._crew is not None:
            self._crew.close()
        if self._memory is not None:
            self._words = np.empty(0, np.uint32)
            self._memory.close()
        self._crew, self._memory, self._ahead = None, None, Ahead(0, self._room_ahead)

    def _is_little(self, words: int, many: Sequence[Sequence[Mask]]) -> bool:
        return self.processes < 2 or words * sum(map(len, many)) < WORTH_IT

    def _share(self, room: int) -> memoryview:
        """Make the shared memory: slots, what is expanded ahead, then room for whole vectors."""
        slots = self.processes * SLOTS
        self._ahead = Ahead(slots * SLOT_WORDS, self._room_ahead)
        # What is never written takes no memory.
        self._memory = SharedBytes(4 * (slots * SLOT_WORDS + self._room_ahead) + room)
        self._words = np.frombuffer(self._memory.view[: self._memory.length // 4 * 4], np.uint32)
        self._slots = SimpleQueue()
        for slot in range(slots):
            self._slots.put(slot)
        return self._memory.view

    def _start(self) -> Crew:
        """The processes, which are started where there are none."""
        with self._lock:
            if self._memory is None:
                self._share(0)
            if self._crew is None:
                assert self._memory is not None
                self._crew = Crew(self.processes, self._memory)
            return self._crew

    def _place(self, words: Words) -> int | None:
        """Where these words begin in the shared memory; None for any other."""
        at, rest = divmod(_address(words) - _address(self._words), 4)
        inside = not rest and 0 <= at <= len(self._words) - len(words) and words.flags.c_contiguous
        return at if inside and self._memory is not None else None

    def _slot(self, *, wait: bool) -> int | None:
        """A slot that nobody has; None if there is none and it is not waited for."""
        try:
            return self._slots.get(block=wait)
        except Empty:
            return None

    def _add_in_place(
        self, first: int, count: int, masks: Sequence[Mask], summed: Part | None, *, hashed: bool
    ) -> list[bytes]:
        """Have the masks, or their sum, added where the words lie; the hashes of their pieces, if wanted."""
        crew, step = self._start(), PIECE // 4
        keys = b"" if summed is not None else packed_keys(together([masks]))
        pending = []
        for at in range(0, count, step):
            length = min(step, count - at)
            besides = None if summed is None else summed(at, length)
            pending.append(crew.hand(Job((first + at,), length, at, besides, hashed=hashed), keys))
        return [each.result() for each in pending]

    def _add_to_foreign(self, crew: Crew, words: Words, masks: Sequence[Mask]) -> None:
        """Add the sums of the masks over ranges as they come out of slots."""
        keys = packed_keys(together([masks]))
        pending = deque[tuple[int, int, int, Future[bytes]]]()

        def finish() -> None:
            slot, start, count, done = pending.popleft()
            try:
                done.result()
                words[start : start + count] += self._words[slot * SLOT_WORDS : slot * SLOT_WORDS + count]
            finally:
                self._slots.put(slot)

        for start, count in _ranges(len(words), self.processes * SLOTS):
            # Whoever holds slots empties one of them, and does not wait for others who may wait for its own.
            while (slot := self._slot(wait=not pending)) is None:
                finish()
            job = Job((slot * SLOT_WORDS,), count, start, blank=True)
            pending.append((slot, start, count, crew.hand(job, keys)))
        while pending:
            finish()


def _ranges(words: int, parts: int) -> Iterator[tuple[int, int]]:
    """The vector in ranges that begin at blocks of keystream, about so many of them or more."""
    length = min(SLOT_WORDS, -(-words // (parts * BLOCK_WORDS)) * BLOCK_WORDS)
    for start in range(0, words, length):
        yield start, min(length, words - start)


def _address(words: Words) -> int:
    return int(words.__array_interface__["data"][0])


def _octets(words: Words | Sums) -> memoryview:
    return np.ascontiguousarray(words, dtype=words.dtype.newbyteorder("<")).data.cast("B")


def _digest(words: Words, sums: Sums) -> bytes:
    return long_digest(_octets(words), _octets(sums))
