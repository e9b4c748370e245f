"""The engine's side of one worker: its process, its pipes, and the tasks it has."""

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from leptonic.wire import Request
from leptonic_simulations.processes.memory import SharedBytes
from leptonic_simulations.processes.worker import Begin, Done, Task

__all__ = ["Worker"]

PROGRAM = "from leptonic_simulations.processes.worker import main; main()"
SLOTS = 2
"""Tasks that a worker has at a time: one that it works on, and the next."""
PATIENCE = 60.0
"""Seconds that a worker has to end after its pipe was closed."""


class Worker:
    """One process. free: where its next answers may go. tasks: what it has, by where the answer goes."""

    def __init__(self, begin: Begin, slot_length: int, descriptors: Sequence[int]) -> None:
        self.slots = SharedBytes(SLOTS * slot_length)
        self.free = [slot * slot_length for slot in range(SLOTS)]
        self.tasks: dict[int, Request] = {}
        self._unread = b""
        theirs_tasks, tasks = os.pipe()
        self.replies, theirs_replies = os.pipe()
        command = [sys.executable, "-c", PROGRAM, str(theirs_tasks), str(theirs_replies)]
        handed = (theirs_tasks, theirs_replies, self.slots.descriptor, *descriptors)
        # What this process can import (an own model, say), the worker must find as well.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)}
        self.process = subprocess.Popen(  # noqa: S603
            command, pass_fds=handed, stdin=subprocess.DEVNULL, env=environment
        )
        os.close(theirs_tasks)
        os.close(theirs_replies)
        self._tasks = os.fdopen(tasks, "wb")
        self._send(begin.model_copy(update={"slots": (self.slots.descriptor, self.slots.length)}))

    def hand(self, request: Request, length: int) -> None:
        """Give it a task; there must be a free slot. length: of the shared content."""
        start = self.free.pop()
        self.tasks[start] = request
        self._send(Task(request=request, length=length, start=start))

    def come(self) -> list[Done] | None:
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
        return done

    def stop(self) -> None:
        """Let it finish what it does, and end."""
        with suppress(BrokenPipeError):
            self._tasks.close()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.replies)
        self.slots.close()

    def _send(self, line: Begin | Task) -> None:
        # A broken pipe shows that it has died when it is read from.
        with suppress(BrokenPipeError):
            self._tasks.write(line.model_dump_json().encode() + b"\n")
            self._tasks.flush()
