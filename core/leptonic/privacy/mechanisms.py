"""Mechanisms with a proven bound, each as the parameters that its privacy depends on.

Called by :mod:`leptonic.privacy.composition`, which adds them up. All parameters are fixed before the run.
Sensitivities are those of one unit's contribution zeroed out (or, for the sampled Gaussian, added or removed).

Sources: Mironov, Talwar & Zhang 2019, arXiv 1908.10530 (sampled Gaussian); Agarwal, Kairouz & Liu 2021,
arXiv 2110.04995 (Skellam); Kairouz, Liu & Steinke 2021, arXiv 2102.06387 (sums of discrete Gaussians).
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from leptonic.errors import PrivacyError, UnaccountedMechanism

__all__ = ["SMALLEST_LOCAL_VARIANCE", "DistributedDiscreteGaussian", "Mechanism", "SampledGaussian", "Skellam"]

SMALLEST_LOCAL_VARIANCE = 0.25
"""Of a party's discrete Gaussian: below, the bound on sums of them does not hold."""


@dataclass(frozen=True)
class SampledGaussian:
    """A sum over units, each taken with probability sample_rate (Poisson, secret), plus Gaussian noise.

    noise_multiplier: standard deviation of the noise over the sensitivity. A sample rate of 1 is the Gaussian
    mechanism; so is the discrete Gaussian on a lattice of integers, whose Renyi divergences are no larger.
    """

    noise_multiplier: float
    sample_rate: float = 1.0

    def __post_init__(self) -> None:
        _check_positive(noise_multiplier=self.noise_multiplier)
        if not 0 < self.sample_rate <= 1:
            raise PrivacyError(f"a sample rate lies above 0 and is at most 1, not {self.sample_rate}")

    def renyi(self, orders: NDArray[np.int64]) -> NDArray[np.float64]:
        """Renyi divergence bound at each order, float64 of the shape of ``orders`` (integers from 2)."""
        if self.sample_rate == 1:
            return orders / (2 * self.noise_multiplier**2)
        return np.array([self._sampled(order) for order in orders.tolist()])

    def _sampled(self, order: int) -> float:
        """ln(sum_k C(a, k) (1 - q)^(a - k) q^k exp((k^2 - k) / (2 z^2))) / (a - 1), exact for adding or removing."""
        taken = np.arange(order + 1.0)
        log_factorials = np.concatenate([[0.0], np.cumsum(np.log(taken[1:]))])
        logs = (
            (log_factorials[-1] - log_factorials - log_factorials[::-1])
            + (order - taken) * math.log1p(-self.sample_rate)
            + taken * math.log(self.sample_rate)
            + (taken * taken - taken) / (2 * self.noise_multiplier**2)
        )
        # Opacus has no value past an order of 1000, where the binomials leave float64.
        largest = float(logs.max())
        return max(0.0, largest + math.log(float(np.exp(logs - largest).sum()))) / (order - 1)

    def at_double_sensitivity(self) -> "SampledGaussian":
        """The same release under replacement of a unit. Raises UnaccountedMechanism where units are sampled."""
        if self.sample_rate < 1:
            raise UnaccountedMechanism(
                "Poisson sampling is accounted for adding or removing a unit, not for replacing one"
            )
        return replace(self, noise_multiplier=self.noise_multiplier / 2)


@dataclass(frozen=True)
class Skellam:
    """An integer sum plus Skellam noise in each entry.

    l2_squared: bound on the squared norm of one unit's integers. l1: bound on the sum of their absolute values.
    variance: of the noise in each entry that the adversary does not know, in steps squared.
    """

    l2_squared: float
    l1: float
    variance: float

    def __post_init__(self) -> None:
        _check_positive(l2_squared=self.l2_squared, l1=self.l1, variance=self.variance)

    def renyi(self, orders: NDArray[np.int64]) -> NDArray[np.float64]:
        """Renyi divergence bound at each order, float64 of the shape of ``orders`` (integers from 2)."""
        small = ((2 * orders - 1) * self.l2_squared + 6 * self.l1) / (4 * self.variance**2)
        added: NDArray[np.float64] = np.minimum(small, 3 * self.l1 / (2 * self.variance))
        return orders * (self.l2_squared / (2 * self.variance)) + added

    def at_double_sensitivity(self) -> "Skellam":
        """The same release under replacement of a unit."""
        return replace(self, l2_squared=4 * self.l2_squared, l1=2 * self.l1)


@dataclass(frozen=True)
class DistributedDiscreteGaussian:
    """An integer sum plus a sum of several parties' discrete Gaussian noise in each entry.

    l2_squared, l1: as for :class:`Skellam`. local_variance: parameter sigma^2 of each party's noise, at least
    :data:`SMALLEST_LOCAL_VARIANCE`. parties: those whose noise the adversary does not know. dimension: entries, d.
    """

    l2_squared: float
    l1: float
    local_variance: float
    parties: int
    dimension: int

    def __post_init__(self) -> None:
        _check_positive(l2_squared=self.l2_squared, l1=self.l1, parties=self.parties, dimension=self.dimension)
        if not self.local_variance >= SMALLEST_LOCAL_VARIANCE:
            raise PrivacyError(
                f"each party's discrete Gaussian has a variance of {self.local_variance:g} steps squared, and sums of"
                " them are accounted from 1/4 on: raise the bits or the noise"
            )

    @property
    def distance(self) -> float:
        """tau: how far a sum of such draws is from one discrete Gaussian (log ratio, both ends of a release)."""
        terms = np.arange(1, self.parties)
        return 10 * float(np.exp(-2 * math.pi**2 * self.local_variance * terms / (terms + 1)).sum())

    def renyi(self, orders: NDArray[np.int64]) -> NDArray[np.float64]:
        """Renyi divergence bound at each order, float64 of the shape of ``orders`` (integers from 2).

        The source's third bound, (sqrt(D2^2/M) + tau sqrt d)^2, is left out: as D1 <= sqrt(d) D2, it is never less
        than the second.
        """
        variance, tau = self.parties * self.local_variance, self.distance
        gaussian = self.l2_squared / variance
        added = orders / 2 * gaussian + tau * self.dimension
        l1 = min(self.l1, math.sqrt(self.dimension * self.l2_squared))
        spread = orders / 2 * (gaussian + 2 * tau * l1 / math.sqrt(variance) + tau**2 * self.dimension)
        return np.minimum(added, spread)

    def at_double_sensitivity(self) -> "DistributedDiscreteGaussian":
        """The same release under replacement of a unit."""
        return replace(self, l2_squared=4 * self.l2_squared, l1=2 * self.l1)


Mechanism = SampledGaussian | Skellam | DistributedDiscreteGaussian


def _check_positive(**parameters: float) -> None:
    for name, value in parameters.items():
        if not (math.isfinite(value) and value > 0):
            raise PrivacyError(f"{name} = {value}: a private mechanism needs a positive, finite one")
