"""Asks a simulation's engine by hand: made-up models, clients of chosen sizes, and what comes back."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leptonic.data.catalogue import spec_of
from leptonic.data.experiment_data import training_examples
from leptonic.experiment import Experiment
from leptonic.update import Mean, Vector
from leptonic.wire import Payload, Reply, Request
from leptonic_simulations.clients import FederatedData, SimulatedClients
from leptonic_simulations.grid import Engine
from leptonic_simulations.sequential import SequentialEngine

RUN = "0123456789abcdef"


def clients_of_sizes(made: Experiment, folder: Path, sizes: Sequence[int], seed: int = 0) -> SimulatedClients:
    """Clients with so many examples each, drawn at random from the experiment's data."""
    examples, random = training_examples(made), np.random.default_rng(seed)
    rows = [np.sort(random.choice(len(examples), size, replace=False)) for size in sizes]
    return SimulatedClients(made, folder, FederatedData(*examples.tensors(spec_of(made.data)), rows))


def content_for(clients: SimulatedClients, seed: int = 0) -> bytes:
    """A global model near the initial one, with small broadcast vectors beside it."""
    from leptonic.parameters import to_vector

    random, size = np.random.default_rng(seed), clients.trainer.layout.size
    model = to_vector(clients.trainer.model) + random.normal(0, 0.01, size)
    sent = [random.normal(0, 0.01, size) for _ in clients.trainer.algorithm.broadcast]
    return np.concatenate([model, *sent]).astype("<f4").tobytes()


def requests_for(
    made: Experiment,
    asked: Iterable[int],
    content: bytes,
    *,
    counted: Mapping[int, int] | None = None,
    **numbers: Any,
) -> list[Request]:
    """One request to each client; ``numbers`` replace round 1, step train, attempt 1."""
    same = {"run": RUN, "experiment": made.hash, "round": 1, "step": "train", "attempt": 1, **numbers}
    payload = Payload(kind="memory", length=len(content), parts=["0"])
    return [
        Request.model_validate(
            {**same, "client": client, "payload": payload, "counted": (counted or {}).get(client, 0)}
        )
        for client in asked
    ]


def answered(engine: Engine, requests: Sequence[Request], content: bytes) -> dict[int, tuple[Reply, bytes]]:
    """Every reply by its client, with a copy of its bytes."""
    found = {reply.client: (reply, bytes(answer)) for reply, answer in engine.answers(requests, content)}
    assert sorted(found) == sorted(request.client for request in requests)
    return found


def answers_after_leaving(
    clients: SimulatedClients, engine: Engine, asked: Sequence[int], *, steps: int, pulled: int
) -> None:
    """Let go of so many steps after so many replies; the next step must be answered as by the sequential engine."""
    for seed in range(steps):
        content = content_for(clients, seed)
        replies = engine.answers(requests_for(clients.experiment, asked, content), content)
        for _ in range(pulled):
            next(replies)
        replies.close()
    content = content_for(clients, 99)
    requests = requests_for(clients.experiment, asked, content)
    expected = answered(SequentialEngine(clients), requests, content)
    assert without_time(answered(engine, requests, content)) == without_time(expected)


def without_time(replies: Mapping[int, tuple[Reply, bytes]]) -> dict[int, tuple[Reply, bytes]]:
    """Replies that can be compared: seconds differ."""
    return {client: (reply.model_copy(update={"seconds": 0.0}), answer) for client, (reply, answer) in replies.items()}


def decoded(clients: SimulatedClients, replies: Mapping[int, tuple[Reply, bytes]]) -> dict[int, Mean]:
    """What the server would read of each client alone."""
    pipeline = clients.trainer.pipeline
    assert {reply.status for reply, _ in replies.values()} == {"done"}, [r.detail for r, _ in replies.values()]
    return {client: pipeline.decode(pipeline.from_bytes(answer)) for client, (_, answer) in replies.items()}


def distance(found: Vector | NDArray[np.float64], expected: Vector | NDArray[np.float64]) -> float:
    """||found - expected|| / ||expected||."""
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
