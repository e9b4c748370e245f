"""Gaussian noise for a clipped sum, from a secure stream.

Called by the optimizer of one client (:mod:`leptonic.privacy.engine`) and by the simulation that trains many
clients at once. Source: Abadi et al. 2016, arXiv 1607.00133; Box & Muller 1958, doi 10.1214/aoms/1177706645.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from leptonic.randomness import SecureStream

__all__ = ["noised"]

_LATTICE_BITS = 20
"""Noised sums lie on multiples of a power of two, about 2^-20 standard deviations of the noise."""

_PAIRS = 2**17
"""Drawn at a time: many enough that what surrounds each operation weighs little, few enough for a small room."""


def noised(totals: Sequence[Tensor], deviation: float, stream: SecureStream) -> list[Tensor]:
    """Each sum plus N(0, deviation^2) in each entry. Returns float64 on the CPU, of the sums' shapes.

    A continuous Gaussian in floating point is a mitigation, not an exact sampler: the set of its values
    can betray what it was added to (Mironov 2012, doi 10.1145/2382196.2382264). So the sum is made in
    float64 on the CPU and rounded to a lattice that depends on the standard deviation alone. Every
    lattice point then collects some 2^30 noise values whatever the sum was, which costs one rounding,
    where four Gaussians per value (Holohan & Braghin 2021, arXiv 2107.10138) would cost four times the
    draws. No bound on what is left is claimed.
    """
    lattice = 2.0 ** (math.floor(math.log2(deviation)) - _LATTICE_BITS)
    flat = torch.cat([total.detach().to("cpu", torch.float64).reshape(-1) for total in totals])
    for part in torch.split(flat, 2 * _PAIRS):
        # In units of the lattice, a power of two: scaling by it is exact.
        _add_normal(part.mul_(1.0 / lattice), deviation / lattice, stream)
        part.round_().mul_(lattice)
    parts = flat.split([total.numel() for total in totals])
    return [part.view(total.shape) for part, total in zip(parts, totals, strict=True)]


def _add_normal(values: Tensor, deviation: float, stream: SecureStream) -> None:
    """Add N(0, deviation^2), within 8.6 deviations, to each of the values (n,) float64: draws in pairs."""
    half = (len(values) + 1) // 2
    radius, angle = torch.from_numpy(stream.uniform(2 * half)).view(2, half)
    radius.log_().mul_(-2.0 * deviation**2).sqrt_()
    angle.mul_(2.0 * math.pi)
    values[:half].addcmul_(radius, angle.cos())
    rest = len(values) - half
    values[half:].addcmul_(radius[:rest], angle.sin_()[:rest])
