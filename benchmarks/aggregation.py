"""Aggregation: the coordinator's memory as the cohort grows, and the speed of integer sums.

Contributions of 1e7 parameters reach a coordinator over a real link on loopback; each cohort size has
processes of its own. The kernels run in this process, in turn with the float32 add that they are compared
with. Stored as docs/results/aggregation.json, with a table beside it.

    python benchmarks/aggregation.py [--quick] [--json]
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from collecting import SENDERS
from processes import Processes, free_port
from reporting import Figure, arguments, report, write_table

from leptonic.integers import Lattice, add

COHORTS = (8, 32, 128)
LATE = 32
"""Contributions that are all sent before the first is taken."""
GROWTH_LIMIT = 0.10
SPEED_LIMIT = 0.5
MEGABYTE = 1e6
REPEATS = 15

ABOUT = """Contributions of 1e7 random parameters (40 MB each) over a real link on loopback, each cohort size in fresh
processes. Peaks are resident sizes (VmHWM). *As they come*: the coordinator takes replies while others are being sent,
as it does in every round. Kernels work on 1e7 entries on one thread, medians; an add counts 12 bytes an entry (two
read, one written), quantise and dequantise the 4 bytes of the float32."""


@dataclass(frozen=True)
class Sum:
    """What one sum took. peak, link_peak: megabytes of the coordinator and of the link's process."""

    peak: float
    link_peak: float
    seconds: float


def collect(clients: int, parameters: int, *, after_all: bool = False) -> Sum:
    """Sum the contributions of so many clients; see :func:`collecting.coordinate`."""
    program = Path(__file__).parent / "collecting.py"
    with TemporaryDirectory() as folder, Processes(Path(folder), {}) as processes:
        where = (f"127.0.0.1:{free_port()}", str(clients), str(parameters), folder)
        late = ("--after-all",) if after_all else ()
        coordinator = processes.start("coordinator", sys.executable, program, "coordinate", *where, *late)
        for seed in range(SENDERS):
            processes.start(f"clients-{seed}", sys.executable, program, "contribute", *where, "--seed", str(seed))
        processes.wait_until(lambda: coordinator.poll() == 0, seconds=900, what="the sum")
        outcome = json.loads(processes.log("coordinator").read_text().splitlines()[-1])
    if outcome["counted"] != clients or abs(outcome["mean"] - 0.5) > 0.01:
        raise RuntimeError(f"the sum is wrong: {outcome}")
    return Sum(outcome["peak"] / MEGABYTE, outcome["link_peak"] / MEGABYTE, outcome["seconds"])


def memory(parameters: int, cohorts: tuple[int, ...], late: int) -> list[Figure]:
    """The coordinator's and the link's peaks for each cohort, and how much the coordinator's grows."""
    figures = []
    sums = {clients: collect(clients, parameters) for clients in cohorts}
    for clients, taken in sums.items():
        rate = 4 * parameters * clients / taken.seconds / MEGABYTE
        figures += [
            Figure(f"coordinator's peak, {clients} contributions", "MB", round(taken.peak, 1)),
            Figure(f"link's peak, {clients} contributions as they come", "MB", round(taken.link_peak, 1)),
            Figure(f"rate, {clients} contributions", "MB/s", round(rate, 1)),
        ]
    growth = sums[cohorts[-1]].peak / sums[cohorts[0]].peak - 1
    figures.append(
        Figure(
            f"growth of the coordinator's peak from {cohorts[0]} to {cohorts[-1]} contributions",
            "%",
            round(100 * growth, 2),
            target=f"< {GROWTH_LIMIT:.0%}",
            met=growth < GROWTH_LIMIT,
        )
    )
    held = collect(late, parameters, after_all=True)
    figures.append(
        Figure(f"link's peak, {late} contributions all sent before the first is taken", "MB", held.link_peak)
    )
    return figures


def kernels(entries: int) -> list[Figure]:
    """Speed of the integer add beside a float32 add, and of quantising."""
    draw = np.random.default_rng(1)
    words, total = (draw.integers(2**32, size=entries, dtype=np.uint32) for _ in range(2))
    reals, sums = (draw.random(entries, dtype=np.float32) for _ in range(2))
    lattice = Lattice(range=8.0, clients=128)
    works: dict[str, tuple[int, Callable[[], object]]] = {
        "add": (12, lambda: add(total, words)),
        "float": (12, lambda: np.add(sums, reals, out=sums)),
        "quantise": (4, lambda: lattice.quantise(reals)),
        "dequantise": (4, lambda: lattice.dequantise(total, 3.0)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(REPEATS):
        for name, (_, work) in works.items():
            started = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - started)
    speed = {name: size * entries / statistics.median(seconds[name]) / 1e9 for name, (size, _) in works.items()}
    ratio = speed["add"] / speed["float"]
    return [
        Figure(
            "integer add of client-quantised vectors",
            "GB/s",
            round(speed["add"], 2),
            round(speed["float"], 2),
            "float32 add",
            round(ratio, 3),
            target=f">= {SPEED_LIMIT}x",
            met=ratio >= SPEED_LIMIT,
        ),
        Figure("quantise", "GB/s", round(speed["quantise"], 3)),
        Figure("dequantise", "GB/s", round(speed["dequantise"], 3)),
    ]


def main() -> None:
    """Measure, print, store."""
    options = arguments(__doc__.splitlines()[0]).parse_args()
    started = time.time()
    parameters, cohorts, late = (10**6, (8, 32), 8) if options.quick else (10**7, COHORTS, LATE)
    figures = kernels(parameters) + memory(parameters, cohorts, late)
    report("aggregation", figures, started=started, store=not options.quick, as_json=options.json)
    if not options.quick:
        write_table("aggregation", "Aggregation", ABOUT)


if __name__ == "__main__":
    main()
