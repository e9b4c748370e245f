"""A thousand small rounds: whether the resident memory of a simulation grows, workers included."""

from collections.abc import Iterator

import numpy as np
from reporting import Figure

from simulating.experiments import soak
from simulating.plan import Plan, say
from simulating.programs import ours

__all__ = ["measure"]

MEGABYTE = 1e6
PER = 1000


def measure(plan: Plan) -> Iterator[Figure]:
    """For each engine, the slope of a line through the resident sizes after the warm-up."""
    for engine in ("batched", "processes"):
        taken = ours(soak(plan.soak_rounds, engine=engine), memory=True)
        sizes = np.array(taken.memory[plan.soak_warm_up :]) / MEGABYTE
        slope = float(np.polyfit(np.arange(len(sizes)), sizes, 1)[0]) * PER
        say(f"soak: {engine}: {taken.seconds:.0f} s, {sizes[0]:.1f} MB to {sizes[-1]:.1f} MB")
        yield Figure(f"growth of resident memory, engine {engine}", f"MB per {PER} rounds", round(slope, 2))
        yield Figure(f"resident memory at the end, engine {engine}", "MB", round(float(sizes[-1]), 1))
