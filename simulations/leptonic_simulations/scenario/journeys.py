"""How long a client's answer takes, known before any of the work is done: download, local work, upload.

Speeds are drawn once for each client, the jitter and the drop-outs anew for every attempt of a round.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from leptonic import randomness
from leptonic.experiment import Experiment, Stragglers
from leptonic.wire import Payload, Request
from leptonic_client.data import steps_of
from leptonic_client.training import LocalTrainer

__all__ = ["Journey", "Journeys", "visited"]

REMEMBERED = 65536
"""Clients whose speeds are kept, so that drawing them again costs little."""

Fate = Literal["arrives", "never_trains", "is_lost"]


@dataclass(frozen=True)
class Journey:
    """The way of one answer. seconds: from the request to the arrival. is_lost: after the work was done."""

    seconds: float
    fate: Fate


class Journeys:
    """Says of each request how its answer will travel. held: how many examples a client holds."""

    def __init__(self, trainer: LocalTrainer, held: Callable[[int], int]) -> None:
        self._trainer, self._held, self._experiment = trainer, held, trainer.experiment
        scenario = self._experiment.scenario
        self._stragglers = scenario.stragglers if scenario else None
        self._drop_outs = scenario.drop_outs if scenario else None
        self._speeds = lru_cache(REMEMBERED)(self._drawn_speeds)

    def of(self, request: Request) -> Journey:
        """The journey of the answer to a request."""
        if request.step in ("open", "share", "abort", "record"):
            # Sums in the clear know no such trips, and a round of theirs must take the same time.
            return Journey(0.0, "arrives")
        seconds = self._seconds(request, self._stragglers) if self._stragglers else 0.0
        return Journey(seconds, self._fate(request))

    def from_version(self, client: int, version: int, attempt: int) -> Journey:
        """The journey of an update that begins at a version of the model, where there are no rounds."""
        payload = Payload(kind="memory", length=4 * self._trainer.layout.size)
        return self.of(
            Request(
                run="planned",
                experiment=self._experiment.hash,
                round=version + 1,
                step="train",
                attempt=attempt,
                client=client,
                payload=payload,
            )
        )

    def speeds(self, client: int) -> tuple[float, float]:
        """A client's training examples and bytes per second."""
        return self._speeds(client)

    def _seconds(self, request: Request, settings: Stragglers) -> float:
        compute, link = self._speeds(request.client)
        seconds = (request.payload.length + self._answered(request)) / link + self._examples(request) / compute
        if settings.jitter:
            seconds *= math.exp(settings.jitter * self._draw("jitter", request).standard_normal())
        return seconds

    def _fate(self, request: Request) -> Fate:
        settings = self._drop_outs
        if settings is None or request.step != "train":
            return "arrives"
        if self._draw("drop-out", request).random() >= settings.probability:
            return "arrives"
        return "never_trains" if settings.at == "before_training" else "is_lost"

    def _draw(self, purpose: str, request: Request) -> np.random.Generator:
        path = (purpose, request.client, request.round, request.attempt, request.step)
        return randomness.generator(self._experiment.seed, "scenario", *path)

    def _drawn_speeds(self, client: int) -> tuple[float, float]:
        settings = self._stragglers or Stragglers()
        compute, link = randomness.generator(self._experiment.seed, "scenario", "speed", client).standard_normal(2)
        return (
            settings.examples_per_second * math.exp(settings.compute_spread * compute),
            settings.bytes_per_second * math.exp(settings.link_spread * link),
        )

    def _examples(self, request: Request) -> int:
        """Examples that a request makes its client compute on."""
        rows = self._held(request.client)
        held_out = round(self._experiment.evaluation.holdout * rows)
        return visited(self._experiment, rows - held_out) if request.step == "train" else held_out

    def _answered(self, request: Request) -> int:
        """Bytes of the answer."""
        trainer = self._trainer
        return trainer.pipeline.encoded_length if request.step == "train" else 8 * (1 + len(trainer.task.metric_names))


def visited(experiment: Experiment, examples: int) -> int:
    """Examples that local training visits in a round, of a client that has so many: repeated passes count again."""
    training = experiment.training
    if not examples:
        return 0
    passes, rest = divmod(steps_of(training, examples), -(-examples // training.batch_size))
    return passes * examples + min(examples, rest * training.batch_size)
