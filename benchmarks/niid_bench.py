"""NIID-Bench's setting: accuracy of the algorithms under label skew.

10 parties, all take part, 50 rounds of 10 local epochs, batch 64, SGD with rate .01, momentum .9 and weight
decay 1e-5, LeNet; the best test accuracy over rounds. Source: Li et al. 2022, arXiv 2102.02079; the
published figures are those of Flower's replication. A cell takes an hour on two cores. One that was broken off
goes on where it stopped (runs/niid_bench/).
Each finished cell is stored as JSON under docs/results/niid_bench/, and the table is written from what is
stored.

    python benchmarks/niid_bench.py --dataset fashion-mnist --partition dirichlet:0.5 --algorithm fedavg --seeds 1
    python benchmarks/niid_bench.py --table
"""

import json
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from reporting import RESULTS, Figure, arguments, machine, report, versions

from leptonic.experiment import Experiment
from leptonic.experiment_file import from_mapping
from leptonic_server.store import RunStore
from leptonic_simulations.run import simulate

STORE = RESULTS / "niid_bench"
PUBLISHED = {
    ("mnist", "dirichlet:0.5"): {"fedavg": 98.89, "scaffold": 99.07, "fedprox": 99.02, "fednova": 98.03},
    ("mnist", "classes:2"): {"fedavg": 96.86, "scaffold": 96.92, "fedprox": 96.85, "fednova": 96.65},
    ("fashion-mnist", "iid"): {"fedavg": 89.23, "scaffold": 89.33, "fedprox": 89.42, "fednova": 89.36},
    ("fashion-mnist", "dirichlet:0.5"): {"fedavg": 88.09, "scaffold": 88.44, "fedprox": 88.15, "fednova": 88.22},
    ("fashion-mnist", "classes:2"): {"fedavg": 78.10, "scaffold": 33.80, "fedprox": 78.05, "fednova": 71.67},
    ("fashion-mnist", "classes:3"): {"fedavg": 82.43, "scaffold": 80.32, "fedprox": 82.99, "fednova": 81.97},
}
TARGET = 88.1
"""Of fashion-mnist, dirichlet:0.5, fedavg."""


def experiment(dataset: str, partition: str, algorithm: str, *, seed: int, rounds: int, epochs: int) -> Experiment:
    """One cell of the table."""
    scheme, _, value = partition.partition(":")
    shape: dict[str, object] = {"scheme": scheme}
    if scheme == "dirichlet":
        shape["alpha"] = float(value)
    elif scheme == "classes":
        shape["classes"] = int(value)
    return from_mapping(
        {
            "name": f"niid-{dataset}",
            "seed": seed,
            "data": {"name": dataset},
            "model": {"name": "lenet"},
            "federation": {"clients": 10, "partition": shape},
            "training": {
                "rounds": rounds,
                "local_epochs": epochs,
                "batch_size": 64,
                "learning_rate": 0.01,
                "momentum": 0.9,
                "weight_decay": 1e-5,
                "threads": 1,
            },
            "algorithm": {"name": algorithm},
            "outputs": {"report": False, "tensorboard": False},
        }
    )


def run(settings: Experiment, folder: Path) -> dict[str, object]:
    """Simulate one cell; its best and last accuracy in percent, and accuracy by round."""
    result = simulate(settings, folder=folder, resume=folder.exists())
    store = RunStore(folder)
    curve = [round(100 * record.metrics["accuracy"], 2) for record in store.rounds()]
    store.close()
    return {
        "best": max(curve),
        "last": curve[-1],
        "curve": curve,
        "seconds": round(result.seconds),
        "model_sha256": result.model_sha256,
        "experiment": settings.model_dump(mode="json"),
        "machine": machine(),
        "versions": versions("leptonic", "torch", "flwr", "numpy"),
    }


def table() -> str:
    """Markdown: every setting that has a stored run, beside the published figure."""
    runs: dict[tuple[str, str, str], list[float]] = {}
    for path in sorted(STORE.glob("*.json")):
        stored = json.loads(path.read_text())
        runs.setdefault((stored["dataset"], stored["partition"], stored["algorithm"]), []).append(stored["best"])
    lines = [
        "# Label skew: NIID-Bench's setting",
        "",
        "10 parties, all take part, 50 rounds, 10 local epochs, batch 64, SGD .01, momentum .9, weight decay 1e-5,",
        "LeNet.",
        "Best test accuracy over rounds in percent, mean over the stored seeds (their number in brackets);",
        "behind the stroke the figure of Flower's published replication (3 seeds).",
        "Written by `python benchmarks/niid_bench.py --table` from `docs/results/niid_bench/*.json`.",
        "",
        "| data | partition | FedAvg | SCAFFOLD | FedProx | FedNova |",
        "|---|---|---|---|---|---|",
    ]
    for (dataset, partition), published in PUBLISHED.items():
        cells = []
        for algorithm in ("fedavg", "scaffold", "fedprox", "fednova"):
            values = runs.get((dataset, partition, algorithm), [])
            ours = f"{statistics.mean(values):.2f} ({len(values)})" if values else "not measured"
            cells.append(f"{ours} / {published[algorithm]:.2f}")
        lines.append(f"| {dataset} | {partition} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the cells that were asked for, store them, write the table."""
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="fashion-mnist")
    parser.add_argument("--partition", default="dirichlet:0.5", help="iid, dirichlet:ALPHA or classes:K")
    parser.add_argument("--algorithm", default="fedavg")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds, from 1")
    parser.add_argument("--table", action="store_true", help="only write the table from what is stored")
    options = parser.parse_args()
    started, figures = time.time(), []
    for seed in () if options.table else range(1, options.seeds + 1):
        rounds, epochs = (2, 1) if options.quick else (50, 10)
        cell = (options.dataset, options.partition, options.algorithm)
        name = f"{'-'.join(cell)}-{seed}".replace(":", "")
        folder = Path("runs", "niid_bench", f"{name}{'-quick' * options.quick}")
        outcome = run(experiment(*cell, seed=seed, rounds=rounds, epochs=epochs), folder)
        outcome |= {"dataset": cell[0], "partition": cell[1], "algorithm": cell[2], "seed": seed}
        published = PUBLISHED.get(cell[:2], {}).get(cell[2])
        aimed = cell == ("fashion-mnist", "dirichlet:0.5", "fedavg") and not options.quick
        best = float(str(outcome["best"]))
        figures.append(
            Figure(
                name=f"{' '.join(cell)} seed {seed}",
                unit="%",
                ours=best,
                baseline=published,
                baseline_name="published",
                target=f">= {TARGET}" if aimed else "",
                met=best >= TARGET if aimed else None,
            )
        )
        if not options.quick:
            STORE.mkdir(parents=True, exist_ok=True)
            (STORE / f"{name}.json").write_text(json.dumps(outcome, indent=1) + "\n")
    if not options.quick:
        (RESULTS / "niid_bench.md").write_text(table())
    report("niid_bench", figures, started=started, store=False, as_json=options.json)


if __name__ == "__main__":
    main()
