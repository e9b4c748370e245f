"""Rounds of 100 clients out of populations of a thousand to a million: their time, and the memory they take."""

from collections.abc import Iterator
from statistics import median

from reporting import Figure

from simulating.experiments import population
from simulating.plan import Plan, say
from simulating.programs import Ours, ours

__all__ = ["measure"]

LIMIT = 0.10
MEGABYTE = 1e6
SKIPPED = 5
"""First rounds, in which memory is taken and files are made."""
ALGORITHMS = ("fedavg", "scaffold")
"""SCAFFOLD keeps a state for each client that ever took part, on disk."""


def measure(plan: Plan) -> Iterator[Figure]:
    """Every population in turn, several times; medians. SCAFFOLD only with the smallest and the largest."""
    for algorithm in ALGORITHMS:
        sizes = plan.populations if algorithm == "fedavg" else (plan.populations[0], plan.populations[-1])
        found: dict[int, list[Ours]] = {size: [] for size in sizes}
        for repeat in range(plan.population_repeats):
            for size in sizes:
                taken = ours(population(size, plan.population_rounds, algorithm=algorithm))
                found[size].append(taken)
                figures = f"{1000 * _seconds(taken):.4g} ms a round, peak {taken.peak / MEGABYTE:.4g} MB"
                say(f"population {repeat + 1}/{plan.population_repeats}: {algorithm}, {size:,}: {figures}")
        seconds = {size: median(_seconds(taken) for taken in each) for size, each in found.items()}
        peaks = {size: median(taken.peak / MEGABYTE for taken in each) for size, each in found.items()}
        yield from _figures(f"{algorithm}, a round of 100", "s", seconds)
        yield from _figures(f"{algorithm}, peak memory", "MB", peaks)


def _seconds(taken: Ours) -> float:
    """Of a round; the last evaluates the model."""
    return median(taken.rounds[SKIPPED:-1])


def _figures(name: str, unit: str, values: dict[int, float]) -> Iterator[Figure]:
    """Each population's value beside that of the smallest."""
    first, *others = values
    base = values[first]
    yield Figure(f"{name}, population {first:,}", unit, float(f"{base:.4g}"))
    for size in others:
        largest = size == max(values)
        yield Figure(
            f"{name}, population {size:,}",
            unit,
            float(f"{values[size]:.4g}"),
            float(f"{base:.4g}"),
            f"population {first:,}",
            float(f"{base / values[size]:.3g}"),
            target=f"within {LIMIT:.0%}" if largest else "",
            met=values[size] <= base * (1 + LIMIT) if largest else None,
        )
