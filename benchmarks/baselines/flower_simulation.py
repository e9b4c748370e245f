"""Flower's own simulation of one cohort size: stock FedAvg over Ray, a client that trains with PyTorch.

Run by benchmarks/simulation.py as a command of its own; prints one JSON object. Wants flwr[simulation].

    python flower_simulation.py FOLDER --model logistic --clients 1000 --cohort 10 --rounds 100
"""

import argparse
import json
import os
import time

import numpy as np
from bare import Workload, build
from flower_client import client_app
from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation


def server_app(options: argparse.Namespace, times: list[float]) -> ServerApp:
    """Stock FedAvg, without evaluation. times: is given the time when each round's model is made."""
    server = ServerApp()

    @server.main()  # type: ignore[untyped-decorator]
    def serve(grid: Grid, _context: Context) -> None:
        def note(_round: int, _arrays: ArrayRecord) -> MetricRecord:
            times.append(time.perf_counter())
            return MetricRecord()

        strategy = FedAvg(
            fraction_train=options.cohort / options.clients,
            fraction_evaluate=0.0,
            min_available_nodes=options.clients,
        )
        initial = ArrayRecord(build(options.model).state_dict())
        strategy.start(grid, initial, num_rounds=options.rounds, evaluate_fn=note)

    return server


def main() -> None:
    """Run, and print the seconds of each round."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--clients", type=int, required=True)
    parser.add_argument("--cohort", type=int, required=True)
    parser.add_argument("--rounds", type=int, required=True)
    Workload.add_arguments(parser)
    options = parser.parse_args()
    times: list[float] = []
    backend = {
        "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
        "init_args": {"num_cpus": len(os.sched_getaffinity(0)), "logging_level": "error", "log_to_driver": False},
    }
    client = client_app(options.folder, Workload.of(options))
    run_simulation(server_app(options, times), client, options.clients, backend_config=backend)
    if len(times) != options.rounds + 1:
        raise SystemExit(f"{len(times) - 1} of {options.rounds} rounds were made")
    print(json.dumps({"rounds": np.diff(times).tolist()}))


if __name__ == "__main__":
    main()
