"""What a robust rule is, and what the rules share: the check of their input and the walk over its columns.

A rule sees all updates of a round at once, (n, d) in roster order, and works through them in slices of
columns of at most ``CELLS`` entries, so that its own memory stays bounded whatever n and d are.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from leptonic.errors import RunError

__all__ = ["CELLS", "Combined", "Rule", "check", "columns", "ordered_columns"]

CELLS = 2**17
"""Entries of a slice: 1 MiB as float64."""


@dataclass(frozen=True, eq=False)
class Combined:
    """The outcome of a rule.

    vector: (d,) float32. kept: the rows that it was made of, ascending; for the run's metrics.
    """

    vector: NDArray[np.float32]
    kept: tuple[int, ...]


class Rule(Protocol):
    """A frozen value that makes one vector of a round's updates."""

    @property
    def needed(self) -> int:
        """The fewest updates that the rule is defined for. At most federation.minimum, or rounds may fail."""
        ...

    def combine(self, updates: NDArray[np.float32]) -> Combined:
        """One vector of the updates of a round.

        updates: (n, d) float32, finite, stacked in roster order; not modified.
        Deterministic. Raises RunError if n is below :attr:`needed` or an entry is not finite.
        """
        ...


def check(updates: NDArray[np.float32], *, rule: str, needed: int) -> None:
    """Raise RunError unless ``updates`` is (n, d) with n >= needed and all entries finite."""
    if updates.ndim != 2:
        raise RunError(f"aggregation.rule = '{rule}' takes updates of shape (clients, parameters), not {updates.shape}")
    if len(updates) < needed:
        raise RunError(
            f"aggregation.rule = '{rule}' needs at least {needed} updates, but {len(updates)} arrived: "
            f"set federation.minimum to {needed} or more, or ask less of the rule"
        )
    for part in columns(updates):
        finite = np.isfinite(updates[:, part]).all(axis=1)
        if not finite.all():
            raise RunError(
                f"aggregation.rule = '{rule}': update {np.flatnonzero(~finite)[0]} "
                "(counted from 0, in roster order) "
                "holds an entry that is not finite: leave its client out"
            )


def columns(updates: NDArray[np.float32]) -> Iterator[slice]:
    """Slices that cover the columns of ``updates`` (n, d), each of one column or at most CELLS entries."""
    clients, size = updates.shape
    width = max(1, CELLS // clients)
    for start in range(0, size, width):
        yield slice(start, start + width)


def ordered_columns(updates: NDArray[np.float32]) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Each slice of columns with its entries in ascending order, transposed: (width, n) float32."""
    for part in columns(updates):
        # Sorting a contiguous copy row by row is several times faster than sorting strided columns.
        ordered = updates[:, part].T.copy()
        ordered.sort(axis=1)
        yield part, ordered
