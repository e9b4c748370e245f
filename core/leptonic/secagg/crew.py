"""Processes that expand masks in memory which they share with this one, each on a core of its own.

A job names a range of that memory and brings the keys of its masks. Keys go through pipes to children of this process,
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
from leptonic.secagg.masks import Mask, add_to_words
from leptonic.shared_memory import SharedBytes

__all__ = ["Crew", "Job", "packed_keys"]

GIVEN = 2
"""Jobs that a process has at a time: one that it works on, and the next."""

_JOB = struct.Struct("<QQQI??")
"""first, words, start, masks, blank, hashed; then the masks, each as key and sign."""
_MASK = struct.Struct("<32s?")
_ANSWER = 32
"""Bytes of an answer: the range's hash, zeros where none is wanted."""


@dataclass(frozen=True, slots=True)
class Job:
    """Adds masks to a range of the shared memory.

    first, words: the range, in words of 32 bits. start: the word of each mask at which it begins. blank: whether the
    range is zeroed before. hashed: whether its :func:`leaf` is wanted afterwards.
    """

    first: int
    words: int
    start: int
    blank: bool = False
    hashed: bool = False


def packed_keys(masks: Sequence[Mask]) -> bytes:
    """The masks of a job as they are handed over."""
    return b"".join(_MASK.pack(mask.key, mask.negative) for mask in masks)


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
        """Have it done; the answer is the range's hash. keys: see :func:`packed_keys`.

        The answer raises RunError if a process has died.
        """
        future = Future[bytes]()
        masks = len(keys) // _MASK.size
        packed = _JOB.pack(job.first, job.words, job.start, masks, job.blank, job.hashed)
        with self._lock:
            self._waiting.append((packed + keys, future))
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
            first, count, start, masks, blank, hashed = _JOB.unpack(header)
            keys = asked.read(masks * _MASK.size)
            part = words[first : first + count]
            if blank:
                part[:] = 0
            add_to_words(part, [Mask(key, negative) for key, negative in _MASK.iter_unpack(keys)], start=start)
            os.write(1, leaf(part.data.cast("B")) if hashed else bytes(_ANSWER))


def _died() -> RunError:
    return RunError("a process that expands masks has died: start again; the machine may be short of memory")
