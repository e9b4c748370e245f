"""Processes that expand masks in memory which they share with this one, each on a core of its own.

A job names ranges of that memory and brings the keys of their masks. Keys go through pipes to children of this process,
and nowhere else. A process is given its next job while it works on one, so that it never waits for this one's lock.
"""

import os
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock, Thread

import numpy as np

from leptonic import child
from leptonic.errors import RunError
from leptonic.secagg.long_digest import leaf
from leptonic.secagg.masks import Stream, add_streams
from leptonic.shared_memory import SharedBytes

__all__ = ["Crew", "Job", "packed_keys"]

GIVEN = 2
"""Jobs that a process has at a time: one that it works on, and the next."""

_JOB = struct.Struct("<QQqII??")
"""words, start, besides, ranges, streams, blank, hashed; then where the ranges begin, and the streams."""
_FIRST = struct.Struct("<Q")
_STREAM = struct.Struct("<32sii")
"""key, plus, minus."""
_NONE = -1
_ANSWER = 32
"""Bytes of an answer: the first range's hash, zeros where none is wanted."""


@dataclass(frozen=True, slots=True)
class Job:
    """Adds masks to ranges of the shared memory, one of each vector.

    firsts: where they begin, in words of 32 bits. words: the length of each. start: the word of each mask at which they
    begin. besides: where a range begins that is added to the first one. blank: whether the ranges are zero before,
    whatever lies there. hashed: whether the first one's :func:`leaf` is wanted afterwards.
    """

    firsts: tuple[int, ...]
    words: int
    start: int
    besides: int | None = None
    blank: bool = False
    hashed: bool = False


def packed_keys(streams: Sequence[Stream]) -> bytes:
    """The streams of a job as they are handed over."""
    return b"".join(_STREAM.pack(each.key, _number(each.plus), _number(each.minus)) for each in streams)


def _number(place: int | None) -> int:
    return _NONE if place is None else place


def _place(number: int) -> int | None:
    return None if number == _NONE else number


class Crew:
    """So many processes over one memory; any thread may hand them jobs."""

    def __init__(self, count: int, memory: SharedBytes) -> None:
        self._lock = Lock()
        self._waiting = deque[tuple[bytes, Future[bytes]]]()
        self._over = False
        self.workers = [_Worker(memory) for _ in range(count)]
        self._threads = [
            Thread(target=self._attend, args=(worker,), name="expanding", daemon=True) for worker in self.workers
        ]
        for thread in self._threads:
            thread.start()

    def hand(self, job: Job, keys: bytes) -> Future[bytes]:
        """Have it done; the answer is the first range's hash. keys: see :func:`packed_keys`.

        The answer raises RunError if a process has died.
        """
        future = Future[bytes]()
        header = _JOB.pack(
            job.words,
            job.start,
            _number(job.besides),
            len(job.firsts),
            len(keys) // _STREAM.size,
            job.blank,
            job.hashed,
        )
        content = b"".join((header, *map(_FIRST.pack, job.firsts), keys))
        with self._lock:
            self._waiting.append((content, future))
            self._deal()
        return future

    def close(self) -> None:
        """End the processes; what they were not given yet is not done."""
        with self._lock:
            self._give_up()
        for worker in self.workers:
            worker.end()
        for thread in self._threads:
            thread.join()
        for worker in self.workers:
            worker.wait()

    def _deal(self) -> None:
        """Give waiting jobs to those who have the fewest."""
        while self._waiting:
            worker = min(self.workers, key=lambda worker: len(worker.given))
            if len(worker.given) >= GIVEN and not self._over:
                return
            content, future = self._waiting.popleft()
            if self._over or not worker.give(content, future):
                self._give_up()
                future.set_exception(_died())

    def _attend(self, worker: "_Worker") -> None:
        """Take one process's answers until it ends, and give it more to do."""
        while len(answer := worker.answer()) == _ANSWER:
            with self._lock:
                future = worker.given.popleft()
                self._deal()
            future.set_result(answer)
        with self._lock:
            self._give_up()
            for future in worker.given:
                future.set_exception(_died())
            worker.given.clear()

    def _give_up(self) -> None:
        """One of them is gone: whoever waits is told."""
        self._over = True
        while self._waiting:
            self._waiting.popleft()[1].set_exception(_died())


class _Worker:
    """One process, and the jobs that it has."""

    def __init__(self, memory: SharedBytes) -> None:
        self.given = deque[Future[bytes]]()
        self.process = child.started(
            "leptonic.secagg.crew",
            memory.descriptor,
            memory.length,
            descriptors=[memory.descriptor],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def give(self, content: bytes, future: Future[bytes]) -> bool:
        """Write it a job; False if it is gone."""
        assert self.process.stdin is not None
        rest = memoryview(content)
        try:
            while rest:
                rest = rest[self.process.stdin.write(rest) :]
        except (OSError, ValueError):  # it is dead, or was told to end
            return False
        self.given.append(future)
        return True

    def answer(self) -> bytes:
        """Wait for its next answer; fewer bytes if it is gone."""
        assert self.process.stdout is not None
        return self.process.stdout.read(_ANSWER)

    def end(self) -> None:
        """Let it end after what it has."""
        assert self.process.stdin is not None
        with suppress(OSError):
            self.process.stdin.close()

    def wait(self) -> None:
        """Wait for its end."""
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process.wait()


def main() -> None:
    """Do what this process's parent asks for, until it says no more. Arguments: the memory's descriptor and length."""
    memory = SharedBytes(int(sys.argv[2]), int(sys.argv[1]))
    words = np.frombuffer(memory.view[: memory.length // 4 * 4], np.uint32)
    with os.fdopen(0, "rb") as asked:
        while header := asked.read(_JOB.size):
            count, start, besides, ranges, streams, blank, hashed = _JOB.unpack(header)
            firsts = [first for (first,) in _FIRST.iter_unpack(asked.read(ranges * _FIRST.size))]
            keys = _STREAM.iter_unpack(asked.read(streams * _STREAM.size))
            parts = [words[first : first + count] for first in firsts]
            add_streams(
                parts,
                [Stream(key, _place(plus), _place(minus)) for key, plus, minus in keys],
                start=start,
                blank=blank,
            )
            if besides != _NONE:
                parts[0] += words[besides : besides + count]
            os.write(1, leaf(parts[0].data.cast("B")) if hashed else bytes(_ANSWER))


def _died() -> RunError:
    return RunError("a process that expands masks has died: start again; the machine may be short of memory")
