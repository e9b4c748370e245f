"""The clients' learning rate over rounds. Called once per round, with rounds counted from 0."""

import math

from leptonic.errors import RunError
from leptonic.experiment import Schedule, Training

__all__ = ["learning_rate"]


def learning_rate(training: Training, round_number: int) -> float:
    """The learning rate of one round.

    With w = warmup_rounds, round t < w trains at rate (t + 1) / (w + 1). From round w on the rate is
    multiplied, with s = t - w, by

    - constant: 1
    - cosine: floor + (1 - floor) (1 + cos(pi s / S)) / 2, where S = rounds - 1 - w: 1 at first, floor in the
      last round (Loshchilov and Hutter 2017, arXiv 1608.03983, without restarts)
    - step: factor ** (s // every)
    - exponential: factor ** s

    Raises RunError if the experiment has no such round.
    """
    if not 0 <= round_number < training.rounds:
        raise RunError(
            f"round {round_number} has no learning rate: "
            f"training.rounds = {training.rounds} counts 0 to {training.rounds - 1}"
        )
    schedule = training.schedule
    if round_number < schedule.warmup_rounds:
        return training.learning_rate * (round_number + 1) / (schedule.warmup_rounds + 1)
    last = training.rounds - 1 - schedule.warmup_rounds
    return training.learning_rate * _decay(schedule, round_number - schedule.warmup_rounds, last)


def _decay(schedule: Schedule, passed: int, last: int) -> float:
    """The multiplier after ``passed`` of ``last`` rounds; 1 where nothing has passed."""
    if schedule.kind == "cosine":
        # A decay of a single round is its beginning: at the end it would often train at rate 0.
        turned = math.pi * passed / last if last else 0.0
        return schedule.floor + (1.0 - schedule.floor) * (1.0 + math.cos(turned)) / 2.0
    if schedule.kind == "step":
        return schedule.factor ** (passed // schedule.every)
    if schedule.kind == "exponential":
        return schedule.factor**passed
    return 1.0
