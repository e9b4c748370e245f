"""The values that forecasts of both units share: epsilon by round, and what a target needs."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from leptonic.experiment import Experiment
from leptonic.privacy.forecast.signal import Signal

__all__ = ["Point", "Target", "in_order", "some_rounds", "with_epsilon"]


@dataclass(frozen=True)
class Point:
    """Epsilon after a round. joined: the rounds that a client has joined by then, at most."""

    round: int
    joined: int
    epsilon: float


@dataclass(frozen=True)
class Target:
    """What keeping to an epsilon takes. noise: the multiplier, or with distributed noise each client's deviation.

    signal: what that noise leaves of the updates. impossible: why nothing keeps to it; the others are then None.
    """

    epsilon: float
    noise: float | None = None
    signal: Signal | None = None
    impossible: str | None = None


def some_rounds(last: int, most: int) -> list[int]:
    """At most so many of the rounds 1 .. ``last``, spread evenly, the first and the last among them."""
    return sorted({round(place) for place in np.linspace(1, last, min(most, last)).tolist()})


def with_epsilon(experiment: Experiment, epsilon: float) -> Experiment:
    """The same experiment with another target."""
    assert experiment.privacy is not None
    return experiment.model_copy(update={"privacy": experiment.privacy.model_copy(update={"epsilon": epsilon})})


def in_order(own: float, wanted: Iterable[float]) -> list[float]:
    """The experiment's own target and the wanted ones, each once."""
    return sorted({own, *wanted})
