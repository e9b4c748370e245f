"""Noise that cancels over rounds (DP-FTRL, banded): for a trusted server that cannot sample its clients in secret.

Called by the server once a round. Each round's release is the clipped sum g_t plus xi_t, where the xi of a whole
run are C^-1 z for one Gaussian z and a banded lower-triangular C. So the run is a function of C g + z, *one*
Gaussian mechanism, as long as no client joins more than ``participations`` rounds or two less than ``band`` apart.
Sources: Kairouz et al. 2021, arXiv 2103.00039; Choquette-Choo et al. 2023, arXiv 2306.08153 (banded);
Fichtenberger, Henzinger & Upadhyay 2023, arXiv 2202.11205 (the coefficients of the square root of prefix sums).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leptonic.errors import PrivacyError
from leptonic.privacy.lattice_noise import gaussian_release
from leptonic.privacy.mechanisms import SampledGaussian
from leptonic.randomness import SecureStream

__all__ = ["BandedNoise", "NoiseState"]


@dataclass(frozen=True)
class NoiseState:
    """What the next rounds need of the last band - 1 rounds, newest first; to be stored with the round, at once.

    sums: (at most band - 1, d) float64, the sums without noise: secrets. released: the same rounds' releases. Their
    differences are the noises xi, so that whoever reads the state can take the noise out of later releases.
    """

    sums: NDArray[np.float64]
    released: NDArray[np.float64]


@dataclass(frozen=True)
class BandedNoise:
    """The run's mechanism.

    band: b, a client's rounds lie at least so far apart. participations: k, the most rounds that one client joins.
    sensitivity: of one round's sum, for zeroing one client out. noise_multiplier: of the whole run.
    """

    band: int
    participations: int
    sensitivity: float
    noise_multiplier: float

    def __post_init__(self) -> None:
        if self.band < 1 or self.participations < 1:
            raise PrivacyError(f"a band of {self.band} and {self.participations} participations: both at least 1")
        for value in (self.sensitivity, self.noise_multiplier):
            if not (math.isfinite(value) and value > 0):
                raise PrivacyError(f"correlated noise with a parameter of {value}: must be positive and finite")

    @property
    def coefficients(self) -> NDArray[np.float64]:
        """c_0 .. c_(b-1), a column of C: c_j = prod_(i <= j) (2i - 1) / (2i). Returns (b,) float64."""
        index = np.arange(1, self.band)
        return np.cumprod(np.concatenate([[1.0], (2 * index - 1) / (2 * index)]))

    @property
    def deviation(self) -> float:
        """std(z_t) = noise_multiplier sensitivity sqrt(k) |c|.

        Columns of C that are b or more apart do not overlap, so k rounds of one client move C g by at most
        sensitivity sqrt(k) |c|.
        """
        norm = float(np.linalg.norm(self.coefficients))
        return self.noise_multiplier * self.sensitivity * math.sqrt(self.participations) * norm

    def release(self) -> SampledGaussian:
        """What one joined round costs; ``participations`` of them cost what the whole run does.

        Columns of rounds that lie so far apart do not overlap: the squared sensitivity grows by the same with each of
        them, and so does every Renyi divergence.
        """
        return SampledGaussian(self.noise_multiplier * math.sqrt(self.participations))

    def init(self, dimension: int) -> NoiseState:
        """Before the first round."""
        return NoiseState(np.zeros((0, dimension)), np.zeros((0, dimension)))

    def apply(
        self, total: NDArray[np.float64], state: NoiseState, stream: SecureStream
    ) -> tuple[NDArray[np.float64], NoiseState]:
        """Noise one round's sum: g_t + xi_t, where xi_t = (z_t - sum_(1 <= j < b) c_j xi_(t-j)) / c_0 and c_0 = 1.

        Computed as (C g + z)_t - sum_j c_j (g + xi)_(t-j): the first part is an exact release on a lattice, the
        second uses only what was released before, so that rounding gives nothing away.
        total: (d,) float64, sum of clipped updates. Returns ((d,) float64 to release, the next state).
        """
        past = self.coefficients[1 : 1 + len(state.sums)]
        noised = gaussian_release(
            total + past @ state.sums,
            sensitivity=self.deviation / self.noise_multiplier,
            noise_multiplier=self.noise_multiplier,
            stream=stream,
            joint=self.participations * self.band,
        )
        released = noised - past @ state.released
        return released, NoiseState(self._kept(total, state.sums), self._kept(released, state.released))

    def _kept(self, newest: NDArray[np.float64], older: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.concatenate([newest[None], older])[: self.band - 1]
