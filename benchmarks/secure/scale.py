"""Large vectors, with each client a process of its own; and many clients in a graph of neighbours."""

import sys
from collections.abc import Iterator

from reporting import Figure
from simulating.programs import run

from secure.plan import Plan
from secure.rounds import our_rounds

__all__ = ["large", "many"]


def large(plan: Plan) -> Iterator[Figure]:
    """Ten clients, in turn."""
    found, _ = run(sys.executable, "-m", "secure.large", "--parameters", str(plan.large))
    for step, seconds in found["seconds"].items():
        yield Figure(f"10 clients, {plan.large:.0e} parameters: {step}", "s", float(f"{seconds:.4g}"))
    exact = found["exact"]
    yield Figure("the sum is exact", "", float(exact), target="1", met=exact)
    client, coordinator = (found[who] / found["vector"] for who in ("client", "coordinator"))
    yield Figure("a client's memory", "vectors", float(f"{client:.3g}"), target="<= 2.5", met=client <= 2.5)
    yield Figure("the coordinator's memory", "vectors", float(f"{coordinator:.3g}"))


def many(plan: Plan) -> Iterator[Figure]:
    """A tenth of the clients never answers."""
    common = ("--clients", plan.many, "--parameters", plan.many_parameters, "--rounds", plan.many_rounds)
    found = our_rounds(*common, "--dropping", 0.1)
    ideal = our_rounds(*common, "--dropping", 0.1, "--ideal")
    name = f"{plan.many} clients, {plan.many_parameters} parameters"
    seconds = found["seconds"][-2 if plan.many_rounds > 1 else -1]
    for phase, taken in seconds.items():
        yield Figure(f"{name}: {phase} of a round", "s", float(f"{taken:.4g}"))
    yield Figure(f"{name}: a round", "s", float(f"{sum(seconds.values()):.4g}"))
    yield Figure(f"{name}: survivors", "", found["survivors"][-1])
    same = found["model"] == ideal["model"]
    yield Figure(f"{name}: the model is that of sums in the clear", "", float(same), target="1", met=same)
