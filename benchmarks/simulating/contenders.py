"""Whoever trains rounds of clients in a comparison, and the loop that lets them take turns."""

import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from baselines.bare import Workload, build, loop

from leptonic import parameters
from leptonic.wire import Payload, Request
from leptonic_simulations.batched import BatchedEngine
from leptonic_simulations.clients import FederatedData, SimulatedClients
from leptonic_simulations.grid import Engine
from leptonic_simulations.processes import ProcessesEngine
from leptonic_simulations.sequential import SequentialEngine
from leptonic_simulations.sums import only_sums_count
from simulating.experiments import cores, five_steps, from_mapping
from simulating.programs import BASELINES, Conversation

__all__ = ["ENGINES", "Bare", "Contender", "InProcess", "Pfl", "take_turns"]

ENGINES = ("sequential", "batched", "processes")
WARM_UP = 1
"""Rounds of each contender that are not counted: memory is taken, kernels are chosen, workers start."""
MANY = 10**6


class Contender(Protocol):
    """Trains one cohort after another."""

    def round(self) -> float:
        """Train a cohort; the seconds per client."""
        ...

    def close(self) -> None:
        """End what was started."""
        ...


class Bare:
    """The bare PyTorch loop, with so many intra-op threads."""

    def __init__(self, model: str, data: FederatedData, *, cohort: int, threads: int) -> None:
        self._workload, self._model, self._data = Workload(model), build(model), data
        self._cohort, self._threads = cohort, threads
        self._draw = np.random.default_rng(1)

    def round(self) -> float:
        """See :class:`Contender`."""
        chosen = self._draw.choice(len(self._data.rows), self._cohort, replace=False)
        rows = torch.from_numpy(np.stack([self._data.rows[client] for client in chosen]))
        before = torch.get_num_threads()
        torch.set_num_threads(self._threads)
        try:
            return loop(self._model, self._data.features, self._data.labels, rows, self._workload)
        finally:
            torch.set_num_threads(before)

    def close(self) -> None:
        """Nothing was started."""


class InProcess:
    """One of our engines: from the requests of a cohort to its encoded contributions."""

    def __init__(
        self, model: str, data: FederatedData, folder: Path, *, engine: str, cohort: int, device: str = "cpu"
    ) -> None:
        experiment = from_mapping(five_steps(model, MANY, cohort=cohort, device=device))
        self._clients = SimulatedClients(experiment, folder, data)
        self._engine = _engine(engine, self._clients)
        self._content = parameters.to_vector(self._clients.trainer.model).astype("<f4").tobytes()
        self._cohort, self._hash, self._number = cohort, experiment.hash, 0
        self._draw = np.random.default_rng(1)

    def round(self) -> float:
        """See :class:`Contender`. Raises RuntimeError if a client has failed."""
        self._number += 1
        chosen = self._draw.choice(len(self._clients.data.rows), self._cohort, replace=False)
        started = time.perf_counter()
        requests = [self._request(int(client)) for client in chosen]
        done = sum(reply.status == "done" for reply, _ in self._engine.answers(requests, self._content))
        seconds = time.perf_counter() - started
        if done != self._cohort:
            raise RuntimeError(f"{self._cohort - done} of {self._cohort} clients have failed")
        return seconds / self._cohort

    def close(self) -> None:
        """End the engine."""
        self._engine.close()
        self._clients.close()

    def _request(self, client: int) -> Request:
        return Request(
            run="benchmark",
            experiment=self._hash,
            round=self._number,
            step="train",
            attempt=1,
            client=client,
            payload=Payload(kind="memory", length=len(self._content), parts=["0"]),
        )


class Pfl:
    """pfl-research's simulation in a process of its own. folder: of the exported arrays."""

    def __init__(self, python: str, model: str, folder: Path, *, cohort: int, threads: int) -> None:
        options = ("--model", model, "--cohort", str(cohort), "--threads", str(threads))
        self._cohort = cohort
        self._program = Conversation(python, BASELINES / "pfl_rounds.py", folder, *options)

    def round(self) -> float:
        """See :class:`Contender`."""
        return float(self._program.ask()) / self._cohort

    def close(self) -> None:
        """End the process."""
        self._program.close()


def take_turns(contenders: Mapping[str, Contender], repeats: int) -> dict[str, float]:
    """The median seconds per client of each, over so many rounds in which they take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(WARM_UP + repeats):
        for name, contender in contenders.items():
            taken = contender.round()
            if turn >= WARM_UP:
                seconds[name].append(taken)
    return {name: statistics.median(times) for name, times in seconds.items()}


def _engine(name: str, clients: SimulatedClients) -> Engine:
    if name == "sequential":
        return SequentialEngine(clients)
    if name == "batched":
        return BatchedEngine(clients, threads=cores(), sums=only_sums_count(clients.experiment))
    return ProcessesEngine(clients, workers=cores())
