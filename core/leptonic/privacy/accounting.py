"""Accounting of example-level privacy: how much noise a client needs for a run, and what it has spent.

The client calls :func:`plan` once, from its own settings, and :func:`epsilon_spent` after each release. All
numbers derive from the *declared, public* number of examples, never from the data at hand: that count is
itself private under add/remove adjacency.

Source: the Poisson-subsampled Gaussian mechanism (Abadi et al. 2016, arXiv 1607.00133), composed by the
PRV accountant (Gopi et al. 2021, arXiv 2106.02848) of Opacus; Renyi orders (Mironov et al. 2019,
arXiv 1908.10530) only to find where to search.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

from leptonic.errors import ExperimentError, PrivacyError
from leptonic.experiment import ExamplePrivacy, Training
from leptonic.privacy.composition import Composition, prv_epsilon
from leptonic.privacy.mechanisms import SampledGaussian

__all__ = ["ExamplePlan", "plan", "epsilon_spent", "statement", "steps_per_round"]

_TIGHTNESS = 0.99
"""Calibration stops at the first noise whose epsilon lies between this part of the target and the target."""

_MAX_NOISE_MULTIPLIER = 1e6


@dataclass(frozen=True)
class ExamplePlan:
    """The parameters of one client's mechanism, fixed before its first round.

    noise_multiplier: standard deviation of the noise on the clipped sum, in units of the clipping norm.
    sample_rate: probability with which each example enters a batch. batch_size: its expectation, and the
    fixed denominator of the mean gradient. steps_per_round: batches per round. releases: rounds that may be
    answered over the whole run, retries included. public_size: declared number of examples.
    """

    noise_multiplier: float
    sample_rate: float
    steps_per_round: int
    releases: int
    batch_size: int
    public_size: int
    delta: float
    target_epsilon: float

    def micro_batch(self, accumulation_steps: int) -> int | None:
        """Most examples that are computed together, of public numbers alone; None for a whole batch."""
        return None if accumulation_steps == 1 else -(-self.batch_size // accumulation_steps)


def plan(privacy: ExamplePrivacy, training: Training, *, public_size: int, releases: int) -> ExamplePlan:
    """Calibrate the noise so that ``releases`` rounds of local training stay within privacy.epsilon.

    public_size: the client's declared number of examples. releases: rounds that may be answered, retries
    included. Takes seconds, once for each combination. Raises ExperimentError if the batch is larger than
    the data, PrivacyError if delta is too large or if no noise meets the target.
    """
    if public_size < 1 or releases < 1:
        raise PrivacyError(f"declare at least 1 example and 1 release, not {public_size} and {releases}")
    if training.batch_size > public_size:
        raise ExperimentError(
            f"training.batch_size = {training.batch_size} is more than the {public_size} examples declared:"
            f" set it to at most {public_size}, or leave this client out"
        )
    if privacy.delta >= 1 / public_size:
        raise PrivacyError(
            f"privacy.delta = {privacy.delta:g} would allow one of {public_size} examples to be published"
            f" outright: set it below {1 / public_size:.3g}"
        )
    sample_rate = training.batch_size / public_size
    steps = steps_per_round(training, public_size)
    return ExamplePlan(
        noise_multiplier=_calibrate(sample_rate, steps * releases, privacy.delta, privacy.epsilon),
        sample_rate=sample_rate,
        steps_per_round=steps,
        releases=releases,
        batch_size=training.batch_size,
        public_size=public_size,
        delta=privacy.delta,
        target_epsilon=privacy.epsilon,
    )


def epsilon_spent(plan: ExamplePlan, rounds_released: int) -> float:
    """Epsilon at plan.delta after so many releases, by PRV's upper bound; 0.0 after none."""
    if rounds_released < 0:
        raise PrivacyError(f"{rounds_released} rounds cannot have been released")
    if rounds_released == 0:
        return 0.0
    history = ((plan.noise_multiplier, plan.sample_rate, rounds_released * plan.steps_per_round),)
    return prv_epsilon(history, plan.delta, _error(plan.target_epsilon))


def statement(plan: ExamplePlan) -> str:
    """The guarantee after all releases, in one sentence with everything it rests on."""
    return (
        f"epsilon = {epsilon_spent(plan, plan.releases):.2f} at delta = {plan.delta:g}, per example of this"
        " client (add/remove adjacency), against everyone who gets the client's updates, that is the server,"
        " other clients, and those who get the model, however many of them collude;"
        f" for at most {plan.releases} released rounds of {plan.steps_per_round} DP-SGD steps (noise"
        f" multiplier {plan.noise_multiplier:.4g}, Poisson sampling at rate {plan.sample_rate:.4g}, PRV"
        f" accountant), assuming that the declared size of {plan.public_size} examples is public, that a"
        " person contributes one example, and that nothing else computed from the data leaves the client."
    )


def steps_per_round(training: Training, public_size: int) -> int:
    """local_steps, or local_epochs of the declared data rounded half up, and at least 1."""
    if training.local_steps is not None:
        return training.local_steps
    epochs = training.local_epochs or 1
    return max(1, (2 * epochs * public_size + training.batch_size) // (2 * training.batch_size))


@lru_cache(maxsize=4096)
def _calibrate(sample_rate: float, steps: int, delta: float, target: float) -> float:
    """Smallest noise multiplier, to 1 % of epsilon and rounded up, whose PRV epsilon is at most ``target``.

    Approached from the side of too much noise, from where Renyi orders say it is enough: with too little
    noise PRV's grid grows without bound.
    """

    def spent(noise: float) -> float:
        return prv_epsilon(((noise, sample_rate, steps),), delta, _error(target))

    enough = _renyi_noise(sample_rate, steps, delta, target)
    while (below := spent(enough)) > target:
        enough *= 1.05
    too_little, above, aim = 0.0, math.inf, target * (1 + _TIGHTNESS) / 2
    while below < _TIGHTNESS * target and enough > too_little * 1.0005:
        # Epsilon is close to a power of the noise: interpolate in logarithms once both ends are known.
        weight = math.log(aim / below) / math.log(above / below) if too_little else 0.0
        noise = enough * (too_little / enough) ** weight if too_little else enough * 0.9
        if (epsilon := spent(noise)) <= target:
            enough, below = noise, epsilon
        else:
            too_little, above = noise, epsilon
    return math.ceil(enough * 1e4) / 1e4


def _renyi_noise(sample_rate: float, steps: int, delta: float, target: float) -> float:
    """A noise multiplier, to 1 %, whose Renyi epsilon is at most ``target``."""
    low, high = 0.0, 1.0
    while _renyi_epsilon(high, sample_rate, steps, delta) > target:
        low, high = high, 2 * high
        if high > _MAX_NOISE_MULTIPLIER:
            raise PrivacyError(
                f"privacy.epsilon = {target:g} at delta = {delta:g} cannot be met over {steps} steps:"
                " raise epsilon, or lower training.rounds, local_epochs or batch_size"
            )
    while high > low * 1.01 and high > 0.01:
        middle = (low + high) / 2
        if _renyi_epsilon(middle, sample_rate, steps, delta) > target:
            low = middle
        else:
            high = middle
    return high


def _renyi_epsilon(noise_multiplier: float, sample_rate: float, steps: int, delta: float) -> float:
    """Epsilon by Renyi orders, which is quick and too large."""
    mechanism = SampledGaussian(noise_multiplier, sample_rate)
    return Composition.of([(mechanism, steps)]).epsilon(delta, accountant="rdp")


def _error(target: float) -> float:
    """Width of PRV's bound: Opacus' 0.01, but 1 % of a target below 1, and 0.1 % of one above 10."""
    return max(0.01 * min(1.0, target), 0.001 * target)
