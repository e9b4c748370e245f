"""Gaussian noise for a clipped sum, from a secure stream.

Called by the optimizer of one client (:mod:`leptonic.privacy.engine`) and by the simulation that trains many
clients at once. Source: Abadi et al. 2016, arXiv 1607.00133; Box & Muller 1958, doi 10.1214/aoms/1177706645.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from leptonic.randomness import SecureStream

__all__ = ["noised"]

_LATTICE_BITS = 20
"""Noised sums lie on multiples of a power of two, about 2^-20 standard deviations of the noise."""

_PAIRS = 2**17
"""Drawn at a time: many enough that what surrounds each operation weighs little, few enough for a small room."""


def noised(totals: Sequence[Tensor], deviation: float, stream: SecureStream) -> list[Tensor]:
    """Each sum plus N(0, deviation^2) in each entry. Returns float32 on the CPU, of the sums' shapes.

    A continuous Gaussian in floating point is a mitigation, not an exact sampler: the set of its values
    can betray what it was added to (Mironov 2012, doi 10.1145/2382196.2382264). So the sum is made in
    float64 on the CPU and rounded to a lattice that depends on the standard deviation alone; float32 then
    holds it exactly up to eight deviations, and beyond rounds what was released. Every lattice point
    collects some 2^30 noise values whatever the sum was, which costs one rounding, where four Gaussians
    per value (Holohan & Braghin 2021, arXiv 2107.10138) would cost four times the draws. No bound on what
    is left is claimed.
    """
    lattice = 2.0 ** (math.floor(math.log2(deviation)) - _LATTICE_BITS)
    flat = torch.cat([total.detach().cpu().reshape(-1) for total in totals])
    released = torch.empty(len(flat), dtype=torch.float32)
    for part, place in zip(flat.split(2 * _PAIRS), released.split(2 * _PAIRS), strict=True):
        # In units of the lattice, a power of two: scaling by it is exact.
        values = part.double().mul_(1.0 / lattice)
        _add_normal(values, deviation / lattice, stream)
        place.copy_(values.round_().mul_(lattice))
    parts = released.split([total.numel() for total in totals])
    return [part.view(total.shape) for part, total in zip(parts, totals, strict=True)]


def _add_normal(values: Tensor, deviation: float, stream: SecureStream) -> None:
    """Add N(0, deviation^2), within 8.6 deviations, to each of the values (n,) float64: draws in pairs.

    The radius has 52 bits, the direction 32, whose sine and cosine float32 holds: that takes half of float64's time.
    """
    half = (len(values) + 1) // 2
    radius = torch.from_numpy(stream.uniform(half)).log_().mul_(-2.0 * deviation**2).sqrt_()
    turns = torch.from_numpy(stream.words((half + 1) // 2).view(np.int32)[:half])
    rest = len(values) - half
    values[half:].addcmul_(radius[:rest], _cosine(turns - 2**30)[:rest])
    values[:half].addcmul_(radius, _cosine(turns))


def _cosine(turns: Tensor) -> Tensor:
    """The cosine of angles in units of 2^-32 turns, (n,) int32, which it uses up. Returns (n,) float64.

    As the sine of how far they are from where it is zero: near zero, where a radius smooths nothing, all 2^32
    directions count, which lie much closer than the noise's lattice; float32's angles near a quarter turn do not.
    """
    return turns.abs_().neg_().add_(2**30).float().mul_(math.pi * 2.0**-31).sin_().double()
