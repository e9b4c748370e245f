"""One step of private training: ours beside no privacy, and beside Opacus' hooks, functorch and ghost clipping.

All sides take turns on the same batch of 256 examples; times are wall time. A ratio is the median over the turns
of one side's time by the other's in the same turn. Each model has a process of its own, since the holes that one
leaves in memory would slow the next. Then the memory of one large batch, whole and in micro-batches, each in a
process of its own. Stored as docs/results/dp_speed.json, with a table beside it.

    python benchmarks/dp_speed.py [--only cnn,lstm] [--quick] [--json]
    taskset -c 0,1 python benchmarks/dp_speed.py
"""

import argparse
import resource
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import torch
from private import steps
from private.workloads import Workload, workloads
from reporting import Figure, arguments, report, write_table

from leptonic.device import placed

TURNS, QUICK_TURNS, SLOW_TURNS = 25, 2, 3
LARGE, MICRO_BATCHES = 4096, 16
TARGET_WORST, TARGET_MEDIAN = 1.8, 1.3
COMPARED = (("whole step", "ours", "plain"), ("clipped gradient", "clipped gradient", "plain gradient"))
OPACUS = ("hooks", "functorch", "ghost")

ABOUT = """Batches of 256 examples, two threads, a process for each model. *cnn*: the FedAvg paper's, 1.66 M parameters;
*lenet*; *lstm*: two layers of 128 over 32 steps of 64 inputs, against PyTorch's fused nn.LSTM; *transformer*: two
pre-norm layers of width 128, four heads, 32 tokens, 2000 words. *Whole step*: forward, backward, clipping, noise from a
secure stream, SGD and the accountant, against forward, backward and SGD. *Clipped gradient*: without noise and
optimiser on either side. Times better below 1 is how many times slower. All models but Opacus' lie in memory as
Leptonic lays them, channels last, which also makes the steps without privacy quicker; *PyTorch's layout* is without
privacy as PyTorch lays a model. *How far*: the distance of our clipped sum from that of one example at a time in
float64, by its norm. Opacus runs as it comes, noise from torch's generator; for the LSTM with its DPLSTM in the place
of nn.LSTM. *Memory*: what one private step of a large batch adds at its peak."""


def main() -> None:
    """Measure, print, store."""
    known = {workload.name: workload for workload in workloads()}
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(known), metavar="MODEL,...", help=", ".join(known))
    options = parser.parse_args()
    chosen = options.only.split(",")
    if unknown := set(chosen) - set(known):
        parser.error(f"no model is called {sorted(unknown)}; known: {', '.join(known)}")
    started = time.time()
    store = not options.quick and len(chosen) == len(known)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as processes:
        tasks = [processes.submit(figures_of, name, options) for name in chosen]
        large = [processes.submit(memory_of, MICRO_BATCHES), processes.submit(memory_of, 1)] if store else []
        figures = [figure for task in tasks for figure in task.result()]
        peaks = [task.result() for task in large]
    figures += list(_overall(figures))
    if peaks:
        parts, whole = peaks
        name = f"cnn: memory of a batch of {LARGE}, in {MICRO_BATCHES} micro-batches"
        figures.append(Figure(name, "MB", parts, whole, "whole", whole / parts))
    report("dp_speed", figures, started=started, store=store, as_json=options.json)
    if store:
        write_table("dp_speed", "Private training, one step", ABOUT)


def figures_of(name: str, options: argparse.Namespace) -> list[Figure]:
    """All figures of one model, in a process of its own."""
    torch.set_num_threads(2)
    return list(measured(next(workload for workload in workloads() if workload.name == name), options))


def memory_of(accumulation_steps: int) -> float:
    """Peak memory that one private step of a large batch adds, in MB, in a process of its own."""
    torch.set_num_threads(2)
    workload = next(iter(workloads()))
    torch.manual_seed(0)
    features, labels = workload.features(LARGE), torch.randint(0, 10, (LARGE,))
    steps.large_batch(_made(workload), features[:2], labels[:2], accumulation_steps=1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    steps.large_batch(_made(workload), features, labels, accumulation_steps=accumulation_steps)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def measured(workload: Workload, options: argparse.Namespace) -> Iterator[Figure]:
    """All figures of one model."""
    name, turns = workload.name, QUICK_TURNS if options.quick else TURNS
    features, labels = steps.batch_of(workload)
    sides = {
        "plain gradient": steps.plain(_made(workload), features, labels, whole=False),
        "clipped gradient": steps.clipped_gradients(_made(workload), features, labels),
        "plain": steps.plain(_made(workload), features, labels, whole=True),
        "ours": steps.ours(_made(workload), features, labels),
    }
    if features.ndim == 4:
        sides["as it comes"] = steps.plain(workload.make(), features, labels, whole=True)
    slow, refused = {}, []
    for mode in OPACUS[-1:] if options.quick else OPACUS:
        try:
            slow[mode] = steps.opacus((workload.substitute or workload.make)(), features, labels, mode=mode)
            slow[mode]()
        except Exception:  # a mode that cannot take this model, for whatever reason of its own
            slow.pop(mode, None)
            refused.append(mode)
    times = _in_turns(sides, slow, turns=turns, slow_turns=1 if options.quick else SLOW_TURNS)
    apart = steps.distance(_made(workload), features, labels)
    yield Figure(f"{name}: how far", "", apart, target="<= 1e-4", met=apart <= 1e-4)
    for title, one, base in COMPARED:
        slower = statistics.median(a / b for a, b in zip(times[one], times[base], strict=True))
        goal = f"at most {TARGET_WORST} times slower" if one == "ours" else ""
        yield Figure(
            f"{name}: {title}",
            "ms",
            1e3 * statistics.median(times[one]),
            1e3 * statistics.median(times[base]),
            "no privacy",
            1 / slower,
            goal,
            slower <= TARGET_WORST if goal else None,
        )
    others = {"as it comes": "no privacy, PyTorch's layout"} | {mode: f"Opacus {mode}" for mode in slow}
    for side in [side for side in others if side in times]:
        ours, theirs = statistics.median(times["ours"]), statistics.median(times[side])
        yield Figure(f"{name}: whole step", "ms", 1e3 * ours, 1e3 * theirs, others[side], theirs / ours)
    for mode in refused:
        yield Figure(f"{name}: whole step of Opacus {mode}", "ms", None, target="Opacus cannot")


def _made(workload: Workload) -> torch.nn.Module:
    """A model as Leptonic lays it out in memory: also the quicker way without privacy."""
    torch.manual_seed(1)
    return placed(workload.make(), torch.device("cpu"))


def _in_turns(
    sides: dict[str, steps.Step], slow: dict[str, steps.Step], *, turns: int, slow_turns: int
) -> dict[str, list[float]]:
    """Seconds of each step in each turn, after one step that is not counted."""
    times: dict[str, list[float]] = {name: [] for name in (*sides, *slow)}
    for turn in range(-1, turns):
        for name, step in (sides | slow if 0 <= turn < slow_turns else sides).items():
            started = time.perf_counter()
            step()
            if turn >= 0:
                times[name].append(time.perf_counter() - started)
    return times


def _overall(figures: list[Figure]) -> Iterator[Figure]:
    for title in ("whole step", "clipped gradient"):
        own = [f for f in figures if f.name.endswith(f": {title}") and f.baseline_name == "no privacy"]
        slower = [1 / figure.ratio for figure in own if figure.ratio]
        middle = Figure(f"{title}: times slower than no privacy, median", "x", statistics.median(slower))
        if title == "whole step":
            middle = replace(middle, target=f"<= {TARGET_MEDIAN}", met=statistics.median(slower) <= TARGET_MEDIAN)
        yield middle
        yield Figure(f"{title}: times slower than no privacy, worst", "x", max(slower))


if __name__ == "__main__":
    main()
