"""Gaussian noise for a clipped sum, from a secure stream.

Called by the optimizer of one client (:mod:`leptonic.privacy.engine`) and by the simulation that trains many
clients at once. Source: Abadi et al. 2016, arXiv 1607.00133.
"""

import numpy as np
import torch
from torch import Tensor

from leptonic.randomness import SecureStream

__all__ = ["noised"]

_LATTICE_BITS = 20
"""Noised sums lie on multiples of a power of two, about 2^-20 standard deviations of the noise."""


def noised(total: Tensor, deviation: float, stream: SecureStream) -> Tensor:
    """The sum plus N(0, deviation^2) in each entry. Returns float64 on the CPU, of the sum's shape.

    A continuous Gaussian in floating point is a mitigation, not an exact sampler: the set of its values
    can betray what it was added to (Mironov 2012, doi 10.1145/2382196.2382264). So the sum is made in
    float64 on the CPU and rounded to a lattice that depends on the standard deviation alone. Every
    lattice point then collects some 2^30 noise values whatever the sum was, which costs one rounding,
    where four Gaussians per value (Holohan & Braghin 2021, arXiv 2107.10138) would cost four times the
    draws. No bound on what is left is claimed.
    """
    lattice = 2.0 ** (np.floor(np.log2(deviation)) - _LATTICE_BITS)
    values = total.detach().cpu().double().numpy().ravel()
    values = values + deviation * stream.normal(values.size)
    return torch.from_numpy(np.rint(values / lattice) * lattice).view(total.shape)
