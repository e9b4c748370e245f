"""Rounds of 100 clients out of populations of a thousand to a million: their time, and the memory they take."""

from collections.abc import Callable, Iterator
from statistics import fmean, median

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
    """Every population in turn, several times. SCAFFOLD only with the smallest and the largest."""
    for algorithm in ALGORITHMS:
        sizes = plan.populations if algorithm == "fedavg" else (plan.populations[0], plan.populations[-1])
        found: dict[int, list[Ours]] = {size: [] for size in sizes}
        for repeat in range(plan.population_repeats):
            for size in (sizes[0], *reversed(sizes[1:])):  # the smallest and the largest next to each other
                taken = ours(population(size, plan.population_rounds, algorithm=algorithm))
                found[size].append(taken)
                figures = f"{1000 * _seconds(taken):.4g} ms a round, peak {taken.peak / MEGABYTE:.4g} MB"
                say(f"population {repeat + 1}/{plan.population_repeats}: {algorithm}, {size:,}: {figures}")
        yield from _figures(f"{algorithm}, a round of 100", "s", found, _seconds)
        yield from _figures(f"{algorithm}, peak memory", "MB", found, lambda taken: taken.peak / MEGABYTE)


def _seconds(taken: Ours) -> float:
    """Of a round, the mean; the last evaluates the model.

    Not the median: where all cores are busy, the thread that commits begins at a tick of the scheduler, so that single
    rounds take multiples of four milliseconds.
    """
    return fmean(taken.rounds[SKIPPED:-1])


def _figures(name: str, unit: str, found: dict[int, list[Ours]], of: Callable[[Ours], float]) -> Iterator[Figure]:
    """Each population's median, and its ratio to the smallest: the median of those of runs that followed each other."""
    values = {size: [of(taken) for taken in each] for size, each in found.items()}
    first, *others = values
    base = float(f"{median(values[first]):.4g}")
    yield Figure(f"{name}, population {first:,}", unit, base)
    for size in others:
        times_more = median(own / other for own, other in zip(values[size], values[first], strict=True))
        largest = size == max(values)
        yield Figure(
            f"{name}, population {size:,}",
            unit,
            float(f"{median(values[size]):.4g}"),
            base,
            f"population {first:,}",
            float(f"{1 / times_more:.3g}"),
            target=f"within {LIMIT:.0%}" if largest else "",
            met=times_more <= 1 + LIMIT if largest else None,
        )
