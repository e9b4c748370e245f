"""The forecast of example-level privacy: for the smallest, the median and the largest client."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from leptonic.errors import LeptonicError, PrivacyError
from leptonic.experiment import ExamplePrivacy, Experiment
from leptonic.privacy.accounting import ExamplePlan, epsilon_spent, plan, statement, steps_per_round
from leptonic.privacy.composition import Composition, has_pld
from leptonic.privacy.forecast.advice import advice_on_examples, assumptions_on_examples
from leptonic.privacy.forecast.points import Point, Target, in_order, some_rounds, with_epsilon
from leptonic.privacy.forecast.signal import Signal
from leptonic.privacy.mechanisms import SampledGaussian
from leptonic.privacy.promise import stated

__all__ = ["ExampleForecast", "ExampleOutlook", "forecast_examples"]

MOST_POINTS = 8
"""Of a curve: PRV takes a quarter of a second for each."""


@dataclass(frozen=True)
class ExampleOutlook:
    """One client's plan. which: smallest, median, largest; or every, where all are alike. steps: over the whole run.

    epsilon: by PRV, which is what is enforced; beside it by Renyi orders, and by PLD where dp-accounting is there.
    signal: of one step's mean gradient; over the run, of all steps of all clients that answer.
    """

    which: str
    examples: int
    noise_multiplier: float
    sample_rate: float
    batch_size: int
    steps: int
    epsilon: float
    epsilon_rdp: float
    epsilon_pld: float | None
    signal: Signal
    curve: tuple[Point, ...]


@dataclass(frozen=True)
class ExampleForecast:
    """An experiment's example-level privacy. targets: for the client in the middle of ``outlooks``."""

    name: str
    size: int
    clients: int
    rounds: int
    stated: dict[str, str | int | float]
    outlooks: tuple[ExampleOutlook, ...]
    targets: tuple[Target, ...]
    statement: str
    assumptions: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def median(self) -> ExampleOutlook:
        """The client in the middle."""
        return self.outlooks[len(self.outlooks) // 2]


def forecast_examples(
    experiment: Experiment, size: int, sizes: Sequence[int], *, epsilons: Sequence[float] = ()
) -> ExampleForecast:
    """What the clients' noise is and costs. size: parameters of the model. sizes: declared examples of each client.

    epsilons: other targets to compare. Takes seconds for each client and target. Raises ExperimentError or
    PrivacyError, with the client, where one of them cannot keep to the experiment's own target.
    """
    privacy = experiment.privacy
    if not isinstance(privacy, ExamplePrivacy) or not sizes:
        raise PrivacyError("no example-level privacy to forecast: it takes unit = 'example' and each client's size")
    plans = {which: _planned(experiment, which, examples) for which, examples in _three(sizes).items()}
    outlooks = tuple(_outlook(experiment, size, which, made) for which, made in plans.items())
    middle = list(plans.values())[len(plans) // 2]
    loudest = max(outlooks, key=lambda outlook: outlook.signal.per_round)
    advice = advice_on_examples(
        plans[loudest.which],
        loudest.signal,
        size,
        loudest.which,
        largest=max(sizes),
        enough=partial(_enough, experiment, size, loudest.examples),
    )
    return ExampleForecast(
        name=experiment.name,
        size=size,
        clients=experiment.federation.clients,
        rounds=experiment.training.rounds,
        stated=stated(experiment, None),
        outlooks=outlooks,
        targets=tuple(
            _target(experiment, size, epsilon, middle.public_size) for epsilon in in_order(privacy.epsilon, epsilons)
        ),
        statement=statement(middle),
        assumptions=assumptions_on_examples(experiment, middle),
        warnings=advice,
    )


def _three(sizes: Sequence[int]) -> dict[str, int]:
    """Smallest, median and largest; where all are as good as alike (1 %), the smallest for every one."""
    ordered = sorted(sizes)
    if ordered[-1] <= 1.01 * ordered[0]:
        return {"every": ordered[0]}
    return {"smallest": ordered[0], "median": ordered[len(ordered) // 2], "largest": ordered[-1]}


def _planned(experiment: Experiment, which: str, examples: int) -> ExamplePlan:
    assert isinstance(experiment.privacy, ExamplePrivacy)
    training = experiment.training
    try:
        return plan(
            experiment.privacy, training, public_size=examples, releases=experiment.privacy.releases(training.rounds)
        )
    except LeptonicError as error:
        raise type(error)(f"the {which} client, of {examples:,} examples: {error}") from None


def _outlook(experiment: Experiment, size: int, which: str, made: ExamplePlan) -> ExampleOutlook:
    steps = made.steps_per_round * made.releases
    whole = Composition.of([(SampledGaussian(made.noise_multiplier, made.sample_rate), steps)])
    return ExampleOutlook(
        which=which,
        examples=made.public_size,
        noise_multiplier=made.noise_multiplier,
        sample_rate=made.sample_rate,
        batch_size=made.batch_size,
        steps=steps,
        epsilon=epsilon_spent(made, made.releases),
        epsilon_rdp=whole.epsilon(made.delta, accountant="rdp"),
        epsilon_pld=whole.epsilon(made.delta, accountant="pld") if has_pld() else None,
        signal=_signal(experiment, made, size),
        curve=tuple(
            Point(number, number, epsilon_spent(made, number)) for number in some_rounds(made.releases, MOST_POINTS)
        ),
    )


def _signal(experiment: Experiment, made: ExamplePlan, size: int) -> Signal:
    assert experiment.privacy is not None
    clip_norm, wanted = experiment.privacy.clip_norm, experiment.federation.wanted
    return Signal.of(
        deviation=made.noise_multiplier * clip_norm / made.batch_size,
        clip_norm=clip_norm,
        size=size,
        means=made.steps_per_round * experiment.training.rounds * wanted,
    )


def _target(experiment: Experiment, size: int, epsilon: float, examples: int) -> Target:
    try:
        made = _planned(with_epsilon(experiment, epsilon), "median", examples)
    except PrivacyError as error:
        return Target(epsilon, impossible=str(error))
    return Target(epsilon, made.noise_multiplier, _signal(experiment, made, size))


def _enough(experiment: Experiment, size: int, examples: int) -> int | None:
    """The least of some batches whose noise is at most as long as the clip, by Renyi orders; None if none is."""
    privacy, training = experiment.privacy, experiment.training
    assert isinstance(privacy, ExamplePrivacy)
    releases = privacy.releases(training.rounds)
    for batch in _batches(training.batch_size, examples):
        steps = steps_per_round(training.model_copy(update={"batch_size": batch}), examples) * releases
        release = SampledGaussian(batch / math.sqrt(size), batch / examples)
        if Composition.of([(release, steps)]).epsilon(privacy.delta, accountant="rdp") <= privacy.epsilon:
            return batch
    return None


def _batches(least: int, most: int) -> Iterator[int]:
    """Doubled from one to the next, all examples last."""
    batch = 2 * least
    while batch < most:
        yield batch
        batch *= 2
    yield most
