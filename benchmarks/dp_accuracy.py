"""Accuracy under example-level differential privacy: epsilon 3 and delta 1e-5, beside published figures.

Each line of the table is an experiment that `leptonic simulate` runs as any other: calibrated by PRV, noise and batches
from the operating system's randomness, which no seed repeats. The unit is one seed of one line at one epsilon: what
is finished is stored under docs/results/dp_accuracy/ and not run again, and one that was broken off goes on at
the last whole round (runs/dp_accuracy/). The table and the picture are made from what is stored.

    python benchmarks/dp_accuracy.py [--only LINE,...] [--seeds 5] [--epsilon 3] [--quick] [--json]
    python benchmarks/dp_accuracy.py --table
"""

import hashlib
import json
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

from private.accuracy import DELTA, EPSILON, EXAMPLES, LINES, Line
from private.accuracy_picture import draw
from reporting import RESULTS, Figure, arguments, machine, report, versions, write_table
from torch import Tensor

from leptonic.data import scattering
from leptonic.experiment import Experiment
from leptonic.experiment_file import from_mapping
from leptonic.files import write_atomic
from leptonic.privacy.accounting import plan
from leptonic_simulations.run import simulate

STORE = RESULTS / "dp_accuracy"
SEEDS = 5
Stored = dict[str, Any]


def main() -> None:
    """Run what was asked for and is not stored yet; write the table and the picture."""
    known = {line.name: line for line in LINES}
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(known), metavar="LINE,...", help=", ".join(known))
    parser.add_argument("--seeds", default=str(SEEDS), help="how many, from 1; or first-last")
    parser.add_argument("--epsilon", default=f"{EPSILON:g}", metavar="EPSILON,...")
    parser.add_argument("--table", action="store_true", help="only write the table and the picture")
    options = parser.parse_args()
    if unknown := set(options.only.split(",")) - set(known):
        parser.error(f"no line is called {sorted(unknown)}; known: {', '.join(known)}")
    started = time.time()
    chosen = [known[name] for name in options.only.split(",")]
    epsilons = [float(epsilon) for epsilon in options.epsilon.split(",")]
    scattering.features_of = remembered(scattering.features_of)
    if options.quick:
        figures = [_quick(line, epsilons[0]) for line in chosen]
    else:
        for seed in () if options.table else _seeds(options.seeds):
            for line, epsilon in product(chosen, epsilons):
                run(line, epsilon=epsilon, seed=seed)
        figures = [figure for line in LINES for figure in compared(line)]
    report("dp_accuracy", figures, started=started, store=not options.quick, as_json=options.json)
    if not options.quick:
        write_table("dp_accuracy", "Accuracy under example-level differential privacy", about())
        draw({line: stored(line) for line in LINES}, RESULTS / "dp_accuracy.png")


def run(line: Line, *, epsilon: float, seed: int) -> None:
    """Simulate and store, unless that is done."""
    settings = line.settings(epsilon=epsilon, seed=seed)
    path = STORE / f"{line.name}-epsilon{epsilon:g}-{seed}.json"
    if path.exists() and json.loads(path.read_text())["settings"] == settings:
        return
    outcome = simulated(settings, path.stem)
    STORE.mkdir(parents=True, exist_ok=True)
    content = json.dumps(outcome | {"line": line.name, "epsilon": epsilon, "seed": seed}, indent=1) + "\n"
    write_atomic(path, content.encode())
    print(f"{path.stem}: {outcome['accuracy']:.2f} % in {outcome['seconds']} s", flush=True)


def simulated(settings: Stored, name: str) -> Stored:
    """Run or continue a simulation. accuracy: on the test set after the last round, in percent."""
    experiment = from_mapping(settings)
    folder = Path("runs", "dp_accuracy", f"{name}-{experiment.hash[:8]}")
    result = simulate(experiment, folder=folder, resume=(folder / "run.sqlite").exists(), quiet=True)
    assert result.accuracy is not None
    assert result.epsilon is not None
    return {
        "accuracy": round(100 * result.accuracy, 2),
        "epsilon_spent": round(result.epsilon, 4),
        "noise_multiplier": _noise(experiment),
        "seconds": round(result.seconds),
        "model_sha256": result.model_sha256,
        "settings": settings,
        "machine": machine(),
        "versions": versions("leptonic", "torch", "flwr", "opacus", "numpy"),
    }


def remembered(features_of: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The same, but for images that were asked for before: every seed and every epsilon has the same features."""
    known: dict[str, Tensor] = {}

    def found(images: Tensor) -> Tensor:
        name = hashlib.sha256(images.numpy().tobytes()).hexdigest()
        if name not in known:
            known[name] = features_of(images)
        return known[name]

    return found


def stored(line: Line) -> dict[float, list[Stored]]:
    """What is stored of a line as it is now, by epsilon, ascending, then seed."""
    found: dict[float, list[Stored]] = {}
    for path in STORE.glob(f"{line.name}-epsilon*.json"):
        one = json.loads(path.read_text())
        if one["settings"] == line.settings(epsilon=one["epsilon"], seed=one["seed"]):
            found.setdefault(one["epsilon"], []).append(one)
    return {epsilon: sorted(found[epsilon], key=lambda one: one["seed"]) for epsilon in sorted(found)}


def compared(line: Line) -> Iterator[Figure]:
    """The figures of a line: at epsilon 3 beside what was published, or with one client; then other epsilons."""
    found = stored(line)
    alone = next((other for other in LINES if other.clients == 1 and _same(other, line)), line)
    for epsilon in sorted({EPSILON, *found}):
        runs = [one["accuracy"] for one in found.get(epsilon, [])]
        ours = statistics.mean(runs) if runs else None
        baseline, name, target, met = None, "", "", None
        if line.clients > 1:
            others = [one["accuracy"] for one in stored(alone).get(epsilon, [])]
            baseline, name = statistics.mean(others) if others else None, f"one client, {len(others)} seeds"
        elif epsilon == EPSILON:
            baseline, name = line.published, line.published_as if line.published else ""
            target = f">= {line.target}, mean of {SEEDS}" if line.target else ""
            met = ours >= line.target if line.target and ours is not None and len(runs) >= SEEDS else None
        spread = f" +- {statistics.stdev(runs):.2f}" if len(runs) > 1 else ""
        title = f"{line.name}, epsilon {epsilon:g} ({len(runs)} {'seed' if len(runs) == 1 else 'seeds'}{spread})"
        yield Figure(title, "%", ours, baseline, name, None, target, met)


def about() -> str:
    """What the figures mean, and the settings of each line."""
    lines = [
        "Mean accuracy on the 10,000 test examples after the last step, in percent (seeds, their standard deviation).",
        f"Example level, add/remove adjacency, delta {DELTA:g}; epsilon holds against everyone who gets a client's",
        "updates. Noise calibrated by the PRV accountant to the whole run; noise and Poisson batches are from the",
        "operating system's randomness, so that a seed fixes the initial weights alone. Tuning is not counted:",
        "settings are the published ones, or were chosen on 10,000 held-out training examples, never by the test set.",
        "",
        "*cnn*: the network of Tramer and Boneh (arXiv 2011.11660, 26,010 parameters) on the pixels, scaled by the",
        "data set's well-known mean and deviation, which are taken to be public. *scattering*: a linear model of",
        "scattering features (`data.features = 'scattering'`), each image normalised by itself in 27 groups.",
        "*10-clients*: each with 6,000 examples, IID, and a budget of its own against everyone, the server included:",
        "ten noises where one would do is what that costs. Of the settings only the rate and the batch were tuned.",
        "",
        "Their noise multipliers are what an older conversion needs for epsilon 3; ours are PRV's.",
        "",
        "| | rounds x epochs | batch | rate | clip | noise, ours | noise, theirs | each seed at epsilon 3 |",
        "|---|---|---|---|---|---|---|---|",
        *(_row(line) for line in LINES),
    ]
    return "\n".join(lines)


def _row(line: Line) -> str:
    settings = from_mapping(line.settings(epsilon=EPSILON, seed=1))
    training, schedule = settings.training, settings.training.schedule
    rate = f"{training.learning_rate:g}"
    if schedule.kind != "constant":
        rate += f", {schedule.kind} to {schedule.floor:g}"
    theirs = "" if line.published_noise is None else f"{line.published_noise:g}"
    epochs = f"{training.rounds} x {training.local_epochs}"
    noise, each = (
        f"{_noise(settings):.3f}",
        ", ".join(f"{one['accuracy']:.2f}" for one in stored(line).get(EPSILON, [])),
    )
    return f"| {line.name} | {epochs} | {training.batch_size} | {rate} | 0.1 | {noise} | {theirs} | {each} |"


def _same(one: Line, other: Line) -> bool:
    return (one.data, one.model) == (other.data, other.model)


def _noise(settings: Experiment) -> float:
    """The noise multiplier that a client calibrates for itself."""
    assert settings.privacy is not None
    examples = getattr(settings.data, "train_examples", None) or EXAMPLES
    size = examples // settings.federation.clients
    training = settings.training
    releases = settings.privacy.releases(training.rounds)
    return plan(settings.privacy, training, public_size=size, releases=releases).noise_multiplier


def _seeds(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last) + 1) if last else range(1, int(first) + 1)


def _quick(line: Line, epsilon: float) -> Figure:
    settings = line.settings(epsilon=epsilon, seed=1, quick=True)
    outcome = simulated(settings, f"{line.name}-quick-{time.time_ns()}")
    return Figure(f"{line.name}, a fortieth of the data", "%", outcome["accuracy"])


if __name__ == "__main__":
    main()
