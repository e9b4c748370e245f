"""Scale and noise of distributed privacy, chosen together so that a whole run keeps to a target epsilon.

Called before a run by whoever writes the experiment's parameters, and by each client that checks them. The noise
cannot be taken from the Gaussian mechanism: rounding lengthens updates, by how much depends on the scale, and the
scale on the noise. Sources: arXiv 2110.04995; arXiv 2102.06387.
"""

import math
from dataclasses import dataclass

from leptonic.errors import PrivacyError
from leptonic.privacy.composition import Composition, check_delta
from leptonic.privacy.distributed import DistributedMechanism, Noise
from leptonic.privacy.hadamard import padded_size
from leptonic.privacy.mechanisms import SMALLEST_LOCAL_VARIANCE
from leptonic.privacy.search import least

__all__ = ["Counts", "calibrate", "scale_for"]

_DEVIATIONS = 4
"""k: a sum's coordinate wraps when beyond so many of its standard deviations, 6e-5 of the time. A wrap spoils the
value and costs no privacy."""


@dataclass(frozen=True)
class Counts:
    """Three counts, which must not be mistaken for one another.

    invited: the most clients in one sum, which the words must hold. honest: the fewest clients whose noise an
    adversary does not know, that is, survivors that each client insists on less the colluders it assumes, at least
    1. denominator: what the sum is divided by; public, and the same in every round.
    """

    invited: int
    honest: int
    denominator: float

    def __post_init__(self) -> None:
        if not 1 <= self.honest <= self.invited:
            raise PrivacyError(f"{self.honest} honest clients of {self.invited}: there must be at least 1")

    @classmethod
    def of(cls, *, invited: int, survivors: int, colluders: int, denominator: float) -> "Counts":
        """survivors: the fewest that a client's own settings let it unmask for. colluders: assumed among them."""
        return cls(invited=invited, honest=max(1, survivors - colluders), denominator=denominator)


def scale_for(*, dimension: int, clip_norm: float, local_deviation: float, bits: int, invited: int) -> float:
    """Steps per unit for which the noised sum of all invited clients fits its words, at k standard deviations.

    s = sqrt(2^(2 bits) - n k^2) / (2 k sqrt(c^2 n^2 / d + n sigma_local^2)): after rotation a coordinate of the sum
    has variance at most s^2 (c n)^2 / d, its rounding at most n / 4, its noise n (s sigma_local)^2.
    Raises PrivacyError where the rounding alone fills the words.
    """
    room = 2.0 ** (2 * bits) - invited * _DEVIATIONS**2
    if room <= 0:
        raise PrivacyError(f"{bits} bits do not hold a sum over {invited} clients: raise the bits")
    return math.sqrt(room) / (
        2 * _DEVIATIONS * math.sqrt((clip_norm * invited) ** 2 / dimension + invited * local_deviation**2)
    )


def calibrate(
    *,
    size: int,
    clip_norm: float,
    bits: int,
    counts: Counts,
    rounds: int,
    epsilon: float,
    delta: float,
    clients: int,
    noise: Noise = "skellam",
) -> DistributedMechanism:
    """The least noise, to 1e-4 of it and rounded up, whose ``rounds`` releases cost at most epsilon at delta.

    size: entries of an update. rounds: the most that one client may join, retries included. clients: all that may
    take part, of which delta must not publish one. By Renyi orders, for zeroing one client out.
    Raises PrivacyError if no noise meets the target at so many bits.
    """
    check_delta(delta, units=clients)
    if rounds < 1:
        raise PrivacyError(f"{rounds} rounds: plan for at least 1")

    def mechanism(ratio: float) -> DistributedMechanism:
        deviation = ratio * clip_norm
        scale = scale_for(
            dimension=padded_size(size),
            clip_norm=clip_norm,
            local_deviation=deviation,
            bits=bits,
            invited=counts.invited,
        )
        return DistributedMechanism(size, clip_norm, scale, deviation, bits, counts.denominator, noise)

    def enough(ratio: float) -> bool:
        # Every term of both bounds falls with s sigma_local and with sigma_local, and s sigma_local rises with it.
        candidate = mechanism(ratio)
        if noise == "discrete_gaussian" and candidate.local_variance < SMALLEST_LOCAL_VARIANCE:
            return False
        release = candidate.release(counts.honest)
        return Composition.of([(release, rounds)]).epsilon(delta, accountant="rdp") <= epsilon

    ratio = least(
        enough,
        impossible=f"epsilon = {epsilon:g} at delta = {delta:g} cannot be met over {rounds} rounds with {bits}-bit"
        " words: raise the bits, epsilon or the honest clients, or lower the rounds",
    )
    return mechanism(ratio)
