"""Who expands masks: this process, or workers on other cores."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from leptonic.secagg.masks import Mask, add_masks

__all__ = ["Expansion", "Here"]


class Expansion(Protocol):
    """Adds masks to a vector and the sums beside it."""

    def add(self, words: NDArray[np.uint32], sums: NDArray[np.uint64], masks: Sequence[Mask]) -> None:
        """Add them, in place, modulo 2^32 and 2^64."""
        ...


class Here:
    """Expands masks in this process, on one core."""

    def add(self, words: NDArray[np.uint32], sums: NDArray[np.uint64], masks: Sequence[Mask]) -> None:
        """Add them, in place."""
        add_masks(words, sums, masks)
