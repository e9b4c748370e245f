"""Seconds of a deployed round of two nodes on loopback, ours and stock Flower's, for small and large models.

Ours: `leptonic server` and two `leptonic client` processes; a round lasts from commit to commit, with local
training, the fsync of the run store and everything else that a run does. Stock: flower-superlink and two
flower-supernode processes with FedAvg. Stored as docs/results/round_latency.json, with a table beside it.

    python benchmarks/round_latency.py [--quick] [--json]
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import deployed_rounds
import stock_rounds
from reporting import Figure, arguments, report, write_table

SMALL = 8
"""Parameters of a logistic model of three features and two classes."""
LIMIT = 0.15
MEGABYTE = 1e6
VECTORS = 2 * deployed_rounds.NODES
"""Vectors that travel in a round: down to each node, and back."""

ABOUT = """Two node processes on loopback; medians over rounds, the first few left out. Ours is a whole round, from
commit to commit: local training, the commit to disk and the report of progress are in it; there is no evaluation. Large
vectors are random in every round, so that the link cannot store two as one. A rate is the bytes of all vectors, up and
down, over the seconds of a whole round. Baseline: Flower 1.41 as it comes, FedAvg, vectors as large, no training."""


@dataclass(frozen=True)
class Plan:
    """parameters: of the model. ours, stock: how many rounds to run."""

    parameters: int
    ours: int
    stock: int


FULL = (Plan(SMALL, 33, 5), Plan(10**6, 18, 4), Plan(10**7, 13, 4))
QUICK = (Plan(SMALL, 13, 2),)


def compare(plan: Plan) -> Iterator[Figure]:
    """Ours and stock, one after the other."""
    own = plan.parameters if plan.parameters > SMALL else None
    with TemporaryDirectory() as folder:
        ours = deployed_rounds.measure(own, plan.ours, Path(folder))
    with TemporaryDirectory() as folder:
        stock = stock_rounds.measure(plan.parameters, plan.stock, Path(folder))
    name, ratio = f"{plan.parameters:,} parameters", round(stock / ours.seconds, 2)
    small = own is None
    yield Figure(
        f"round, {name}",
        "s",
        round(ours.seconds, 4),
        round(stock, 3),
        "stock Flower",
        ratio,
        target=f"<= {LIMIT} s" if small else "",
        met=ours.seconds <= LIMIT if small else None,
    )
    yield Figure(f"of it the step with the clients, {name}", "s", round(ours.collect, 4))
    yield Figure(f"of that a client's own work, {name}", "s", round(ours.client, 4))
    if not small:
        moved = 4 * plan.parameters * VECTORS / MEGABYTE
        rates = (round(ours.bytes / MEGABYTE / ours.seconds, 1), round(moved / stock, 2))
        yield Figure(f"rate, {name}", "MB/s", *rates, "stock Flower", ratio)


def main() -> None:
    """Measure, print, store."""
    options = arguments(__doc__.splitlines()[0]).parse_args()
    started = time.time()
    figures = [figure for plan in (QUICK if options.quick else FULL) for figure in compare(plan)]
    report("round_latency", figures, started=started, store=not options.quick, as_json=options.json)
    if not options.quick:
        write_table("round_latency", "Latency of a deployed round", ABOUT)


if __name__ == "__main__":
    main()
