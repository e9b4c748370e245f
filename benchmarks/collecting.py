"""The processes of aggregation.py: a coordinator that sums contributions, and clients that send them.

The coordinator is the part of ours that a round's replies pass: link, exchange, accumulator; it asks with an
empty payload, since only what comes back is measured. A contributing process plays its clients in turn, so
that it holds one vector at a time.
"""

import argparse
import json
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from processes import peak_memory

from leptonic import objects
from leptonic.experiment import Experiment
from leptonic.experiment_file import from_mapping
from leptonic.pipeline import pipeline_for
from leptonic.records import pack, unpack
from leptonic.update import LocalUpdate
from leptonic.wire import Reply, Request
from leptonic_client.fleet import connect_for_ever
from leptonic_server.accumulator import StreamingSum
from leptonic_server.exchange import Exchange
from leptonic_server.link import LinkAnswer, LinkGrid
from leptonic_server.post import Letter, RoundGrid

SENDERS = 2
"""Processes that play the clients."""

DEADLINE = 600.0


def experiment(clients: int) -> Experiment:
    """The mean of so many updates; what the model is does not matter here."""
    return from_mapping(
        {
            "name": "aggregation",
            "data": {"name": "own", "shape": [1], "classes": 2},
            "task": {"kind": "tabular_classification"},
            "model": {"name": "logistic"},
            "federation": {"clients": clients},
            "aggregation": {"rule": "mean", "weighting": "uniform"},
        }
    )


class Everyone:
    """All nodes of the link, as clients by order of their ids, whose replies carry no signature."""

    def __init__(self, grid: LinkGrid) -> None:
        self._grid = grid

    def online(self) -> Mapping[int, int]:
        """Index -> node."""
        return dict(enumerate(sorted(self._grid.get_node_ids())))

    def key(self, client: int) -> str | None:
        """No key."""
        return None

    def name(self, client: int) -> str:
        """The index."""
        return str(client)


class AfterAll:
    """A grid that gives out no reply before the last has been sent: so much can come to lie on the link."""

    def __init__(self, grid: LinkGrid, folder: Path) -> None:
        self._grid, self._folder = grid, folder
        self.payloads = grid.payloads

    def send(self, letters: Sequence[Letter]) -> list[str]:
        """As the grid's."""
        return self._grid.send(letters)

    def answers(self, names: Iterable[str]) -> list[LinkAnswer]:
        """Nothing, or what the grid has."""
        if len(list(self._folder.glob("sent-*"))) < SENDERS:
            return []
        return self._grid.answers(names)

    def abandon(self, names: Iterable[str]) -> None:
        """As the grid's."""
        self._grid.abandon(names)


def coordinate(address: str, clients: int, parameters: int, folder: Path, *, after_all: bool) -> None:
    """Sum one contribution of each client, and print what it took as JSON.

    after_all: take the first contribution only when the last has been sent.
    """
    settings = experiment(clients)
    pipeline = pipeline_for(settings, parameters)
    host, _, port = address.partition(":")
    grid = LinkGrid(host, int(port), folder / "link")
    members, total = Everyone(grid), StreamingSum(pipeline)
    while len(members.online()) < clients:
        time.sleep(0.2)
    through: RoundGrid = grid
    if after_all:
        through = AfterAll(grid, folder)

    def take(client: int, buffer: bytes | memoryview) -> None:
        contribution = pipeline.from_bytes(buffer)
        pipeline.check(contribution)
        total.add(client, contribution)

    started = time.perf_counter()
    asked = Exchange(through, members, run="aggregation", experiment=settings.hash).ask(
        "train",
        round_number=1,
        attempt=1,
        cohort=range(clients),
        content=b"",
        expected=pipeline.encoded_length,
        wanted=clients,
        deadline=DEADLINE,
        take=take,
    )
    mean = total.result().vectors["model"]
    outcome = {
        "counted": len(asked.counted),
        "mean": float(mean.mean()),
        "seconds": time.perf_counter() - started,
        "peak": peak_memory(),
        "link_peak": grid.peak_memory(),
    }
    grid.close()
    print(json.dumps(outcome))


def contribute(address: str, clients: int, parameters: int, folder: Path, *, seed: int) -> None:
    """Answer for a share of the clients, one after the other, with random updates."""
    pipeline, draw = pipeline_for(experiment(clients), parameters), np.random.default_rng(seed)
    fleets = [connect_for_ever(address, print) for _ in range(clients // SENDERS)]
    for fleet in fleets:
        while (incoming := fleet.pull()) is None:
            time.sleep(0.05)
        request, _ = unpack(incoming.message.content, Request)
        update = LocalUpdate({"model": draw.random(parameters, dtype=np.float32)}, weight=1.0)
        content = pipeline.encode(update).to_bytes()
        cut = objects.cut(content)
        payload = objects.describe(content, [name for name, _ in cut])
        named = request.model_dump(exclude={"counted", "payload"})
        fleet.push(incoming, pack(Reply(**named, payload=payload, status="done")), payload, dict(cut))
        fleet.confirm(incoming)
    (folder / f"sent-{seed}").touch()
    # A node that leaves takes its replies with it: stay until the coordinator closes the link.
    signal.pause()


def main() -> None:
    """One of the two roles, as the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("role", choices=["coordinate", "contribute"])
    parser.add_argument("address")
    parser.add_argument("clients", type=int)
    parser.add_argument("parameters", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--after-all", action="store_true")
    options = parser.parse_args()
    where = (options.address, options.clients, options.parameters, options.folder)
    if options.role == "coordinate":
        coordinate(*where, after_all=options.after_all)
    else:
        contribute(*where, seed=options.seed)


if __name__ == "__main__":
    main()
