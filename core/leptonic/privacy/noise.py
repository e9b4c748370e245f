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

    The radius has 52 bits. Directions lie up to 2^-22 radians apart, as float32's do, whose sines and cosines take
    half the time of float64's: between them the radius, as good as continuous, leaves no gap.
    """
    half = (len(values) + 1) // 2
    radius = torch.from_numpy(stream.uniform(half)).log_().mul_(-2.0 * deviation**2).sqrt_()
    turns = stream.words((half + 1) // 2).view(np.int32)[:half]
    angle = torch.from_numpy(turns).float().mul_(math.pi * 2.0**-31)
    values[:half].addcmul_(radius, angle.cos().double())
    rest = len(values) - half
    values[half:].addcmul_(radius[:rest], angle.sin_()[:rest].double())
