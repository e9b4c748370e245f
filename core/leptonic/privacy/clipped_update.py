"""Clipping of a client's whole update, the bound that client-level privacy starts from.

Called by both mechanisms of client-level privacy. Source: McMahan et al. 2018, arXiv 1710.06963.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["clip"]


def clip(update: NDArray[np.floating], clip_norm: float) -> NDArray[np.float64]:
    """The update, scaled down to norm at most clip_norm; zero if an entry is not finite.

    Zero, since an error would tell everyone that this client's training diverged. The norm of what is returned can
    exceed clip_norm by rounding, 1e-12 of it: mechanisms check integers.
    update: (d,). Returns (d,) float64.
    """
    values = np.asarray(update, dtype=np.float64)
    if not np.isfinite(values).all():
        return np.zeros_like(values)
    largest = float(np.abs(values).max(initial=0.0))
    if largest == 0:
        return values.copy()
    # Scaled by the largest entry first, whose square may be beyond float64.
    norm = largest * float(np.linalg.norm(values / largest))
    return values * min(1.0, clip_norm / norm)
