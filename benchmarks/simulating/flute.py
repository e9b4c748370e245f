"""FLUTE's LR_MNIST as commands: our simulation and Flower's own, start-up included."""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from reporting import Figure

from leptonic_simulations.clients import FederatedData
from simulating import experiments
from simulating.plan import Plan, compared, say
from simulating.programs import BASELINES, ours, run, why_not

__all__ = ["measure"]

LOOP, COMMAND = 30.0, 8.0
"""How many times faster than Flower's simulation ours is to be: the round loop, the whole command."""
ENGINES = ("batched", "auto")
FLOWER = "Flower's simulation"


@dataclass(frozen=True)
class Times:
    """Of one command. median, mean: of its rounds but the first and the last. seconds: all of it."""

    median: float
    mean: float
    seconds: float

    @classmethod
    def of(cls, rounds: list[float], seconds: float) -> "Times":
        """rounds: seconds of each."""
        return cls(statistics.median(rounds[1:-1]), statistics.mean(rounds[1:-1]), seconds)


def measure(plan: Plan) -> Iterator[Figure]:
    """Each command in turn, several times; medians."""
    reason = why_not(plan.baselines_python, "ray", "flwr")
    if reason:
        say(f"flute: no baseline: {reason}")
    found: dict[str, list[Times]] = {}
    with TemporaryDirectory() as folder:
        if not reason:
            experiment = experiments.from_mapping(experiments.flute(plan.flute_rounds, engine="batched"))
            experiments.export(experiment, FederatedData.of(experiment), Path(folder))
        for repeat in range(plan.flute_repeats):
            for engine in (*ENGINES, None):
                name = engine or "as it comes"
                found.setdefault(name, []).append(_ours(plan, engine))
                say(f"flute {repeat + 1}/{plan.flute_repeats}: {name}: {found[name][-1]}")
            if not reason:
                found.setdefault(FLOWER, []).append(_flower(plan, folder))
                say(f"flute {repeat + 1}/{plan.flute_repeats}: {FLOWER}: {found[FLOWER][-1]}")
    times = {name: _medians(each) for name, each in found.items()}
    against = times.get(FLOWER)
    for engine in ENGINES:
        yield from _figures(engine, times[engine], against)
    yield Figure("whole command as it comes (engine exact, with a report)", "s", round(times["as it comes"].seconds, 3))


def _ours(plan: Plan, engine: str | None) -> Times:
    taken = ours(experiments.flute(plan.flute_rounds, engine=engine))
    return Times.of(taken.rounds, taken.seconds)


def _flower(plan: Plan, folder: str) -> Times:
    size = ("--clients", "1000", "--cohort", "10", "--rounds", str(plan.flute_rounds), "--steps", "6")
    found, seconds = run(plan.baselines_python, BASELINES / "flower_simulation.py", folder, *size)
    return Times.of(found["rounds"], seconds)


def _medians(each: list[Times]) -> Times:
    fields = ("median", "mean", "seconds")
    return Times(*(statistics.median(getattr(times, field) for times in each) for field in fields))


def _figures(engine: str, own: Times, flower: Times | None) -> Iterator[Figure]:
    parts = (
        ("median", "round, the median", LOOP),
        ("mean", "round, total over rounds", LOOP),
        ("seconds", "whole command", COMMAND),
    )
    for field, name, target in parts:
        against = None if flower is None else getattr(flower, field)
        yield compared(f"{name}, engine {engine}", "s", getattr(own, field), against, FLOWER, at_least=target)
