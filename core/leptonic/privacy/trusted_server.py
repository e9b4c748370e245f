"""Client-level privacy by a trusted server: a noised sum of clipped updates, and a clip that adapts to their norms.

Called by the server once a round. It protects a client from those who get the model, not from the server. Weights
are 1 and the denominator is a public count, never that of those who answered. Updates travel in units of the clip, so
that an encoding need not know it.
Sources: McMahan et al. 2018, arXiv 1710.06963; Andrew et al. 2021, arXiv 1905.03871 (adaptive clip).
"""

import math
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leptonic.errors import PrivacyError
from leptonic.privacy.lattice_noise import gaussian_release
from leptonic.randomness import SecureStream

__all__ = ["AdaptiveClip", "TrustedServer", "centred_bit", "noised_mean"]

_FEW_CLIENTS = 20
"""The default noise of the counts is m/20: with fewer clients than 20 z, updates get 15 % more noise, or worse."""


def noised_mean(
    total: NDArray[np.float64],
    *,
    sensitivity: float,
    noise_multiplier: float,
    denominator: float,
    stream: SecureStream,
) -> NDArray[np.float64]:
    """(total + N(0, (noise_multiplier sensitivity)^2)) / denominator.

    total: (d,) sum of clipped updates. sensitivity: how far zeroing one client out moves it: the clip, plus what
    quantisation added to a client's norm. denominator: the public count m. Returns (d,) float64.
    """
    if not (math.isfinite(denominator) and denominator > 0):
        raise PrivacyError(f"a sum cannot be divided by {denominator}")
    noised = gaussian_release(total, sensitivity=sensitivity, noise_multiplier=noise_multiplier, stream=stream)
    noised /= denominator
    return noised


def centred_bit(norm: float, clip_norm: float) -> float:
    """What a client says of its norm: 1/2 if it is at most the clip, else -1/2. An absent client's is 0."""
    return 0.5 if norm <= clip_norm else -0.5


@dataclass(frozen=True)
class AdaptiveClip:
    """The clip as a noised quantile of the clients' norms; the state is the clip itself.

    initial: first clip, independent of the data. noise_multiplier: z, of the whole round's release. denominator:
    the public count m. quantile: the share of norms below the clip aimed at, gamma. rate: eta. bit_deviation:
    standard deviation of the noise on the sum of centred bits, s_b; m/20 unless given.

    A round releases the sum of the bits (sensitivity 1/2) and of the updates. That both together cost what z
    does, the updates get more noise: 1/z^2 = 1/z_delta^2 + 1/(2 s_b)^2. Refused where 2 s_b <= z leaves nothing
    for the updates; warns where m is below 20 z.
    """

    initial: float
    noise_multiplier: float
    denominator: float
    quantile: float = 0.5
    rate: float = 0.2
    bit_deviation: float | None = None

    def __post_init__(self) -> None:
        for name in ("initial", "noise_multiplier", "denominator", "rate"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise PrivacyError(f"adaptive clip: {name} = {value}, must be positive and finite")
        if not 0 < self.quantile < 1:
            raise PrivacyError(f"adaptive clip: a quantile of {self.quantile}, must be between 0 and 1")
        if not (math.isfinite(self.deviation_of_bits) and 2 * self.deviation_of_bits > self.noise_multiplier):
            raise PrivacyError(
                f"adaptive clip: noise of {self.deviation_of_bits:g} on the counts would use up all of z ="
                f" {self.noise_multiplier:g}; set it above z/2, invite more clients, or fix the clip"
            )
        if self.denominator < _FEW_CLIENTS * self.noise_multiplier:
            warnings.warn(
                f"adaptive clip with {self.denominator:g} clients at z = {self.noise_multiplier:g}: below"
                f" {_FEW_CLIENTS * self.noise_multiplier:g} a fixed clip is likely to do better",
                stacklevel=3,
            )

    @property
    def deviation_of_bits(self) -> float:
        """s_b."""
        return self.denominator / _FEW_CLIENTS if self.bit_deviation is None else self.bit_deviation

    @property
    def update_noise_multiplier(self) -> float:
        """z_delta, of the noise on the sum of updates."""
        return 1 / math.sqrt(self.noise_multiplier**-2 - (2 * self.deviation_of_bits) ** -2)

    def init(self) -> float:
        """The first round's clip."""
        return self.initial

    def apply(self, bits: float, clip_norm: float, stream: SecureStream) -> tuple[float, float]:
        """Release the bits of a round and move the clip.

        bits: sum of :func:`centred_bit` over the clients that answered. clip_norm: that they were asked about.
        Returns (the next round's clip, the released share of norms below this one: about 0 to 1, noised).
        """
        (noised,) = gaussian_release(
            np.array([bits]), sensitivity=0.5, noise_multiplier=2 * self.deviation_of_bits, stream=stream
        ).tolist()
        share = 0.5 + float(noised) / self.denominator
        return clip_norm * math.exp(-self.rate * (share - self.quantile)), share


@dataclass(frozen=True)
class TrustedServer:
    """The run's mechanism: each round's sum of clipped updates with fresh noise.

    clip_norm: bound on an update; with ``adaptive`` the first round's. noise_multiplier: of the whole round's release.
    denominator: the public count m.
    """

    clip_norm: float
    noise_multiplier: float
    denominator: float
    adaptive: AdaptiveClip | None = None

    def apply(
        self, total: NDArray[np.float64], *, clip_norm: float, bits: float, stream: SecureStream
    ) -> tuple[NDArray[np.float64], float]:
        """Release one round. total: (d,) float64, sum of updates of norm at most 1, in units of ``clip_norm``.

        bits: sum of :func:`centred_bit`, where the clip adapts. Returns ((d,) float64 mean, the next round's clip).
        """
        multiplier = self.adaptive.update_noise_multiplier if self.adaptive else self.noise_multiplier
        mean = noised_mean(
            total, sensitivity=1.0, noise_multiplier=multiplier, denominator=self.denominator, stream=stream
        )
        mean *= clip_norm
        return mean, self.adaptive.apply(bits, clip_norm, stream)[0] if self.adaptive else clip_norm
