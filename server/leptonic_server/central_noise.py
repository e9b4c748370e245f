"""The trusted server's part in client-level privacy: it noises each round's sum before anything else is made of it.

What it needs from round to round is kept with the round's model, in one commit: the clip, where it adapts, and of
correlated noise the last sums, which are secrets.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leptonic.errors import PrivacyError
from leptonic.experiment import Experiment
from leptonic.pipeline import ClippedPipeline, Occasion, Pipeline
from leptonic.privacy.correlated_noise import BandedNoise, NoiseState
from leptonic.privacy.trusted_server import TrustedServer
from leptonic.randomness import SecureStream, noise_stream

__all__ = ["CentralNoise", "NoisedRound", "central_noise"]

State = Mapping[str, NDArray[Any]]
"""clip: (1,) float64. sums, released: (at most band - 1, d) float64."""


class CentralNoise:
    """Adds the noise of a run. pipeline: the run's. stream: makes a secure stream for a round."""

    def __init__(self, pipeline: ClippedPipeline, stream: Callable[[int], SecureStream]) -> None:
        self._pipeline, self._stream = pipeline, stream

    def first(self) -> State:
        """The state before the first round."""
        return {"clip": np.array([self._pipeline.plan.clip_norm])} if self._pipeline.adapts else {}

    def encoding(self, noised: "NoisedRound", occasion: Occasion) -> Pipeline:
        """The encoding of a round, which decodes no sum without this noise."""
        return self._pipeline.at(occasion).released_by(noised)

    def begin(self, number: int, state: State) -> "NoisedRound":
        """One attempt of a round."""
        return NoisedRound(self._pipeline, state, self._stream(number))


class NoisedRound:
    """The noise of one attempt. clip_norm: bound on an update. after: the state that follows, once noise was added."""

    def __init__(self, pipeline: ClippedPipeline, state: State, stream: SecureStream) -> None:
        self._plan, self._state, self._stream = pipeline.plan, state, stream
        self.clip_norm = float(state["clip"][0]) if "clip" in state else pipeline.plan.clip_norm
        self.after: State = {}

    def __call__(self, total: NDArray[np.float64], bits: float) -> NDArray[np.float64]:
        """See :data:`leptonic.pipeline.Release`."""
        match self._plan.mechanism:
            case TrustedServer() as server:
                mean, clip = server.apply(total, clip_norm=self.clip_norm, bits=bits, stream=self._stream)
                self.after = {"clip": np.array([clip])} if server.adaptive else {}
                return mean
            case BandedNoise() as banded:
                past = banded.init(len(total))
                if "sums" in self._state:
                    past = NoiseState(self._state["sums"], self._state["released"])
                released, kept = banded.apply(total, past, self._stream)
                # With a band of one nothing is kept.
                self.after = {"sums": kept.sums, "released": kept.released} if len(kept.sums) else {}
                return released * (self.clip_norm / self._plan.denominator)
            case _:
                raise PrivacyError("the clients add this run's noise, not the server")


def central_noise(experiment: Experiment, pipeline: Pipeline, *, seeded: bool) -> CentralNoise | None:
    """The server's noise of a run, where it adds any. seeded: from the seed, which protects nobody."""
    if not isinstance(pipeline, ClippedPipeline):
        return None
    return CentralNoise(pipeline, lambda number: noise_stream(experiment.seed, "server noise", number, seeded=seeded))
