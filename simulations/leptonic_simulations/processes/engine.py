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
from leptonic.shared_memory import SharedBytes
from leptonic.wire import Reply, Request
from leptonic_client.participant import failure
from leptonic_simulations.clients import FederatedData, SimulatedClients
from leptonic_simulations.processes.handle import SLOTS, Arrived, Worker
from leptonic_simulations.processes.memory import SharedArray, share
from leptonic_simulations.processes.worker import Begin

__all__ = ["ProcessesEngine"]

Answer = tuple[Reply, bytes | memoryview]


class ProcessesEngine:
    """So many workers of one run, from the first request to the end."""

    def __init__(self, clients: SimulatedClients, *, workers: int) -> None:
        experiment, trainer = clients.experiment, clients.trainer
        self._clients = clients
        self._ordered = experiment.federation.invited > experiment.federation.wanted
        # An update, or the sums of an evaluation and how many examples they are of.
        self._slot_length = max(trainer.pipeline.encoded_length, 8 * (len(trainer.task.metric_names) + 1))
        self._content = SharedBytes(trainer.work_length)
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
        """The replies; see the module for their order. Raises RunError if a worker ended by itself."""
        self._settle()
        self._content.view[: len(content)] = content
        order = list(requests) if self._ordered else sorted(requests, key=self._clients.work, reverse=True)
        waiting = deque(order)
        come: dict[int, Arrived] = {}
        for turn in order:
            while not (turn.client in come if self._ordered else come):
                self._hand_out(waiting, len(content))
                come |= self._next()
            arrived = come.pop(turn.client if self._ordered else next(iter(come)))
            yield arrived.reply, arrived.answer
            arrived.free()

    def close(self) -> None:
        """End the workers at once."""
        for worker in self._workers:
            worker.stop()
        for memory in self._memories:
            memory.close()
        self._selector.close()

    def _settle(self) -> None:
        """Wait for work that nobody wants any more, since the last step ended early: it must not see new content."""
        while any(worker.tasks for worker in self._workers):
            self._next()
        for worker in self._workers:
            worker.rest()

    def _hand_out(self, waiting: deque[Request], length: int) -> None:
        """Fill every worker's first free slot before anyone's second."""
        for free in range(SLOTS, 0, -1):
            for worker in self._workers:
                if waiting and len(worker.free) >= free:
                    worker.hand(waiting.popleft(), length)

    def _next(self) -> dict[int, Arrived]:
        """Wait for replies, by client; the tasks of a worker that was killed become failures."""
        found: list[Arrived] = []
        for key, _ in self._selector.select():
            worker: Worker = key.data
            done = worker.come()
            found += self._replace(worker) if done is None else done
        return {arrived.reply.client: arrived for arrived in found}

    def _replace(self, worker: Worker) -> list[Arrived]:
        """Start another worker for one that has died. Returns what becomes of its tasks."""
        self._selector.unregister(worker.replies)
        self._workers[self._workers.index(worker)] = self._start()
        code = worker.exit_code()
        if code >= 0:
            raise RunError(f"a worker process ended by itself (exit {code}): see its message above")
        error = RunError(f"the worker process was killed (signal {-code}): out of memory, perhaps")
        return [Arrived(failure(task, error, str(error)), b"") for task in worker.tasks.values()]

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
        packed = data.packed_rows()
        return None if packed is None else (self._share(packed[0]), self._share(packed[1]))
