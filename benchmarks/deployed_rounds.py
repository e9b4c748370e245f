"""Rounds of a deployed federation of ours: `leptonic server` and `leptonic client` processes on loopback."""

import os
import statistics
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from processes import Processes, free_port

from leptonic_server.store import RunStore

NODES = 2
SKIPPED = 3
"""First rounds that are not counted: each process still loads data, builds its model and opens connections."""

LEPTONIC = (sys.executable, "-c", "from leptonic.command import main; main()")

EXPERIMENT = """
name = "round-latency"
data = {{ name = "own", shape = [3], classes = 2 }}
task = {{ kind = "tabular_classification" }}
model = {model}
federation = {{ clients = {nodes}, minimum = {nodes} }}
training = {{ rounds = {rounds}, local_steps = 1, learning_rate = 0.1 }}
aggregation = {{ rule = "mean", weighting = "uniform" }}
outputs = {{ report = false }}
"""


@dataclass(frozen=True)
class Rounds:
    """What the rounds after the first few took.

    seconds: from commit to commit, the median. collect, client: the medians of the step with the clients
    and of a client's own work in it. bytes: up and down, of all nodes, in a round.
    """

    seconds: float
    collect: float
    client: float
    bytes: int


def measure(parameters: int | None, rounds: int, folder: Path) -> Rounds:
    """Run ``rounds`` rounds with a model of so many parameters; None: a logistic model of 8."""
    own = f'{{ name = "random_update:RandomUpdate", options = {{ parameters = {parameters} }} }}'
    model = '{ name = "logistic" }' if parameters is None else own
    (folder / "experiment.toml").write_text(EXPERIMENT.format(model=model, nodes=NODES, rounds=rounds))
    address, commits = f"127.0.0.1:{free_port()}", list[float]()

    def on_line(at: float, line: str) -> None:
        if line.startswith("round "):
            commits.append(at)

    importable = os.pathsep.join((str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")))
    with Processes(folder, {"PYTHONPATH": importable}) as processes:
        where = ("--address", address, "--insecure", "--run-dir", "run")
        server = processes.follow("server", on_line, *LEPTONIC, "server", "experiment.toml", *where)
        for index in range(NODES):
            _write_rows(folder / f"{index}.npz", index)
            node = ("--server", address, "--name", f"client-{index}", "--data", f"{index}.npz", "--insecure")
            allowed = ("--allow", "random_update:RandomUpdate", "--once")
            processes.start(f"client-{index}", *LEPTONIC, "client", *node, *allowed)
        processes.wait_until(lambda: server.poll() == 0, seconds=600, what="the last round")
    return _read(folder / "run", commits)


def _read(run: Path, commits: list[float]) -> Rounds:
    store = RunStore(run)
    try:
        records = store.rounds()[1 + SKIPPED :]
        clients = [record.seconds for number, _, record in store.clients() if number > SKIPPED]
    finally:
        store.close()
    between = [after - before for before, after in pairwise(commits)]
    return Rounds(
        seconds=statistics.median(between[SKIPPED - 1 :]),
        collect=statistics.median(record.seconds["collect"] for record in records),
        client=statistics.median(clients),
        bytes=round(statistics.median(record.bytes_up + record.bytes_down for record in records)),
    )


def _write_rows(path: Path, seed: int) -> None:
    draw = np.random.default_rng(seed)
    np.savez(path, features=draw.normal(size=(64, 3)).astype(np.float32), label=draw.integers(2, size=64))
