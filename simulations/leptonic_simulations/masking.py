"""Masks what clients have trained, a few at a time, in memory that is used again: some vectors, whatever the cohort.

While one client's input is taken, the next ones' are masked by other processes.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from mmap import PAGESIZE

from leptonic.pipeline import Pipeline
from leptonic.secagg.expansion import Expansion
from leptonic.secagg.trips import HEADER_LIMIT
from leptonic.wire import Reply

__all__ = ["Masking"]

AHEAD = 2
"""Clients whose inputs are masked while an earlier one is taken, at least; at most as many for each process."""
AHEAD_BYTES = 2**21
"""Bytes that each process is to have before it meanwhile."""

Replies = Iterator[tuple[Reply, bytes | memoryview]]


class Masking:
    """Masks replies in their order.

    mask: makes a client's answer in the memory that is given to it, of what the client has trained there; it is called
    by threads. expansion: what that uses.
    """

    def __init__(self, pipeline: Pipeline, expansion: Expansion, mask: Callable[[int, memoryview], memoryview]) -> None:
        self._pipeline, self._expansion, self._mask = pipeline, expansion, mask
        self._length = pipeline.encoded_length + HEADER_LIMIT
        enough = -(-expansion.processes * AHEAD_BYTES // self._length)
        self._ahead = max(AHEAD, min(enough, AHEAD * expansion.processes))
        self._free, self._next = self._slots(), memoryview(b"")
        self._threads = ThreadPoolExecutor(self._ahead, thread_name_prefix="masking")

    def answers(self, trained: Replies) -> Replies:
        """The answers; each one's bytes hold until the next is asked for. trained: what the clients' work gave."""
        # Whoever is still at an earlier cohort keeps its own.
        free, self._free = self._free or self._slots(), []
        begun = deque[_Begun]()
        try:
            while (asked := self._asked(trained, free)) is not None:
                reply, encoded = asked
                if reply.status != "done":
                    yield reply, encoded
                    continue
                begun.append(self._begin(reply, encoded, free))
                if len(begun) > self._ahead:
                    yield begun[0].answer()
                    free.append(begun.popleft().slot)
            while begun:
                yield begun[0].answer()
                free.append(begun.popleft().slot)
        finally:
            for each in begun:
                each.masked.exception()
                free.append(each.slot)
            self._free = free

    def room(self) -> memoryview:
        """Where the client whose work is asked for now may encode it, so that it is not copied."""
        return self._next

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown()
        self._free, self._next = [], memoryview(b"")

    def _slots(self) -> list[memoryview]:
        step, count = -(-self._length // PAGESIZE) * PAGESIZE, self._ahead + 1
        room = self._expansion.room(count * step)
        return [room[start : start + self._length] for start in range(0, count * step, step)]

    def _asked(self, trained: Replies, free: list[memoryview]) -> tuple[Reply, bytes | memoryview] | None:
        """The next of what was trained, perhaps in the last of these slots."""
        self._next = free[-1][: self._pipeline.encoded_length]
        return next(trained, None)

    def _begin(self, reply: Reply, encoded: bytes | memoryview, free: list[memoryview]) -> "_Begun":
        """Have a client's input masked, in memory of its own: the engine's is used again."""
        self._pipeline.from_bytes(memoryview(encoded))  # which says what is wrong with its length
        slot = free.pop()
        if encoded is not self._next:
            slot[: len(encoded)] = encoded
        return _Begun(reply, slot, self._threads.submit(self._mask, reply.client, slot))


@dataclass(frozen=True)
class _Begun:
    """A client whose input is masked in a slot."""

    reply: Reply
    slot: memoryview
    masked: Future[memoryview]

    def answer(self) -> tuple[Reply, memoryview]:
        """Its answer, which lies there."""
        return self.reply, self.masked.result()
