"""Sums of masks that are expanded before the vectors come to which they are added, those of many vectors at a time.

Where both ends of a pair live in one process, as in a simulation, the keystream of its mask is expanded once: added to
one vector's sum and taken from the other's. A sum is known by the keys of its masks, which each end has derived by
itself: who adds others than were foreseen, for whatever reason, finds none and has them expanded alone.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from itertools import islice
from threading import Condition

from leptonic.secagg.crew import Crew, Job, packed_keys
from leptonic.secagg.masks import BLOCK_WORDS, Mask, Stream, together

__all__ = ["Ahead", "Part"]

MOST = 64
"""Sums at a time: a piece of each should stay in the cache."""
PARTS = 4
"""Jobs for each process, of :data:`LEAST` words each or more: each begins every keystream anew."""
LEAST = 2**16
BLOCK = 4
"""Sums of a block: pieces of two blocks should stay in the cache of one core."""

Part = Callable[[int, int], int]
"""Where a part of a sum lies. Arguments: its start and length, in words."""
Name = tuple[int, tuple[tuple[bytes, bool], ...]]
"""Words of a sum; key and sign of each mask."""


class Ahead:
    """Where the sums lie. first, room: a range of the memory that a crew shares, in words."""

    def __init__(self, first: int, room: int) -> None:
        self._first, self._room = first, room
        self._sums: dict[Name, int] = {}
        self._jobs: list[Future[bytes]] = []
        self._step = 1
        self._readers, self._changed = 0, Condition()

    def fitting(self, length: int, many: Iterable[Sequence[Mask]]) -> list[Sequence[Mask]]:
        """Those for whose sums of so many words there is room; after them all, what is taken away from the sum of all.

        That are the masks which do not cancel in it.
        """
        most = min(MOST, self._room // _whole(length))
        fitting = list(islice(many, most))
        return [*fitting, _left_over(fitting)] if len(fitting) < most else fitting

    def begin(self, crew: Crew, length: int, many: Sequence[Sequence[Mask]]) -> None:
        """Have these sums expanded, in place of earlier ones. length: of each, in words. many: see :meth:`fitting`."""
        self._forget()
        size = _whole(length)
        firsts = [self._first + index * size for index in range(len(many))]
        keys = packed_keys(_nearby(together(many), len(many)))
        self._step = max(LEAST, _whole(-(-size // (PARTS * len(crew.workers)))))
        for at in range(0, length, self._step):
            job = Job(tuple(first + at for first in firsts), min(self._step, length - at), at, blank=True)
            self._jobs.append(crew.hand(job, keys))
        with self._changed:
            self._sums = {_name(length, masks): first for masks, first in zip(many, firsts, strict=True)}

    @contextmanager
    def sum_of(self, length: int, masks: Sequence[Mask]) -> Iterator[Part | None]:
        """The sum of these masks, in so many words, which is taken once; None if it was not foreseen.

        Each part of it is waited for when it is asked for; that raises RunError if a process has died.
        """
        with self._changed:
            first = self._sums.pop(_name(length, masks), None)
            self._readers += first is not None

        def part(start: int, count: int) -> int:
            assert first is not None
            for job in self._jobs[start // self._step : -(-(start + count) // self._step)]:
                job.result()
            return first + start

        try:
            yield None if first is None else part
        finally:
            with self._changed:
                self._readers -= first is not None
                self._changed.notify_all()

    def _forget(self) -> None:
        """Wait until nobody reads or writes there."""
        with self._changed:
            self._sums.clear()
            self._changed.wait_for(lambda: not self._readers)
        wait(self._jobs)
        self._jobs.clear()


def _left_over(many: Sequence[Sequence[Mask]]) -> list[Mask]:
    """What takes away from the sum of these vectors the masks that do not cancel in it."""
    alone = (each for each in together(many) if each.plus is None or each.minus is None)
    return [Mask(each.key, negative=each.plus is not None) for each in alone]


def _nearby(streams: Sequence[Stream], sums: int) -> list[Stream]:
    """In an order in which those that follow one another are added to the same few sums.

    Sums that share streams come to lie in one block or the next; streams are ordered by the blocks of their ends.
    """
    beside: list[list[int]] = [[] for _ in range(sums)]
    for each in streams:
        if each.plus is not None and each.minus is not None:
            beside[each.plus].append(each.minus)
            beside[each.minus].append(each.plus)
    # Next comes the one that shares most with those that came last.
    near, left, block = [0] * sums, list(range(sums)), dict[int | None, int]()
    for turn in range(1, sums + 1):
        left.remove(place := max(left, key=near.__getitem__))
        block[place] = turn // BLOCK
        for other in beside[place]:
            near[other] += turn

    def blocks(stream: Stream) -> list[int]:
        return sorted((block.get(stream.plus, 0), block.get(stream.minus, 0)), reverse=True)

    return sorted(streams, key=blocks)


def _whole(words: int) -> int:
    """So many words in whole blocks of keystream."""
    return -(-words // BLOCK_WORDS) * BLOCK_WORDS


def _name(length: int, masks: Iterable[Mask]) -> Name:
    return length, tuple(sorted((mask.key, mask.negative) for mask in masks))
