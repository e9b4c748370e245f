"""How much the simulation benchmark measures, and how its parts say what they found."""

import sys
from dataclasses import dataclass

from reporting import Figure

__all__ = ["Plan", "compared", "say"]


@dataclass(frozen=True)
class Plan:
    """baselines_python: an interpreter that has the baselines. turns: rounds of each contender in a comparison."""

    baselines_python: str
    flute_rounds: int = 100
    flute_repeats: int = 5
    models: tuple[str, ...] = ("logistic", "mlp", "lenet", "cnn")
    cohort: int = 50
    turns: int = 15
    simulated_rounds: int = 20
    populations: tuple[int, ...] = (10**3, 10**4, 10**5, 10**6)
    population_rounds: int = 100
    population_repeats: int = 7
    soak_rounds: int = 1000
    soak_warm_up: int = 200

    @classmethod
    def quick(cls, baselines_python: str) -> "Plan":
        """Enough to see that every part works; its figures mean little."""
        return cls(
            baselines_python,
            flute_rounds=5,
            flute_repeats=1,
            models=("logistic", "lenet"),
            cohort=10,
            turns=2,
            simulated_rounds=4,
            populations=(10**3, 10**6),
            population_rounds=12,
            population_repeats=1,
            soak_rounds=60,
            soak_warm_up=20,
        )


def compared(
    name: str, unit: str, ours: float, baseline: float | None, baseline_name: str, *, at_least: float | None = None
) -> Figure:
    """A figure of times, where less is better. baseline: None if it was not measured. at_least: of the ratio."""
    target = "" if at_least is None else f">= {at_least:g}x"
    if baseline is None:
        missing = f"{target}; baseline not measured" if target else "baseline not measured"
        return Figure(name, unit, float(f"{ours:.4g}"), target=missing)
    ratio = baseline / ours
    return Figure(
        name,
        unit,
        float(f"{ours:.4g}"),
        float(f"{baseline:.4g}"),
        baseline_name,
        float(f"{ratio:.3g}"),
        target=target,
        met=None if at_least is None else ratio >= at_least,
    )


def say(line: str) -> None:
    """Progress, which is not part of the output."""
    print(line, file=sys.stderr, flush=True)
