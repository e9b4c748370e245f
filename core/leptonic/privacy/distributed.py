"""Client-level privacy without a trusted server: each client adds a share of integer noise to a clipped update.

The client encodes, secure aggregation adds modulo 2^bits and opens the noised sum alone, the server decodes.
Nothing that is opened has less noise than the honest clients' shares. Sources: Agarwal, Kairouz & Liu 2021,
arXiv 2110.04995 (Skellam); Kairouz, Liu & Steinke 2021, arXiv 2102.06387 (discrete Gaussian; Algorithms 1-2).
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from leptonic.errors import PrivacyError
from leptonic.privacy.clipped_update import clip
from leptonic.privacy.hadamard import Rotation, padded_size
from leptonic.privacy.integer_noise import discrete_gaussian, skellam
from leptonic.privacy.mechanisms import DistributedDiscreteGaussian, Skellam
from leptonic.privacy.rounding import NormBounds, conditional_round, norm_bounds
from leptonic.randomness import SecureStream

__all__ = ["DistributedMechanism", "Noise"]

Noise = Literal["skellam", "discrete_gaussian"]


@dataclass(frozen=True)
class DistributedMechanism:
    """The parameters that both sides fix before a run.

    size: entries of an update. clip_norm: bound c on its norm. scale: steps per unit, s. local_deviation: standard
    deviation of each client's noise, sigma_local, in units of the update. bits: of a word, 2 to 32.
    denominator: public count m that the sum is divided by. noise: the law of each client's share.
    """

    size: int
    clip_norm: float
    scale: float
    local_deviation: float
    bits: int
    denominator: float
    noise: Noise = "skellam"

    def __post_init__(self) -> None:
        for name in ("clip_norm", "scale", "local_deviation", "denominator"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise PrivacyError(f"{name} = {value}: must be positive and finite")
        if not 2 <= self.bits <= 32:
            raise PrivacyError(f"words of {self.bits} bits: choose 2 to 32")

    @property
    def dimension(self) -> int:
        """Words of an encoded update, d: the size, padded to a power of two."""
        return padded_size(self.size)

    @cached_property
    def bounds(self) -> NormBounds:
        """What each client's integers keep to before noise."""
        return norm_bounds(self.scale * self.clip_norm, self.dimension)

    @property
    def local_variance(self) -> float:
        """Of each client's noise, in steps squared: (s sigma_local)^2."""
        return (self.scale * self.local_deviation) ** 2

    def release(self, honest: int) -> Skellam | DistributedDiscreteGaussian:
        """One round's release, for zeroing one client out, to those who know all noise but ``honest`` clients'.

        honest: the fewest clients in any sum less the colluders assumed, at least 1.
        """
        if honest < 1:
            raise PrivacyError(f"{honest} honest clients: with no unknown share there is no noise")
        if self.noise == "skellam":
            return Skellam(self.bounds.l2_squared, self.bounds.l1, variance=honest * self.local_variance)
        return DistributedDiscreteGaussian(
            self.bounds.l2_squared,
            self.bounds.l1,
            local_variance=self.local_variance,
            parties=honest,
            dimension=self.dimension,
        )

    def encode(self, update: NDArray[np.floating], rotation_seed: bytes, stream: SecureStream) -> NDArray[np.uint32]:
        """One client's words: clipped, rotated, scaled, rounded, checked, noised, modulo 2^bits.

        update: (size,). rotation_seed: the round's 32 public bytes. stream: secure, this client's own.
        Returns (dimension,) uint32 below 2^bits.
        """
        integers = self.integers(update, rotation_seed, stream)
        self.bounds.check(integers)
        integers += self.share(stream)
        words: NDArray[np.uint32] = (integers & (2**self.bits - 1)).astype(np.uint32)
        return words

    def integers(self, update: NDArray[np.floating], rotation_seed: bytes, stream: SecureStream) -> NDArray[np.int64]:
        """The update before noise: a secret. Returns (dimension,) int64, within :attr:`bounds`.

        An update with a NaN or an infinity counts as zero: an error would tell that a client's training diverged.
        """
        if len(update) != self.size:
            raise PrivacyError(f"an update of {len(update)} entries, expected {self.size}")
        steps = self.scale * clip(update, self.clip_norm)
        return conditional_round(Rotation(self.size, rotation_seed).forward(steps), self.bounds, stream)

    def share(self, stream: SecureStream) -> NDArray[np.int64]:
        """One client's noise, in steps. Returns (dimension,) int64."""
        if self.noise == "skellam":
            return skellam(self.local_variance, self.dimension, stream)
        return discrete_gaussian(self.scale * self.local_deviation, self.dimension, stream)

    def decode(self, total: NDArray[np.unsignedinteger], rotation_seed: bytes) -> NDArray[np.float64]:
        """The noised mean: the words' sum, centred, scaled back, rotated back, over the denominator.

        total: (dimension,) sum of words; only its lowest ``bits`` count. Returns (size,) float64.
        """
        if total.shape != (self.dimension,):
            raise PrivacyError(f"a sum of {total.shape} words, expected {self.dimension}")
        modulus, half = 2**self.bits, 2 ** (self.bits - 1)
        centred = ((total.astype(np.int64) + half) & (modulus - 1)) - half
        rotated = centred / (self.scale * self.denominator)
        return Rotation(self.size, rotation_seed).inverse(rotated)
