"""Messages of clients under client-level privacy, made of updates that the auditor chooses, and the rounds' releases.

An update enters where local training would have ended: everything after it, reservation, clip, rounding, noise and
encoding, is the client's own.
"""

import secrets
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from leptonic.errors import PrivacyError
from leptonic.pipeline import ClientLevelPipeline, ClippedPipeline, Contribution, NoisedPipeline, Occasion
from leptonic.privacy.client_level import ClientPlan
from leptonic.privacy.distributed import DistributedMechanism
from leptonic.update import LocalUpdate
from leptonic_client.training import LocalTrainer
from leptonic_server.central_noise import State
from leptonic_simulations.audit.subject import Auditor

__all__ = ["ClientMessages", "Releases", "plan_of", "signed"]

QUIET = 1e-6
"""Steps of noise, in which an integer never shows, for messages whose clip is to be seen."""


def plan_of(auditor: Auditor) -> ClientPlan:
    """The run's plan. Raises PrivacyError where whole clients are not protected."""
    if not isinstance(auditor.trainer.pipeline, ClientLevelPipeline):
        raise PrivacyError("the experiment has no client-level privacy")
    return auditor.trainer.pipeline.plan


class ClientMessages:
    """Messages to a server. quiet: without the clients' noise."""

    def __init__(self, auditor: Auditor, *, quiet: bool = False) -> None:
        self._auditor = auditor
        self.trainer: LocalTrainer = auditor.subject.trainer(auditor.experiment) if quiet else auditor.trainer
        pipeline = self.trainer.pipeline
        if quiet and isinstance(pipeline, NoisedPipeline):
            mechanism = replace(pipeline.mechanism, local_deviation=QUIET / pipeline.mechanism.scale)
            self.trainer.pipeline = replace(pipeline, mechanism=mechanism)
        self._data = auditor.rows(0, 1)

    def __call__(
        self,
        update: NDArray[np.floating],
        client: int = 0,
        *,
        run: str | None = None,
        round_number: int = 1,
        clip_norm: float | None = None,
    ) -> Contribution:
        """One client's message of an update (d,)."""
        asked = self._auditor.client(self._data, client, trainer=self.trainer)
        request, content = self._auditor.ask(asked, run=run, round_number=round_number, clip_norm=clip_norm)
        work = asked.prepare(request, content)
        with np.errstate(over="ignore"):
            vector = update.astype(np.float32)
        made = LocalUpdate(vectors={"model": vector}, weight=1.0)
        return self.trainer.pipeline.from_bytes(asked.contribute(request, work, made).content)


class Releases:
    """What a run's rounds release, one after another, of sums of messages: with the server's noise, if it adds any."""

    def __init__(self, auditor: Auditor) -> None:
        pipeline = auditor.trainer.pipeline
        assert isinstance(pipeline, ClientLevelPipeline)
        self.pipeline: ClientLevelPipeline = pipeline
        self.run = secrets.token_hex(8)
        self._noise = auditor.subject.server_noise(auditor.experiment, self.pipeline, seeded=False)
        self._state: State = self._noise.first() if self._noise else {}
        self._number = 0

    @property
    def clip_norm(self) -> float:
        """Of the next round."""
        return float(self._state["clip"][0]) if "clip" in self._state else self.pipeline.plan.clip_norm

    @property
    def next_round(self) -> int:
        """Its number."""
        return self._number + 1

    @property
    def occasion(self) -> Occasion:
        """The next round."""
        return Occasion(self.next_round, self.clip_norm)

    def __call__(self, total: Contribution) -> NDArray[np.float64]:
        """Release a sum of messages of the next round. Returns (d,), the mean."""
        occasion = self.occasion
        self._number += 1
        if self._noise is None:
            encoding = self.pipeline.at(occasion)
        else:
            noised = self._noise.begin(self._number, self._state)
            encoding = self._noise.encoding(noised, occasion)
        mean = encoding.decode(total).vectors["model"].astype(np.float64)
        if self._noise is not None:
            self._state = noised.after
        return mean


def signed(contribution: Contribution, pipeline: ClientLevelPipeline) -> NDArray[np.int64]:
    """The words as the integers that they stand for."""
    if isinstance(pipeline, ClippedPipeline):
        return contribution.words.view(np.int32).astype(np.int64)
    mechanism = pipeline.plan.mechanism
    assert isinstance(mechanism, DistributedMechanism)
    half = 2 ** (mechanism.bits - 1)
    words: NDArray[np.int64] = contribution.words.astype(np.int64)
    words += half
    words &= 2 * half - 1
    words -= half
    return words
