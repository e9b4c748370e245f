"""Flower's own simulation of one cohort size: stock FedAvg over Ray, a client that trains with PyTorch.

Run by benchmarks/simulation.py as a command of its own; prints one JSON object. Wants flwr[simulation].

    python flower_simulation.py FOLDER --model logistic --clients 1000 --cohort 10 --rounds 100
"""

import time

STARTED = time.perf_counter()

import argparse  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
from functools import cache  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402
from bare import Workload, build, train  # noqa: E402
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict  # noqa: E402
from flwr.clientapp import ClientApp  # noqa: E402
from flwr.serverapp import Grid, ServerApp  # noqa: E402
from flwr.serverapp.strategy import FedAvg  # noqa: E402
from flwr.simulation import run_simulation  # noqa: E402


@cache
def _arrays(folder: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    parts = (np.load(Path(folder) / f"{name}.npy", mmap_mode="r") for name in ("features", "labels", "rows"))
    features, labels, rows = parts
    return features, labels, rows


def _client(folder: str, workload: Workload) -> ClientApp:
    app = ClientApp()

    @app.train()  # type: ignore[untyped-decorator]
    def fit(message: Message, context: Context) -> Message:
        torch.set_num_threads(1)
        features, labels, rows = _arrays(folder)
        own = rows[int(context.node_config["partition-id"])]
        model = build(workload.model)
        model.load_state_dict(message.content["arrays"].to_torch_state_dict())
        train(model, torch.from_numpy(features[own]), torch.from_numpy(labels[own]), workload)
        content = {"arrays": ArrayRecord(model.state_dict()), "metrics": MetricRecord({"num-examples": len(own)})}
        return Message(RecordDict(content), reply_to=message)

    return app


def main() -> None:
    """Run, and print the seconds of each round and of the whole command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--clients", type=int, required=True)
    parser.add_argument("--cohort", type=int, required=True)
    parser.add_argument("--rounds", type=int, required=True)
    Workload.add_arguments(parser)
    options = parser.parse_args()
    workload = Workload.of(options)
    times: list[float] = []
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
        initial = ArrayRecord(build(workload.model).state_dict())
        strategy.start(grid, initial, num_rounds=options.rounds, train_config=ConfigRecord(), evaluate_fn=note)

    resources = {
        "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
        "init_args": {"num_cpus": len(os.sched_getaffinity(0))},
    }
    run_simulation(server, _client(options.folder, workload), options.clients, backend_config=resources)
    print(json.dumps({"rounds": np.diff(times).tolist(), "seconds": time.perf_counter() - STARTED}))


if __name__ == "__main__":
    main()
