"""Gaussian noise on a sum that one trusted party holds, without the leaks of floating-point numbers.

Called by the trusted server's mechanisms. The sum is rounded to a fine lattice and noised there with an exact
discrete Gaussian: what is released is an integer number of steps, and its law is known
(Canonne, Kamath & Steinke 2020, arXiv 2004.00010: its Renyi divergences are at most the continuous Gaussian's).
"""

import math

import numpy as np
from numpy.typing import NDArray

from leptonic.errors import PrivacyError
from leptonic.privacy.integer_noise import discrete_gaussian
from leptonic.randomness import SecureStream

__all__ = ["gaussian_release", "lattice_step"]

_STEP_BITS = 30
_LARGEST = 2.0**62


def gaussian_release(
    total: NDArray[np.float64],
    *,
    sensitivity: float,
    noise_multiplier: float,
    stream: SecureStream,
    joint: int = 1,
) -> NDArray[np.float64]:
    """The sum plus Gaussian noise of standard deviation noise_multiplier times ``sensitivity``, on a lattice.

    total: (d,) float64, which one unit moves by at most ``sensitivity`` in Euclidean norm. joint: how many such
    releases a unit moves that are accounted as one, ``sensitivity`` then being that of all of them. Rounding two
    sums to the lattice moves them apart by at most sqrt(joint d) steps more, and the noise is larger by as much
    (1e-6 of it at d = 10^6), so that the release is the Gaussian mechanism with exactly this noise multiplier.
    Returns (d,) float64. Raises PrivacyError where an entry is not finite or too large for the lattice.
    """
    step = lattice_step(sensitivity * noise_multiplier)
    steps = np.rint(total / step)
    if not (np.abs(steps) < _LARGEST).all():
        raise PrivacyError("a sum to be noised is not finite, or some 2^32 times as large as its noise")
    deviation = noise_multiplier * (sensitivity / step + math.sqrt(joint * len(total)))
    noised = steps.astype(np.int64) + discrete_gaussian(deviation, len(total), stream)
    # From here on only what is released is used: rounding of float64 tells nothing more.
    return noised.astype(np.float64) * step


def lattice_step(deviation: float) -> float:
    """The power of two between 2^-31 and 2^-30 deviations: no more of the sum than of the noise is rounded away."""
    if not (math.isfinite(deviation) and deviation > 0):
        raise PrivacyError(f"Gaussian noise needs a positive deviation, not {deviation}")
    return math.ldexp(1.0, math.floor(math.log2(deviation)) - _STEP_BITS)
