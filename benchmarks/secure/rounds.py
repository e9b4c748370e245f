"""Rounds of ours beside Flower's stock SecAgg+, and what a round costs in memory and bytes."""

import sys
from collections.abc import Iterator
from statistics import median
from typing import Any

from reporting import Figure
from simulating.plan import compared, say
from simulating.programs import BASELINES, run, why_not

from secure.plan import Plan

__all__ = ["measure", "our_rounds"]

NEEDED = {(10, 0): 10.0, (50, 12): 10.0, (50, 0): 15.0}
"""Times faster that ours must be, by clients and neighbours."""


def our_rounds(*options: str | int) -> dict[str, Any]:
    """What our rounds took, as a program of its own."""
    found, _ = run(sys.executable, "-m", "secure.our_rounds", *map(str, options))
    return found


def measure(plan: Plan) -> Iterator[Figure]:
    """Each workload, theirs then ours."""
    absent = why_not(plan.baselines_python, "ray", "flwr")
    if absent:
        say(f"the baseline is not measured: {absent}")
    for clients, neighbours in plan.workloads:
        shape = f"{clients} clients, " + (f"{neighbours} neighbours (curious)" if neighbours else "complete graph")
        common = ("--clients", clients, "--parameters", plan.parameters, "--rounds", plan.rounds)
        theirs = None
        if not absent:
            script = BASELINES / "flower_secagg.py"
            found, _ = run(plan.baselines_python, script, *map(str, (*common, "--neighbours", neighbours)))
            theirs = median(found["seconds"][1:])
        curious = ("--neighbours", neighbours, "--adversary", "curious", "--colluders", 1, "--drop-outs", 2)
        ours = our_rounds(*common, *(curious if neighbours else ()))
        ideal = our_rounds(*common, "--ideal", *(curious if neighbours else ()))
        seconds = [sum(phases.values()) for phases in ours["seconds"][1:]]
        yield compared(
            f"{shape}: a round", "s", median(seconds), theirs, "Flower SecAgg+", at_least=NEEDED[clients, neighbours]
        )
        same = ours["model"] == ideal["model"]
        yield Figure(f"{shape}: the model is that of sums in the clear", "", float(same), target="1", met=same)
        per_parameter = ours["bytes_up"][1] / clients / plan.parameters
        yield Figure(f"{shape}: bytes up per client and parameter", "B", float(f"{per_parameter:.4g}"))
        base = our_rounds("--clients", clients, "--parameters", 10, "--rounds", 1)["peak"]
        vectors = (ours["peak"] - base) / (4 * plan.parameters)
        yield Figure(f"{shape}: peak memory of the simulation", "vectors", float(f"{vectors:.3g}"))
