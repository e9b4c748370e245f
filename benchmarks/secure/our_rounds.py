"""Rounds of secure aggregation in a simulation of ours, with clients that do not train.

    python -m secure.our_rounds --clients 50 [--neighbours 12] [--parameters 1000000] [--rounds 3] [--dropping 0.1]

Every client contributes the same vector in each round, as in the baseline; the model hash says if the sum was exact.
Prints one JSON object: seconds of each round by phase, peak memory of this process and of its workers.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from processes import peak_memory

from leptonic.experiment_file import from_mapping
from leptonic.update import LocalUpdate
from leptonic.wire import Reply, Request
from leptonic_client.participant import reply_to
from leptonic_server.store import RunStore
from leptonic_simulations import run as simulation
from leptonic_simulations.clients import SimulatedClients

SEQUENCE = 2**16


class Idle:
    """An engine whose clients contribute vectors that they have. dropping: share of clients that never answer.

    room: see :class:`leptonic_simulations.grid.InPlace`.
    """

    def __init__(self, clients: SimulatedClients, dropping: float) -> None:
        self._pipeline, self._trainer = clients.trainer.pipeline, clients.trainer
        size = self._pipeline.size + SEQUENCE
        self._sequence = np.random.default_rng(1).uniform(-1, 1, size).astype(np.float32)
        self.room: Callable[[], memoryview] | None = None
        self._silent = int(dropping * clients.experiment.federation.clients)

    def answers(
        self, requests: Sequence[Request], content: bytes | memoryview
    ) -> Iterator[tuple[Reply, bytes | memoryview]]:
        """Each client's vector, encoded."""
        del content
        for request in requests:
            if request.client < self._silent:
                yield reply_to(request, "failed", detail="dropped out"), b""
                continue
            start = request.client % SEQUENCE
            vector = self._sequence[start : start + self._pipeline.size]
            update = LocalUpdate(vectors={"model": vector}, weight=1.0)
            if self.room is None:
                yield reply_to(request, "done"), self._pipeline.encode(update).to_bytes()
                continue
            room = self.room()
            self._pipeline.encode_into(room, update)
            yield reply_to(request, "done"), room

    def close(self) -> None:
        """There is nothing to close."""


def main() -> None:
    """Run, and print what the rounds took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, required=True)
    parser.add_argument("--neighbours", type=int, default=0)
    parser.add_argument("--parameters", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dropping", type=float, default=0.0)
    parser.add_argument("--adversary", default="lying")
    parser.add_argument("--colluders", type=int)
    parser.add_argument("--drop-outs", type=int)
    parser.add_argument("--ideal", action="store_true")
    options = parser.parse_args()
    secure: dict[str, object] = {"adversary": options.adversary, "bits": 32}
    if options.neighbours:
        secure["neighbours"] = options.neighbours
    if options.colluders is not None:
        secure["colluders"] = options.colluders
    if options.drop_outs is not None:
        secure["drop_outs"] = options.drop_outs
    sections = {
        "name": "secure",
        "data": {"name": "digits"},
        "model": {"name": "secure.flat_model:build", "options": {"parameters": options.parameters}},
        "federation": {"clients": options.clients, "partition": {"scheme": "sampled", "examples": 10}},
        "training": {"rounds": options.rounds, "local_steps": 1},
        "aggregation": {"rule": "mean", "weighting": "uniform"},
        "evaluation": {"every": options.rounds},
        "secure_aggregation": secure,
        "simulation": {"secure_aggregation": "ideal" if options.ideal else "real", "engine": "sequential"},
        "outputs": {"report": False, "tensorboard": False},
    }
    simulation._engine = lambda clients, *_: Idle(clients, options.dropping)  # type: ignore[assignment]
    with TemporaryDirectory() as folder:
        result = simulation.simulate(from_mapping(sections), folder=Path(folder) / "run", quiet=True)
        store = RunStore(Path(folder) / "run")
        rounds = [record for record in store.rounds() if record.round]
        store.close()
    seconds = [{key: value for key, value in record.seconds.items() if key != "evaluate"} for record in rounds]
    found = {
        "seconds": seconds,
        "survivors": [record.survivors for record in rounds],
        "bytes_up": [record.bytes_up for record in rounds],
        "bytes_down": [record.bytes_down for record in rounds],
        "peak": peak_memory(),
        "model": result.model_sha256,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
