"""Simulation: rounds and whole commands beside Flower's, pfl-research's and a bare PyTorch loop's; large populations.

Every comparison is measured in the same run, its sides in turns, in seconds of wall time. Parts can be measured one
after the other; each is stored for the number of cores it had. Stored as docs/results/simulation.json, with a
table beside it.

    python benchmarks/simulation.py [--only flute,models] [--quick] [--json]
    taskset -c 0,1 python benchmarks/simulation.py

It wants MNIST (`leptonic data fetch mnist digits`). The baselines Flower with Ray and pfl-research may be installed
beside Leptonic, or in an environment of their own, since they want other versions of what they share with it:

    python -m venv baselines && baselines/bin/pip install "flwr[simulation]==1.41.*" "pfl[pytorch]==0.6.*"
    python benchmarks/simulation.py --baselines-python baselines/bin/python

A baseline that is absent is reported as not measured.
"""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator

from reporting import Figure, arguments, report_part, write_parts
from simulating import flute, models, population, soak
from simulating.plan import Plan, say

PARTS: dict[str, tuple[str, Callable[[Plan], Iterator[Figure]]]] = {
    "flute": ("FLUTE's LR_MNIST: rounds and whole commands", flute.measure),
    "models": ("Seconds per client, beside a bare PyTorch loop", models.against_bare),
    "pfl": ("Seconds per client, beside pfl-research", models.against_pfl),
    "population": ("Populations", population.measure),
    "soak": ("A thousand rounds", soak.measure),
    "cuda": ("Seconds per client on a GPU", models.on_cuda),
}

ABOUT = """*FLUTE's LR_MNIST*: 1000 clients of 60 images of MNIST, 10 a round, one local epoch in batches of 10,
logistic regression, 100 rounds, each side a command of its own, without evaluation between the first and the last
model. Rounds are timed where the new model stands, ours after its commit to disk; the first is left out, and the
last, which ours evaluates and Flower's does not. *As it comes*: the default engine and outputs, a report among
them. Baseline: Flower's own simulation (Ray), one core for each client. *Seconds per client*: 50 clients a round, 5
steps of 10 images. An engine's time is that of its rounds, from requests to encoded contributions; whole rounds are
those of simulations, from commit to commit. Baselines: a sequential loop of plain PyTorch, one model and no
framework; pfl-research in one process, as it runs on one machine. Both with one and with two threads; the table
shows the better, and for the convolutional models against the bare loop two threads. *Populations*: logistic
regression, each client draws its 60 images by itself; peaks are resident sizes (VmHWM). *A thousand rounds*:
SCAFFOLD on digits, evaluated every round; resident sizes of all processes, what they share counted for each, a line
fitted after 200 rounds."""


def main() -> None:
    """Measure the parts that are asked for, print, store."""
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--only", type=_parts, default=list(PARTS), metavar="PART,...", help=", ".join(PARTS))
    parser.add_argument(
        "--baselines-python", default=sys.executable, metavar="PATH", help="interpreter that has ray and pfl"
    )
    options = parser.parse_args()
    if shutil.which(options.baselines_python) is None:
        parser.error(f"--baselines-python: {options.baselines_python} is not a program")
    plan = (Plan.quick if options.quick else Plan)(options.baselines_python)
    measured: dict[str, dict[str, object]] = {}
    for part in options.only:
        title, measure = PARTS[part]
        say(f"{part}: {title}")
        started = time.time()
        measured |= report_part("simulation", title, list(measure(plan)), started=started, store=not options.quick)
        if not options.quick:
            write_parts("simulation", "Simulation", ABOUT)
    if options.json:
        print(json.dumps({"benchmark": "simulation", "parts": measured}))


def _parts(text: str) -> list[str]:
    chosen = text.split(",")
    for part in chosen:
        if part not in PARTS:
            raise argparse.ArgumentTypeError(f"no part is called '{part}'; known: {', '.join(PARTS)}")
    return chosen


if __name__ == "__main__":
    main()
