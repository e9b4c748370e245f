"""The ray engine: hands requests to workers on a Ray cluster, and their replies to the grid.

The data goes to each machine once, what the coordinator sends once in a step. Where every reply is wanted and
only their mean counts, each worker trains a share of the clients and sends back one sum; else the replies come one
by one, as from the processes engine, and in the order of the requests where that decides who is counted.
"""

import heapq
import json
import os
import secrets
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from leptonic import __version__
from leptonic.errors import ExperimentError, LeptonicError, RunError
from leptonic.wire import Reply, Request
from leptonic_client.participant import failure
from leptonic_simulations.clients import SimulatedClients
from leptonic_simulations.cluster.machines import Machines, imported
from leptonic_simulations.cluster.worker import MARK, Answered, ClusterWorker, machine
from leptonic_simulations.sums import only_sums_count

__all__ = ["RayEngine"]

Answer = tuple[Reply, bytes | memoryview]

SLOTS = 2
"""Tasks that a worker has at a time: one that it works on, and the next."""
START = 120.0
"""Seconds that workers take at most to start; each imports torch."""
GOODBYE = 1.0
"""Seconds that workers get to leave by themselves."""


@dataclass(frozen=True)
class Task:
    """Requests that a worker was handed."""

    worker: Any
    requests: list[Request]


class RayEngine:
    """So many workers of one run, from the first request to the end. cores: of this machine, where it is alone."""

    def __init__(self, clients: SimulatedClients, *, cores: int) -> None:
        experiment = clients.experiment
        federation, self._training = experiment.federation, experiment.training
        self._clients = clients
        self._ordered = federation.invited > federation.wanted
        self._sums = only_sums_count(experiment)
        self._ray = imported()
        self._mark = clients.folder / MARK
        self._workers: list[Any] = []
        self._tasks: dict[Any, Task] = {}
        wanted = experiment.simulation.workers
        self._machines = Machines(self._ray, cores=max(cores, (wanted or 1) * self._training.threads))
        try:
            self._begin = self._shared(clients)
            self._workers = self._started(self._count(wanted, federation.invited))
        except BaseException:
            self.close()
            raise

    def answers(self, requests: Sequence[Request], content: bytes | memoryview) -> Iterator[Answer]:
        """The replies; see the module for their order. Raises RunError if a worker ended by an error of its own."""
        # What a step that ended early left behind is done before anything new, and nobody looks at it.
        self._tasks.clear()
        together = self._sums and bool(requests) and requests[0].step == "train"
        order = list(requests) if self._ordered else sorted(requests, key=self._clients.work, reverse=True)
        waiting = deque(self._shares(order) if together else [[request] for request in order])
        sent = self._ray.put(np.frombuffer(content, np.uint8))
        come: dict[int, Answer] = {}
        for turn in order:
            while not (turn.client in come if self._ordered else come):
                self._hand_out(waiting, sent, together=together)
                come |= {answer[0].client: answer for answer in self._next()}
            yield come.pop(turn.client if self._ordered else next(iter(come)))

    def close(self) -> None:
        """End the workers at once, and the cluster if it was started for this run."""
        with suppress(self._ray.exceptions.RayError):
            self._ray.wait([w.leave.remote() for w in self._workers], num_returns=len(self._workers), timeout=GOODBYE)
        for worker in self._workers:
            self._ray.kill(worker)
        self._workers = []
        self._mark.unlink(missing_ok=True)
        self._machines.close()

    def _shared(self, clients: SimulatedClients) -> list[Any]:
        """What every worker begins with; arrays lie in Ray's shared memory, once on each machine."""
        word = secrets.token_hex(16)
        self._mark.write_text(word)
        arrays = (clients.data.features.numpy(), clients.data.labels.numpy(), *(clients.data.packed_rows() or ()))
        shared = [self._ray.put(array) for array in arrays]
        experiment = json.dumps(clients.experiment.model_dump(mode="json"))
        home = (str(clients.folder.resolve()), word, machine())
        return [experiment, home, __version__, *shared, *([None, None] if len(shared) == 2 else [])]

    def _count(self, wanted: int | None, invited: int) -> int:
        """How many workers there will be: as many as are useful."""
        most = self._machines.cores() // self._training.threads
        if not most or (wanted or 1) > most:
            raise ExperimentError(
                f"simulation.workers = {wanted or 1}: the cluster's {self._machines.cores()} cores are enough for "
                f"{most} of them with training.threads = {self._training.threads}"
            )
        return min(wanted or most, invited)

    def _started(self, count: int) -> list[Any]:
        """New workers that are ready. Raises what is wrong with a setting, or RunError."""
        # What this process can import (an own model, say), the worker must find as well, if it is there.
        paths = os.pathsep.join([*(path or str(Path.cwd()) for path in sys.path), "${PYTHONPATH}"])
        options = {
            "num_cpus": self._training.threads,
            "max_restarts": 0,
            "scheduling_strategy": "SPREAD",
            "runtime_env": {"env_vars": {"PYTHONPATH": paths}},
        }
        made = [self._ray.remote(ClusterWorker).options(**options).remote() for _ in range(count)]
        try:
            self._ray.get([worker.begin.remote(*self._begin) for worker in made], timeout=START)
        except self._ray.exceptions.RayError as error:
            for worker in made:
                self._ray.kill(worker)
            raise self._named(error, "a worker of the cluster cannot start") from error
        return made

    def _shares(self, order: Sequence[Request]) -> list[list[Request]]:
        """A share for each worker, of about equal work: the largest client goes to who has the least so far."""
        shares: list[tuple[float, int, list[Request]]] = [(0.0, place, []) for place in range(len(self._workers))]
        for request in order:
            work, place, share = shares[0]
            heapq.heapreplace(shares, (work + self._clients.work(request), place, [*share, request]))
        return [share for _, _, share in shares if share]

    def _hand_out(self, waiting: deque[list[Request]], sent: Any, *, together: bool) -> None:
        """Give tasks to those who have the fewest, until all have enough."""
        while waiting:
            held = [sum(task.worker is worker for task in self._tasks.values()) for worker in self._workers]
            if min(held) >= SLOTS:
                return
            worker, requests = self._workers[held.index(min(held))], waiting.popleft()
            lines = [request.model_dump_json().encode() for request in requests]
            self._tasks[worker.work.remote(sent, lines, together=together)] = Task(worker, requests)

    def _next(self) -> list[Answer]:
        """Wait for the replies of one task; those of a worker that has died become failures."""
        (ready, *_), _ = self._ray.wait(list(self._tasks), num_returns=1)
        task = self._tasks.pop(ready)
        try:
            return [_answer(answered) for answered in self._ray.get(ready)]
        except self._ray.exceptions.RayTaskError as error:
            raise self._named(error, "a worker of the cluster ended by an error") from error
        except self._ray.exceptions.RayError as error:
            return self._replace(task, error)

    def _replace(self, lost: Task, error: Exception) -> list[Answer]:
        """Start another worker for one that has died. Returns what becomes of its clients."""
        tasks = [lost, *(task for task in self._tasks.values() if task.worker is lost.worker)]
        self._tasks = {ref: task for ref, task in self._tasks.items() if task.worker is not lost.worker}
        self._ray.kill(lost.worker)
        self._workers[self._workers.index(lost.worker)] = self._started(1)[0]
        why = RunError(f"its worker on the cluster was lost ({type(error).__name__}): out of memory, perhaps")
        return [(failure(request, why, str(why)), b"") for task in tasks for request in task.requests]

    def _named(self, error: Exception, what: str) -> LeptonicError:
        """The named error of a worker, or a RunError that says where it went wrong."""
        cause = getattr(error, "cause", None)
        if isinstance(cause, LeptonicError):
            return cause
        if isinstance(error, self._ray.exceptions.GetTimeoutError):
            return RunError(f"{what} within {START:g} seconds: its cores may be taken; lower simulation.workers")
        detail = f"{type(cause).__name__}: {cause}" if cause else str(error).strip().splitlines()[-1]
        return RunError(f"{what}: {detail}")


def _answer(answered: Answered) -> Answer:
    reply, answer = answered
    return Reply.model_validate_json(reply), answer.data
