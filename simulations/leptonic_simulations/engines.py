"""Chooses what does the clients' work: the engine that the experiment names, or the fastest that was timed."""

import os
from collections.abc import Callable

from leptonic_simulations.automatic import AutomaticEngine, Candidate
from leptonic_simulations.batched import BatchedEngine, unbatchable
from leptonic_simulations.clients import SimulatedClients
from leptonic_simulations.cluster import RayEngine
from leptonic_simulations.grid import Engine
from leptonic_simulations.processes import ProcessesEngine
from leptonic_simulations.sequential import SequentialEngine
from leptonic_simulations.sums import only_sums_count

__all__ = ["cores", "engine_for"]

WORKER_START = 6.0
"""Seconds that workers take to start, about: each imports torch."""
OPTIMIZER_START = 2.0
"""Seconds that torch takes over its first optimiser, about: it imports its compiler."""

Say = Callable[[str], None]
Keep = Callable[[str, str], None]


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def engine_for(clients: SimulatedClients, *, rounds: int, chosen: str | None, keep: Keep, say: Say) -> Engine:
    """The engine of a run.

    rounds: that are still to be run. chosen: the engine with which the run began, when it is resumed. keep: is told
    the name of the engine that is chosen, and why. say: is told in a line what was chosen, and why.
    """
    experiment = clients.experiment
    wanted = experiment.simulation.engine
    if wanted == "ray":
        return RayEngine(clients, cores=cores())
    candidates = _candidates(clients, experiment.simulation.workers or cores())
    reason = unbatchable(clients.trainer) if wanted in ("auto", "batched") else "its bits are not a deployment's"
    if reason is not None:
        del candidates["batched"]
        if wanted == "batched":
            say(f"engine: sequential, since {reason}")
            return candidates["sequential"].make()
        if wanted == "auto":
            say(f"engine: batched is left out, since {reason}")
    name = chosen if wanted in ("exact", "auto") else wanted
    if name in candidates:
        return candidates[name].make()
    if len(candidates) == 1:
        return candidates["sequential"].make()

    def decided(name: str, why: str) -> None:
        keep(name, why)
        say(f"engine: {name} ({why})")

    return AutomaticEngine(
        list(candidates.values()),
        size=clients.work,
        wanted=experiment.federation.wanted,
        requests=experiment.summed * rounds,
        decided=decided,
    )


def _candidates(clients: SimulatedClients, workers: int) -> dict[str, Candidate]:
    """Every engine for these clients, those that start at once first."""
    count = max(1, min(workers // clients.experiment.training.threads, clients.experiment.summed))
    sums = only_sums_count(clients.experiment)
    candidates = [
        Candidate("batched", lambda: BatchedEngine(clients, threads=workers, sums=sums), at_once=8),
        Candidate("sequential", lambda: SequentialEngine(clients), cost=OPTIMIZER_START),
    ]
    if count > 1 or clients.experiment.simulation.engine == "processes":
        make = lambda: ProcessesEngine(clients, workers=count)  # noqa: E731
        candidates.append(Candidate("processes", make, at_once=count, cost=WORKER_START))
    return {candidate.name: candidate for candidate in candidates}
