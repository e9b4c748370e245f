"""The processes engine: hands requests to workers, and their replies to the grid.

Each worker has as many threads as the experiment says (one by default), so its bits are those of the
sequential engine. Where everyone invited is wanted, the largest clients begin first and replies are given as
they come; with over-selection the order decides who is counted, so it is that of the requests.
"""

import json
import selectors
from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np

from leptonic.errors import RunError
from leptonic.wire import Reply, Request
from leptonic_client.participant import failure
from leptonic_simulations.clients import FederatedData, SimulatedClients
from leptonic_simulations.processes.handle import Worker
from leptonic_simulations.processes.memory import SharedArray, SharedBytes, share
from leptonic_simulations.processes.worker import Begin

__all__ = ["ProcessesEngine"]

EVALUATION_LENGTH = 4096
"""Bytes that are enough for the sums of an evaluation."""

Answer = tuple[Reply, bytes | memoryview]


class ProcessesEngine:
    """So many workers of one run, from the first request to the end."""

    def __init__(self, clients: SimulatedClients, *, workers: int) -> None:
        experiment, trainer = clients.experiment, clients.trainer
        self._data = clients.data
        self._ordered = experiment.federation.invited > experiment.federation.wanted
        self._slot_length = max(trainer.pipeline.encoded_length, EVALUATION_LENGTH)
        self._content = SharedBytes(4 * trainer.layout.size * (1 + len(trainer.algorithm.broadcast)))
        self._memories = [self._content]
        self._begin = Begin(
            experiment=json.dumps(experiment.model_dump(mode="json")),
            folder=str(clients.folder),
            features=self._share(clients.data.features.numpy()),
            labels=self._share(clients.data.labels.numpy()),
            rows=self._share_rows(clients.data),
            content=(self._content.descriptor, self._content.length),
            slots=(0, 0),
        )
        self._selector = selectors.DefaultSelector()
        self._workers = [self._start() for _ in range(workers)]

    def answers(self, requests: Sequence[Request], content: bytes | memoryview) -> Iterator[Answer]:
        """The replies; see the module for their order."""
        self._content.view[: len(content)] = content
        order = list(requests) if self._ordered else sorted(requests, key=self._size, reverse=True)
        waiting = deque(order)
        come: dict[int, tuple[Worker, int | None, Reply, bytes | memoryview]] = {}
        try:
            for turn in order:
                while not (turn.client in come if self._ordered else come):
                    self._hand_out(waiting, len(content))
                    come |= self._next()
                worker, start, reply, answer = come.pop(turn.client if self._ordered else next(iter(come)))
                yield reply, answer
                if start is not None:
                    worker.free.append(start)
        finally:
            self._settle(come)

    def close(self) -> None:
        """Let the workers finish what they do, and end them."""
        for worker in self._workers:
            worker.stop()
        for memory in self._memories:
            memory.close()
        self._selector.close()

    def _hand_out(self, waiting: deque[Request], length: int) -> None:
        """Fill every worker's first free slot before anyone's second."""
        for free in (2, 1):
            for worker in self._workers:
                if waiting and len(worker.free) >= free:
                    worker.hand(waiting.popleft(), length)

    def _next(self) -> dict[int, tuple[Worker, int | None, Reply, bytes | memoryview]]:
        """Wait for replies, by client; the tasks of a worker that died become failures, and it is replaced."""
        found: dict[int, tuple[Worker, int | None, Reply, bytes | memoryview]] = {}
        for key, _ in self._selector.select():
            worker: Worker = key.data
            done = worker.come()
            if done is None:
                found |= self._bury(worker)
                continue
            for each in done:
                answer = worker.slots.view[each.start : each.start + each.length]
                found[each.reply.client] = (worker, each.start, each.reply, answer)
        return found

    def _bury(self, worker: Worker) -> dict[int, tuple[Worker, int | None, Reply, bytes | memoryview]]:
        tasks = list(worker.tasks.values())
        self._selector.unregister(worker.replies)
        worker.stop()
        replacement = self._start()
        self._workers[self._workers.index(worker)] = replacement
        error = RunError(f"the worker process died (exit {worker.process.returncode}): out of memory, perhaps")
        return {task.client: (replacement, None, failure(task, error, str(error)), b"") for task in tasks}

    def _settle(self, come: dict[int, tuple[Worker, int | None, Reply, bytes | memoryview]]) -> None:
        """Wait for work that nobody wants any more: the next step must not change its content under it."""
        while True:
            for worker, start, _, _ in come.values():
                if start is not None:
                    worker.free.append(start)
            if not any(worker.tasks for worker in self._workers):
                return
            come = self._next()

    def _start(self) -> Worker:
        begin = self._begin
        arrays = [begin.features, begin.labels, *(begin.rows or ())]
        worker = Worker(begin, self._slot_length, [begin.content[0], *(array.descriptor for array in arrays)])
        self._selector.register(worker.replies, selectors.EVENT_READ, worker)
        return worker

    def _share(self, array: "np.ndarray[tuple[int, ...], np.dtype[np.generic]]") -> SharedArray:
        shared, memory = share(array)
        self._memories.append(memory)
        return shared

    def _share_rows(self, data: FederatedData) -> tuple[SharedArray, SharedArray] | None:
        if not isinstance(data.rows, list):
            return None
        ends = np.cumsum([len(rows) for rows in data.rows])
        return self._share(np.concatenate(data.rows)), self._share(ends)

    def _size(self, request: Request) -> int:
        return len(self._data.rows[request.client])
