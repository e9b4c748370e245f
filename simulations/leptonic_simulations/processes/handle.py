"""The engine's side of one worker: its process, its pipes, and the tasks it has."""

import os
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from leptonic import child
from leptonic.shared_memory import SharedBytes
from leptonic.wire import Reply, Request
from leptonic_simulations.processes.worker import Begin, Done, Task

__all__ = ["SLOTS", "Arrived", "Worker"]

SLOTS = 2
"""Tasks that a worker has at a time: one that it works on, and the next."""
PATIENCE = 10.0
"""Seconds that a worker which has closed its pipe takes at most to be gone."""


@dataclass(frozen=True)
class Arrived:
    """A reply and its answer, which holds until its slot is used again. worker: None if it has died."""

    reply: Reply
    answer: bytes | memoryview
    worker: "Worker | None" = None
    start: int = 0

    def free(self) -> None:
        """The slot may be used again from the next task on."""
        if self.worker is not None:
            self.worker.free.append(self.start)


class Worker:
    """One process. free: where its next answers may go. tasks: what it has, by where the answer goes."""

    def __init__(self, begin: Begin, slot_length: int, descriptors: Sequence[int]) -> None:
        self._slots, self._slot_length = SharedBytes(SLOTS * slot_length), slot_length
        self.tasks: dict[int, Request] = {}
        self.free: list[int] = []
        self.rest()
        self._unread = b""
        theirs_tasks, tasks = os.pipe()
        self.replies, theirs_replies = os.pipe()
        self.process = child.started(
            "leptonic_simulations.processes.worker",
            theirs_tasks,
            theirs_replies,
            descriptors=(theirs_tasks, theirs_replies, self._slots.descriptor, *descriptors),
        )
        os.close(theirs_tasks)
        os.close(theirs_replies)
        self._tasks = os.fdopen(tasks, "wb")
        self._send(begin.model_copy(update={"slots": (self._slots.descriptor, self._slots.length)}))

    def rest(self) -> None:
        """All slots are free: no task is left, and no answer is looked at any more."""
        self.free = [slot * self._slot_length for slot in range(SLOTS)]

    def hand(self, request: Request, length: int) -> None:
        """Give it a task; there must be a free slot. length: of the shared content."""
        start = self.free.pop()
        self.tasks[start] = request
        self._send(Task(request=request, length=length, start=start))

    def come(self) -> list[Arrived] | None:
        """The replies that have come, at least one; None if the process has died."""
        while b"\n" not in self._unread:
            part = os.read(self.replies, 65536)
            if not part:
                return None
            self._unread += part
        *lines, self._unread = self._unread.split(b"\n")
        done = [Done.model_validate_json(line) for line in lines]
        for each in done:
            del self.tasks[each.start]
        return [
            Arrived(each.reply, self._slots.view[each.start : each.start + each.length], self, each.start)
            for each in done
        ]

    def exit_code(self) -> int:
        """With what a process that has died ended; minus the signal that killed it."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(PATIENCE)
        return self.stop()

    def stop(self) -> int:
        """End it at once, whatever it is doing. Returns its exit code."""
        self.process.kill()
        with suppress(BrokenPipeError):
            self._tasks.close()
        os.close(self.replies)
        self._slots.close()
        return self.process.wait()

    def _send(self, line: Begin | Task) -> None:
        # A broken pipe shows that it has died when it is read from.
        with suppress(BrokenPipeError):
            self._tasks.write(line.model_dump_json().encode() + b"\n")
            self._tasks.flush()
