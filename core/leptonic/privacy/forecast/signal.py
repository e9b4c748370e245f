"""How loud protective noise is beside the most that the updates themselves could say."""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np

from leptonic.privacy.client_level import ClientPlan
from leptonic.privacy.correlated_noise import BandedNoise
from leptonic.privacy.distributed import DistributedMechanism
from leptonic.privacy.trusted_server import TrustedServer

__all__ = ["Signal", "noise_after", "signal_of"]


@dataclass(frozen=True)
class Signal:
    """Noise beside the clip, which no mean of clipped updates (or gradients) can exceed in norm.

    deviation: standard deviation of the noise in one coordinate of a mean, in the model's units.
    of_clip: that, as a part of the clip. per_round: norm of the noise over the clip, sqrt(d) ``of_clip``; above 1 a
    single mean is mostly noise. over_run: the same for the sum of all means of a run, as if all updates pointed one
    way; above 1 nothing can be learned.
    """

    deviation: float
    of_clip: float
    per_round: float
    over_run: float

    @classmethod
    def of(cls, *, deviation: float, clip_norm: float, size: int, means: float) -> Self:
        """means: how many independently noised means a run adds up, which noise is the square root of."""
        part = deviation / clip_norm
        return cls(deviation, part, math.sqrt(size) * part, math.sqrt(size / means) * part)


def signal_of(plan: ClientPlan, *, size: int, rounds: int) -> Signal:
    """That of a run with client-level privacy, where as many clients answer in each round as sums are divided by."""
    clip_norm, wanted = plan.clip_norm, plan.denominator
    match plan.mechanism:
        case DistributedMechanism(local_deviation=deviation):
            deviation /= math.sqrt(wanted)
        case TrustedServer() as server:
            multiplier = server.adaptive.update_noise_multiplier if server.adaptive else server.noise_multiplier
            deviation = multiplier * clip_norm / wanted
        case banded:
            # In units of the clip.
            last, added = (noise / wanted for noise in noise_after(banded, rounds))
            root = math.sqrt(size)
            return Signal(last * clip_norm, last, root * last, root * added / rounds)
    return Signal.of(deviation=deviation, clip_norm=clip_norm, size=size, means=rounds)


def noise_after(banded: BandedNoise, rounds: int) -> tuple[float, float]:
    """Standard deviations of correlated noise in one coordinate: of the last round's sum, of all rounds' sums added.

    xi = C^-1 z, where column j of C^-1 holds the coefficients r of the power series 1 / c(x), from row j on. So the
    last xi has variance std(z)^2 sum r_i^2, and their sum std(z)^2 sum_i (r_0 + .. + r_i)^2.
    """
    coefficients = banded.coefficients
    inverse = np.zeros(rounds)
    inverse[0] = 1.0
    for index in range(1, rounds):
        past = inverse[max(0, index - banded.band + 1) : index]
        inverse[index] = -past[::-1] @ coefficients[1 : 1 + len(past)]
    last, added = np.linalg.norm(inverse), np.linalg.norm(np.cumsum(inverse))
    return banded.deviation * float(last), banded.deviation * float(added)
