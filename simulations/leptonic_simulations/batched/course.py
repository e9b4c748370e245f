"""How SGD weighs what has moved a client's weights: the scalars of :mod:`leptonic_simulations.batched.span`."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Course", "Descent", "coefficients", "course"]


@dataclass(frozen=True)
class Descent:
    """The scalars of SGD. proximal: of the pull back to where it began."""

    rate: float
    momentum: float = 0.0
    decay: float = 0.0
    proximal: float = 0.0


@dataclass(frozen=True)
class Course:
    """The coefficients of so many steps of a batch.

    table: of the descent's :func:`coefficients`. batch: examples of a step. gammas: (steps + 1, steps * batch) float32,
    those of each example's gradient. constant: what every gradient's is in every later step, None where that differs.
    shrinks: whether the coefficient of W0 is ever another than 1.
    """

    descent: Descent
    table: NDArray[np.float64]
    batch: int
    gammas: Tensor
    constant: float | None
    shrinks: bool


def coefficients(descent: Descent, steps: int) -> NDArray[np.float64]:
    """W_t for t = 0 .. steps as combinations of (W0, offset, gradient of step 0, 1, ...): (steps + 1, steps + 2)."""
    weights = np.zeros(steps + 2)
    weights[0] = 1.0
    start, buffer, table = weights.copy(), np.zeros(steps + 2), [weights]
    for step in range(steps):
        gradient = (descent.decay + descent.proximal) * weights - descent.proximal * start
        gradient[1] += 1.0
        gradient[2 + step] += 1.0
        buffer = descent.momentum * buffer + gradient
        weights = weights - descent.rate * buffer
        table.append(weights)
    return np.array(table)


@lru_cache(16)
def course(descent: Descent, *, steps: int, batch: int, device: torch.device) -> Course:
    """The course of SGD with these settings; kept, since most rounds are alike."""
    table = coefficients(descent, steps)
    gammas, last = table[:, 2:], float(table[-1, 2])
    same = bool((gammas[1:] == np.tril(np.full((steps, steps), last))).all())
    return Course(
        descent=descent,
        table=table,
        batch=batch,
        gammas=torch.from_numpy(gammas).repeat_interleave(batch, dim=1).to(device, torch.float32),
        constant=last if same else None,
        shrinks=bool((table[:, 0] != 1.0).any()),
    )
