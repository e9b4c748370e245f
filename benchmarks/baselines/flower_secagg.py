"""Flower's own SecAgg+ in Flower's own simulation: stock FedAvg over Ray, clients that answer without training.

Prints one JSON object as its last line. Wants flwr[simulation]; Linux only.

    python flower_secagg.py --clients 50 --neighbours 12 --parameters 1000000 --rounds 2

Seconds are those of each round of Flower's SecAggPlusWorkflow on the server: keys, shares, masked vectors, unmasking
and FedAvg's mean. What comes before the first round is in start_up: Ray, its workers and the initial model. The first
round still has some warming up of the workers in it; compare the median of those after it.

Of SecAgg+'s settings only those without a default are chosen: each client shares its keys with its neighbours and
itself (0 neighbours: with everyone), and two thirds of the shares reconstruct a key. The others are stock: values
clipped to +-8, 2**22 steps, modulus 2**32, weights of up to 1000, no timeout. Clients weigh 1. One client runs on each
core that this process may use; on two cores, one, three or four at a time take longer.
"""

import argparse
import json
import os
import time
from functools import cache
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

# Before the imports of Flower and Ray, which read some of these once.
os.environ.update(FLWR_TELEMETRY_ENABLED="0", FLWR_DISABLE_UPDATE_CHECK="1", RAY_USAGE_STATS_ENABLED="0")

from flwr.app import Context
from flwr.client import NumPyClient
from flwr.client.mod import secaggplus_mod
from flwr.clientapp import ClientApp
from flwr.server import LegacyContext, ServerConfig
from flwr.server.strategy import FedAvg
from flwr.server.workflow import DefaultWorkflow, SecAggPlusWorkflow
from flwr.server.workflow.constant import MAIN_PARAMS_RECORD
from flwr.serverapp import Grid, ServerApp
from flwr.simulation import run_simulation

THRESHOLD = 2 / 3
"""The part of a key's shares that reconstructs it."""


@cache
def values(parameters: int, clients: int) -> np.ndarray:
    """Random values in [-1, 1), float32; client i's vector is the window of so many parameters that begins at i."""
    drawn = np.random.default_rng(1).random(parameters + clients - 1, dtype=np.float32)
    return 2 * drawn - 1


class Vector(NumPyClient):  # type: ignore[misc]
    """A client that always answers with the same vector."""

    def __init__(self, partition: int, parameters: int, clients: int) -> None:
        self._partition, self._parameters, self._clients = partition, parameters, clients

    def get_parameters(self, config: dict[str, object]) -> list[np.ndarray]:
        """The initial model."""
        return [np.zeros(self._parameters, np.float32)]

    def fit(
        self, parameters: list[np.ndarray], config: dict[str, object]
    ) -> tuple[list[np.ndarray], int, dict[str, float]]:
        """The vector, at weight 1."""
        own = values(self._parameters, self._clients)[self._partition : self._partition + self._parameters]
        return [own], 1, {}


class Rounds:
    """SecAgg+'s rounds, each timed, and its model compared with the mean of the clients' vectors."""

    def __init__(self, clients: int, neighbours: int, parameters: int) -> None:
        self.began: float | None = None
        self.seconds: list[float] = []
        self.errors: list[float] = []
        self._workflow = SecAggPlusWorkflow(neighbours + 1 if neighbours else clients, THRESHOLD)
        self._clients, self._parameters = clients, parameters

    def __call__(self, grid: Grid, context: Context) -> None:
        """One round. Raises RuntimeError if Flower halted it, which leaves the model as it was."""
        before = context.state[MAIN_PARAMS_RECORD]
        started = time.perf_counter()
        self.began = self.began or started
        self._workflow(grid, context)
        self.seconds.append(time.perf_counter() - started)
        if (after := context.state[MAIN_PARAMS_RECORD]) is before:
            raise RuntimeError(f"round {len(self.seconds)} was halted")
        (model,) = after.to_numpy_ndarrays()
        self.errors.append(float(np.abs(model - self._expected()).max()))

    @property
    def correct(self) -> bool:
        """Whether every entry of every round is within one step of the quantisation.

        Rounding is off by less than a step for each client. A step is larger by the ratio of the largest weight to
        the client's, as Flower rounds it; a quarter of one more is for float32.
        """
        flower = self._workflow
        ratio = round(flower.quantization_range / flower.max_weight) / flower.quantization_range
        step = 2 * flower.clipping_range / flower.quantization_range / ratio
        return all(error < 1.25 * step for error in self.errors)

    def _expected(self) -> np.ndarray:
        drawn = values(self._parameters, self._clients)
        total = np.zeros(self._parameters)
        for client in range(self._clients):
            total += drawn[client : client + self._parameters]
        return total / self._clients


def peak_memory(pid: int) -> int:
    """The largest resident size so far, in bytes, of a process or one that descends from it."""
    folder = Path(f"/proc/{pid}")
    try:
        status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        children = " ".join(path.read_text() for path in folder.glob("task/*/children")).split()
    except OSError:  # it has ended
        return 0
    own = int(status.get("VmHWM", "0 kB").split()[0]) * 1024
    return max([own, *(peak_memory(int(child)) for child in children)])


def client_app(parameters: int, clients: int) -> ClientApp:
    """The clients, behind Flower's SecAgg+."""

    def client(context: Context) -> object:
        return Vector(int(context.node_config["partition-id"]), parameters, clients).to_client()

    return ClientApp(client_fn=client, mods=[secaggplus_mod])


def main() -> None:
    """Run, and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, required=True)
    parser.add_argument("--neighbours", type=int, default=0, help="of each client, even; 0: all others")
    parser.add_argument("--parameters", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    if options.neighbours % 2 or options.neighbours >= options.clients:
        parser.error("--neighbours: an even number below that of the clients; with an odd one Flower's rounds halt")
    rounds = Rounds(options.clients, options.neighbours, options.parameters)
    peaks: list[int] = []
    server = ServerApp()

    @server.main()  # type: ignore[untyped-decorator]
    def serve(grid: Grid, context: Context) -> None:
        strategy = FedAvg(
            fraction_fit=1.0,
            fraction_evaluate=0.0,
            min_fit_clients=options.clients,
            min_available_clients=options.clients,
        )
        legacy = LegacyContext(context, ServerConfig(num_rounds=options.rounds), strategy)
        DefaultWorkflow(fit_workflow=rounds)(grid, legacy)
        peaks.append(peak_memory(os.getpid()))

    backend = {
        "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
        "init_args": {"num_cpus": len(os.sched_getaffinity(0)), "logging_level": "error", "log_to_driver": False},
    }
    with TemporaryDirectory() as home:
        os.environ["FLWR_HOME"] = home
        started = time.perf_counter()
        run_simulation(server, client_app(options.parameters, options.clients), options.clients, backend_config=backend)
    if rounds.began is None or len(rounds.seconds) != options.rounds:
        raise SystemExit(f"{len(rounds.seconds)} of {options.rounds} rounds were made")
    found = {
        "framework": "flower secagg+",
        "version": version("flwr"),
        "clients": options.clients,
        "neighbours": options.neighbours,
        "parameters": options.parameters,
        "seconds": rounds.seconds,
        "start_up": rounds.began - started,
        "peak_memory": max(peaks, default=None),
        "error": max(rounds.errors),
        "correct": rounds.correct,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    # By its name, under which Ray's workers can import it.
    import flower_secagg

    flower_secagg.main()
