"""Client-level privacy without a trusted server, beside one with: the same epsilon, the same adversary, paired seeds.

Distributed Skellam noise in words of 16 bits, within secure aggregation, beside Gaussian noise that a trusted server
adds; both accounted by Renyi curves, each client in two of five rounds, nobody assumed to collude. A second table
assumes that a third of the clients in each sum collude with the server. Each run is stored under
docs/results/client_level/ when it ends, and not run again; one that was broken off goes on (runs/client_level/).

    python benchmarks/client_level.py [--seeds 5 | 2-4] [--only server,distributed,colluding] [--table] [--quick]
"""

import json
import statistics
import time
from pathlib import Path
from typing import Any

from private.client_level_picture import draw
from reporting import RESULTS, Figure, arguments, machine, report, versions, write_table

from leptonic.experiment import Experiment
from leptonic.experiment_file import from_mapping
from leptonic_server.store import RunStore
from leptonic_simulations.run import simulate

STORE = RESULTS / "client_level"
EPSILON, DELTA = 8.0, 1e-4
CLIENTS, COHORT, ROUNDS = 1000, 400, 20
LINES = {
    "server": "Gaussian by a trusted server",
    "distributed": "Skellam by the clients, 16 bits",
    "colluding": "Skellam, a third of a sum colluding",
}
Stored = dict[str, Any]


def experiment(line: str, seed: int, *, quick: bool = False) -> Experiment:
    """A line's run. The threshold of survivors is the whole cohort, so that the same noise is in every sum."""
    clients, cohort, rounds = (60, 30, 2) if quick else (CLIENTS, COHORT, ROUNDS)
    privacy: dict[str, object] = {"unit": "client", "epsilon": EPSILON, "delta": DELTA, "clip_norm": 0.5}
    content: dict[str, object] = {
        "name": f"client-level-{line}",
        "seed": seed,
        "data": {"name": "mnist"},
        "model": {"name": "tanh_cnn"},
        "federation": {"clients": clients, "cohort": cohort, "minimum": cohort},
        "training": {"rounds": rounds, "local_epochs": 1, "batch_size": 20, "learning_rate": 0.2},
        "server_optimizer": {"name": "sgd", "learning_rate": 1.0, "momentum": 0.9},
        "aggregation": {"rule": "mean", "weighting": "uniform"},
        "privacy": privacy | {"mechanism": "server" if line == "server" else "distributed"},
        "outputs": {"report": False, "tensorboard": False},
        # The same integers as with masks, and the same model (tests/simulations/test_client_level.py).
        "simulation": {"engine": "sequential", "secure_aggregation": "ideal"},
    }
    if line != "server":
        colluders = cohort // 3 if line == "colluding" else 0
        content["secure_aggregation"] = {"bits": 16, "colluders": colluders, "adversary": "curious"}
    return from_mapping(content)


def main() -> None:
    """Run what is asked for and not stored; write the table and the picture."""
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="5", help="how many, from 1; or first-last")
    parser.add_argument("--only", default=",".join(LINES), metavar="LINE,...", help=", ".join(LINES))
    parser.add_argument("--table", action="store_true", help="only write the table and the picture")
    options = parser.parse_args()
    lines = options.only.split(",")
    if unknown := set(lines) - set(LINES):
        parser.error(f"no line is called {sorted(unknown)}; known: {', '.join(LINES)}")
    started = time.time()
    if options.quick:
        figures = [_quick(line) for line in lines]
    else:
        for seed in () if options.table else _seeds(options.seeds):
            for line in lines:
                run(line, seed)
        figures = _figures()
    report("client_level", figures, started=started, store=not options.quick, as_json=options.json)
    if not options.quick:
        write_table("client_level", "Client-level privacy without a trusted server", about())
        draw({LINES[line]: [one["curve"] for one in stored(line)] for line in LINES}, RESULTS / "client_level.png")


def run(line: str, seed: int) -> None:
    """Simulate and store, unless that is done."""
    settings, path = experiment(line, seed), STORE / f"{line}-{seed}.json"
    if path.exists() and json.loads(path.read_text())["experiment_sha256"] == settings.hash:
        return
    outcome = simulated(settings, f"{path.stem}-{settings.hash[:8]}")
    STORE.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(outcome | {"line": line, "seed": seed}, indent=1) + "\n")
    print(f"{path.stem}: {outcome['accuracy']:.2f} % in {outcome['seconds']} s", flush=True)


def simulated(settings: Experiment, name: str) -> Stored:
    """Run or continue a simulation. accuracy: on the test set after the last round, in percent; curve: after each."""
    folder = Path("runs", "client_level", name)
    result = simulate(settings, folder=folder, resume=(folder / "run.sqlite").exists(), quiet=True)
    store = RunStore(folder, read_only=True)
    records = list(store.rounds())
    store.close()
    assert result.accuracy is not None
    return {
        "accuracy": round(100 * result.accuracy, 2),
        "curve": [round(100 * record.metrics["accuracy"], 2) for record in records],
        "privacy": records[-1].privacy,
        "seconds": round(result.seconds),
        "model_sha256": result.model_sha256,
        "experiment_sha256": settings.hash,
        "experiment": settings.model_dump(mode="json"),
        "machine": machine(),
        "versions": versions("leptonic", "torch", "flwr", "numpy"),
    }


def stored(line: str) -> list[Stored]:
    """What is stored of a line as it is now, by seed."""
    found = (json.loads(path.read_text()) for path in STORE.glob(f"{line}-*.json"))
    return sorted(
        (one for one in found if one["experiment_sha256"] == experiment(line, one["seed"]).hash),
        key=lambda one: one["seed"],
    )


def _figures() -> list[Figure]:
    """Each line beside the trusted server's, on the seeds that both have."""
    figures = []
    base = {one["seed"]: one for one in stored("server")}
    for line, title in LINES.items():
        runs = {one["seed"]: one for one in stored(line) if one["seed"] in base}
        ours = statistics.mean(one["accuracy"] for one in runs.values()) if runs else None
        theirs = statistics.mean(base[seed]["accuracy"] for seed in runs) if runs else None
        spread = f" +- {statistics.stdev(one['accuracy'] for one in runs.values()):.2f}" if len(runs) > 1 else ""
        name = f"{title} ({len(runs)} seeds{spread})"
        if line == "server":
            figures.append(Figure(name, "%", ours))
            continue
        baseline = "trusted server, the same seeds"
        figures.append(Figure(name, "%", ours, theirs, baseline))
        lost = theirs - ours if ours is not None and theirs is not None else None
        target = "<= 0.5 points" if line == "distributed" else ""
        met = lost <= 0.5 if lost is not None and line == "distributed" and len(runs) >= 5 else None
        figures.append(Figure(f"{title}: behind the trusted server", "points", lost, target=target, met=met))
    return figures


def about() -> str:
    """What the figures mean."""
    return "\n".join(
        [
            "Mean accuracy on the 10,000 test images of MNIST after the last round, in percent (seeds, and their",
            f"standard deviation). {CLIENTS:,} clients of 60 images, {COHORT} a round, {ROUNDS} rounds, so that each",
            f"joins {ROUNDS * COHORT // CLIENTS}; the tanh network of 26,010 parameters, one local epoch, clip 0.5.",
            f"Epsilon {EPSILON:g} at delta {DELTA:g} for each client, compared with one that sends zeros, by Renyi",
            "curves, no amplification by sampling. Noise is secret; a seed fixes the model, the division of the data",
            "and the batches.",
            "Settings were chosen once, on seed 0 of the trusted server. In the last line a third of the",
            "clients in each sum may collude with the server, so that the others' noise must suffice.",
            "",
            "![Accuracy by round](client_level.png)",
        ]
    )


def _seeds(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last) + 1) if last else range(1, int(first) + 1)


def _quick(line: str) -> Figure:
    outcome = simulated(experiment(line, 1, quick=True), f"{line}-quick-{time.time_ns()}")
    return Figure(f"{LINES[line]}, 60 clients, 2 rounds", "%", outcome["accuracy"])


if __name__ == "__main__":
    main()
