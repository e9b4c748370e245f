"""`leptonic audit` on correct code and on planted faults: how often each is accused, and what it says of epsilon.

The faults are those of the tests. Stored as docs/results/privacy_audit.json, with a table beside it.

    python benchmarks/privacy_audit.py [--quick] [--json]
"""

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from reporting import Figure, arguments, report, write_table

from leptonic.experiment import Experiment
from leptonic.experiment_file import from_mapping, load
from leptonic_simulations.audit.client_bounds import client_bounds
from leptonic_simulations.audit.client_noise import client_noise
from leptonic_simulations.audit.example_bounds import example_bounds
from leptonic_simulations.audit.example_noise import example_noise, example_sampling
from leptonic_simulations.audit.findings import Finding
from leptonic_simulations.audit.study import FULL, Effort, study
from leptonic_simulations.audit.subject import Auditor, Subject, auditing

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.simulations.audit import faults  # noqa: E402

ABOUT = """*accused*: audits with a finding that contradicts the claim, of so many of the same code. For correct code
the chance is 0.001 at most in a whole audit; a fault should be accused every time. *white box*:
neighbouring inputs, noise and sampling. *whole audit*: all of `leptonic audit` on Fashion-MNIST; *shown by
guesses* is a lower bound at level 5e-4 (a correct run shows less than it claims; the baseline is what the
accountant states at delta 1e-6), *by cosines* an estimate that warns at most. Gradient inversion:
correlation of the reconstruction with the image."""

DIGITS = {
    "name": "digits",
    "seed": 1,
    "data": {"name": "digits"},
    "model": {"name": "mlp", "hidden": [16]},
    "training": {"rounds": 4, "local_steps": 2, "batch_size": 64, "learning_rate": 0.2},
}
EXAMPLE = {"unit": "example", "epsilon": 2.0, "delta": 1e-4, "clip_norm": 0.5}
CLIENT = {"unit": "client", "epsilon": 8.0, "delta": 1e-3, "clip_norm": 0.5}
MANY = {"federation": {"clients": 200, "cohort": 60}, "aggregation": {"rule": "mean", "weighting": "uniform"}}
DISTRIBUTED = {"privacy": {**CLIENT, "mechanism": "distributed"}, "secure_aggregation": {"bits": 20}}
SERVER = {"privacy": {**CLIENT, "mechanism": "server"}}

Audit = Callable[[Auditor], list[Finding]]


@dataclass(frozen=True)
class Case:
    """Code to be audited again and again. parts: those that are faulty."""

    name: str
    experiment: Experiment
    audits: tuple[Audit, ...]
    parts: dict[str, Any] = field(default_factory=dict)


def made(**sections: Any) -> Experiment:
    """An experiment on digits."""
    return from_mapping({**DIGITS, **sections})


def cases() -> Iterator[Case]:
    """Correct code, and the three faults, wherever each can be made."""
    example, white = made(federation={"clients": 3}, privacy=EXAMPLE), (example_bounds, example_noise, example_sampling)
    summed, central, clients = made(**MANY, **DISTRIBUTED), made(**MANY, **SERVER), (client_bounds, client_noise)
    yield Case("correct, examples", example, white)
    yield Case("correct, clients, distributed noise", summed, clients)
    yield Case("correct, clients, server's noise", central, clients)
    yield Case("noise left out, examples", example, white, {"trainer": faults.WithoutNoise})
    yield Case("noise left out, clients", summed, clients, {"trainer": faults.without_share})
    yield Case("noise left out, server", central, clients, {"server_noise": faults.no_server_noise})
    yield Case("one layer not clipped, examples", example, white, {"trainer": faults.SkipsALayer})
    yield Case("some entries not clipped, clients", summed, clients, {"trainer": faults.skips_entries})
    yield Case("same noise on two clients, examples", example, white, {"client": faults.SharedNoise})
    yield Case("same noise on two clients, clients", summed, clients, {"client": faults.SharedNoise})
    yield Case("same noise in two rounds, server", central, clients, {"server_noise": faults.repeated_server_noise})


def accused(case: Case) -> bool:
    """Whether one audit of the code accuses it."""
    with auditing(Subject(case.experiment, **case.parts)) as auditor:
        return any(finding.verdict == "contradicted" for audit in case.audits for finding in audit(auditor))


def rates(times: int) -> list[Figure]:
    """How often each case is accused."""
    figures = []
    for case in cases():
        count, due = sum(accused(case) for _ in range(times)), times if case.parts else 0
        name, unit = f"white box, {case.name}: accused", f"of {times}"
        figures.append(Figure(name, unit, float(count), target=str(due), met=count == due))
    return figures


def whole(name: str, experiment: Experiment, effort: Effort) -> list[Figure]:
    """One audit with everything."""
    begun = time.perf_counter()
    done = study(Subject(experiment), effort)
    about = f"whole audit, {name}"
    figures = [
        Figure(f"{about}: accused", "findings", float(len(done.contradicted)), target="0", met=not done.contradicted),
        Figure(f"{about}: time", "s", round(time.perf_counter() - begun, 1)),
    ]
    for finding in done.findings:
        if finding.found is None or finding.audit == "sampling":
            continue
        what = {"guesses who was there": "shown by guesses", "canary clients": "shown by cosines"}.get(finding.audit)
        found, claimed = round(finding.found, 4), None if finding.claimed is None else round(finding.claimed, 4)
        named = f"{about}: {what or f'{finding.audit}, {finding.question}'}"
        figures.append(Figure(named, finding.unit, found, claimed, "claimed" if claimed is not None else ""))
    return figures


def main() -> None:
    """Measure, print, store."""
    options = arguments("leptonic audit on correct code and on planted faults").parse_args()
    torch.set_num_threads(2)
    started, times = time.time(), 2 if options.quick else 50
    figures = rates(times)
    if not options.quick:
        private = load(ROOT / "experiments" / "fashion_mnist_private.toml")
        figures += whole("examples, epsilon 8", private, FULL)
        content = private.model_dump(exclude={"privacy", "federation", "aggregation"})
        fashion = {**content, "training": {"rounds": 5, "local_steps": 1, "batch_size": 32}}
        figures += whole("server's noise", from_mapping({**fashion, **MANY, **SERVER}), FULL)
        cohort = {"federation": {"clients": 200, "cohort": 200}, "aggregation": MANY["aggregation"]}
        figures += whole("distributed noise", from_mapping({**fashion, **cohort, **DISTRIBUTED}), FULL)
    report("privacy_audit", figures, started=started, store=not options.quick, as_json=options.json)
    if not options.quick:
        write_table("privacy_audit", "Audits of privacy", ABOUT)


if __name__ == "__main__":
    main()
