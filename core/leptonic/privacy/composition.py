"""What several releases cost together: one interface over the PRV, PLD and Renyi accountants.

Called by plans before a run and by ledgers after each round. PRV and PLD are tight and know the (Poisson-sampled)
Gaussian alone; Renyi curves know every mechanism here and can be added across runs. What no accountant has a proof
for raises UnaccountedMechanism.

Sources: Gopi et al. 2021, arXiv 2106.02848 (PRV, by Opacus); Doroshenko et al. 2022, arXiv 2207.04380 (PLD, by
Google's dp-accounting, optional); Mironov 2017, arXiv 1702.07476 (Renyi).
"""

import importlib.util
import math
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache, reduce
from operator import add
from typing import Literal

import numpy as np

from leptonic.errors import PrivacyError, UnaccountedMechanism
from leptonic.privacy.mechanisms import DistributedDiscreteGaussian, Mechanism, SampledGaussian, Skellam
from leptonic.privacy.renyi import ORDERS, RenyiCurve

__all__ = ["Accountant", "Composition", "check_delta", "has_pld", "prv_epsilon"]

Accountant = Literal["prv", "pld", "rdp"]


@dataclass(frozen=True)
class Composition:
    """Releases of mechanisms whose parameters were all fixed beforehand, with how often each was made.

    Equal mechanisms stand together in one entry, which the accountants' speed depends on. Make one by :meth:`of`.
    """

    entries: tuple[tuple[Mechanism, int], ...]

    @classmethod
    def of(cls, releases: Iterable[tuple[Mechanism, int]]) -> "Composition":
        """releases: (mechanism, how often), in any order. Raises UnaccountedMechanism on any other mechanism."""
        counts = Counter[Mechanism]()
        for mechanism, times in releases:
            if not isinstance(mechanism, SampledGaussian | Skellam | DistributedDiscreteGaussian):
                raise UnaccountedMechanism(f"no accountant has a bound for {type(mechanism).__name__}")
            if times < 0:
                raise PrivacyError(f"{times} releases cannot have been made")
            counts[mechanism] += times
        return cls(tuple((mechanism, times) for mechanism, times in counts.items() if times))

    def renyi(self) -> RenyiCurve:
        """The curve of the whole composition, on the fixed grid of orders."""
        curves = (RenyiCurve(tuple(entry.renyi(ORDERS).tolist())).times(times) for entry, times in self.entries)
        return reduce(add, curves, RenyiCurve.zero())

    def epsilon(self, delta: float, *, accountant: Accountant) -> float:
        """An upper bound on epsilon at ``delta``; 0.0 for no release.

        Raises UnaccountedMechanism where the accountant does not know a mechanism, or is not one of the three;
        PrivacyError where it finds no bound, or where dp-accounting is needed and not installed.
        """
        if not 0 < delta < 1:
            raise PrivacyError(f"delta = {delta}: must be between 0 and 1")
        if accountant == "rdp":
            return self.renyi().epsilon(delta)
        if accountant not in ("prv", "pld"):
            raise UnaccountedMechanism(f"there is no accountant {accountant!r}: choose prv, pld or rdp")
        history = []
        for mechanism, times in self.entries:
            if not isinstance(mechanism, SampledGaussian):
                raise UnaccountedMechanism(
                    f"{accountant} has no bound for {type(mechanism).__name__}, only Renyi orders have: use rdp"
                )
            history.append((mechanism.noise_multiplier, mechanism.sample_rate, times))
        return (prv_epsilon if accountant == "prv" else _pld_epsilon)(tuple(history), delta)


def check_delta(delta: float, *, units: int) -> None:
    """Raise PrivacyError unless delta is below 1 / units: at that, one of them could be published outright."""
    if not 0 < delta < 1 / units:
        raise PrivacyError(f"delta = {delta:g} for {units} units: set it above 0 and below {1 / units:.3g}")


@lru_cache(maxsize=4096)
def prv_epsilon(history: tuple[tuple[float, float, int], ...], delta: float, error: float = 0.01) -> float:
    """PRV's upper bound on epsilon for (noise multiplier, sample rate, steps) entries; 0.0 for none.

    error: width of the bound. Raises PrivacyError where PRV has no bound.
    """
    if not history:
        return 0.0
    from opacus.accountants import PRVAccountant

    accountant = PRVAccountant()
    accountant.history = list(history)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        # log(0) at sample_rate 1 and in the far tails is handled; the advice on Renyi orders concerns the
        # accountant's inner choice of a grid.
        warnings.simplefilter("ignore")
        epsilon = float(accountant.get_epsilon(delta, eps_error=error))
    if not math.isfinite(epsilon):
        steps, noise = sum(steps for _, _, steps in history), min(noise for noise, _, _ in history)
        raise PrivacyError(f"the PRV accountant has no bound for {steps} steps at noise {noise:g}")
    return max(0.0, epsilon)


def has_pld() -> bool:
    """Whether the optional accountant pld is installed."""
    return importlib.util.find_spec("dp_accounting") is not None


@lru_cache(maxsize=256)
def _pld_epsilon(history: tuple[tuple[float, float, int], ...], delta: float) -> float:
    """The pessimistic bound of privacy loss distributions, for adding or removing a unit."""
    if not has_pld():
        raise PrivacyError("the accountant pld needs dp-accounting: pip install 'leptonic[pld]', or use prv")
    from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent
    from dp_accounting.pld import PLDAccountant

    accountant = PLDAccountant()
    for noise_multiplier, sample_rate, steps in history:
        release = GaussianDpEvent(noise_multiplier)
        accountant.compose(release if sample_rate == 1 else PoissonSampledDpEvent(sample_rate, release), steps)
    return float(accountant.get_epsilon(delta))
