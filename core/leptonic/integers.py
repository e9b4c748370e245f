"""The fixed-point lattice on which every sum over clients is made.

A client quantises its update to 32-bit words, words are added modulo 2^32, and the server centres and
dequantises the total. Integer addition does not depend on order, so a round does not depend on who
answered first. The bound leaves room for every invited client, so a sum never wraps.
Metric sums travel beside the update as 64-bit words of 2^-20 (:func:`to_fixed`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leptonic.errors import ExperimentError, RunError

__all__ = ["Lattice", "add", "from_fixed", "to_fixed"]

LARGEST_RANGE = float(np.finfo(np.float32).max)
METRIC_STEPS = 2**20
"""Steps per unit of a metric: its resolution is 2^-20."""

CHUNK = 2**15
"""Entries worked on at a time: their float64 copies (256 KiB) stay in the cache."""

Words = TypeVar("Words", NDArray[np.uint32], NDArray[np.uint64])


@dataclass(frozen=True)
class Lattice:
    """Multiples of 1 / scale between -range and +range, of which ``clients`` can be added without wrapping.

    range: largest absolute value of an update's entry; larger ones are clamped.
    clients: how many updates may be added, that is, the clients invited to the round, or an asynchronous buffer.
    bits: of a word, of which sums keep as many. Raises ExperimentError if no such lattice exists.
    """

    range: float
    clients: int
    bits: int = 32

    def __post_init__(self) -> None:
        if not 0 < self.range <= LARGEST_RANGE:
            raise ExperimentError(
                f"aggregation.range = {self.range}: must be more than 0 and at most {LARGEST_RANGE:.6g}"
            )
        if not 1 <= self.clients <= self._largest:
            raise ExperimentError(
                f"a sum over {self.clients} clients does not fit {self.bits}-bit words: invite 1 to {self._largest}"
            )
        if not math.isfinite(self.scale):
            raise ExperimentError(f"aggregation.range = {self.range}: too small for float64 steps; set a larger one")

    @property
    def bound(self) -> int:
        """Largest absolute value of one client's word, as a signed integer."""
        return self._largest // self.clients

    @property
    def _largest(self) -> int:
        return (1 << (self.bits - 1)) - 1

    @property
    def scale(self) -> float:
        """Steps of the lattice per unit."""
        return self.bound / self.range

    def quantise(
        self, values: NDArray[np.float32], factor: float = 1.0, *, out: NDArray[np.uint32] | None = None
    ) -> tuple[NDArray[np.uint32], int]:
        """One client's words, and how many entries were clamped.

        values: (d,) float32. They are clamped to +-range, multiplied by ``factor`` (the client's weight over
        the largest weight, in [0, 1]) and rounded to the nearest step, half to even; the error of an entry
        within the range is at most 1 / (2 scale). out: (d,) uint32, where the words are to lie; any other memory
        unless given.
        Returns (d,) uint32, two's complement, and the count. Raises RunError on a NaN or an infinity.
        """
        _check_factor(factor)
        out = np.empty(len(values), dtype=np.uint32) if out is None else out
        words, scale = out.view(np.int32), factor * self.scale
        buffer = np.empty(min(CHUNK, len(values)), dtype=np.float64)
        clamped = 0
        for start in range(0, len(values), CHUNK):
            chunk = values[start : start + CHUNK]
            reals = buffer[: len(chunk)]
            reals[:] = chunk
            if self._reaches_out(chunk, values):
                clamped += self._clamp(reals)
            reals *= scale
            np.rint(reals, out=reals)
            words[start : start + CHUNK] = reals
        return out, clamped

    def quantise_sum(
        self, values: Sequence[NDArray[np.float32]], factors: NDArray[np.float64]
    ) -> tuple[NDArray[np.uint32], int]:
        """The sum of several clients' words, and how many entries were clamped in all.

        The same as :meth:`quantise` of each, added; for many short updates several times as fast.
        values: k of (d,) float32, k at least 1 and at most :attr:`clients`. factors: (k,) float64 in [0, 1].
        Raises RunError as :meth:`quantise`.
        """
        for factor in factors.tolist():
            _check_factor(factor)
        scales, clamped = (factors * self.scale).tolist(), 0
        words = np.empty(len(values[0]), dtype=np.int32)
        total, buffer = np.empty((2, min(CHUNK, len(words))), dtype=np.float64)
        for start in range(0, len(words), CHUNK):
            sums, reals = (both[: len(words) - start] for both in (total, buffer))
            sums[:] = 0.0
            for row, scale in zip(values, scales, strict=True):
                chunk = row[start : start + CHUNK]
                reals[:] = chunk
                if self._reaches_out(chunk, row):
                    clamped += self._clamp(reals)
                reals *= scale
                # Integers below 2^53, whose sum is exact whatever its order.
                sums += np.rint(reals, out=reals)
            words[start : start + CHUNK] = sums
        return words.view(np.uint32), clamped

    def dequantise(self, total: NDArray[np.uint32], divisor: float) -> NDArray[np.float32]:
        """The values that a sum of words stands for, over ``divisor`` (the sum of the factors, for a mean).

        total: (d,) uint32. Returns (d,) float32. Raises RunError unless the divisor is positive and finite.
        """
        if not (math.isfinite(divisor) and divisor > 0):
            raise RunError(f"a sum of updates cannot be divided by {divisor}: no client with a weight took part")
        centred = total.view(np.int32)
        values = np.empty(len(total), dtype=np.float32)
        buffer = np.empty(min(CHUNK, len(total)), dtype=np.float64)
        for start in range(0, len(total), CHUNK):
            chunk = centred[start : start + CHUNK]
            reals = buffer[: len(chunk)]
            reals[:] = chunk
            reals /= self.scale
            reals /= divisor
            values[start : start + CHUNK] = reals
        return values

    def _reaches_out(self, chunk: NDArray[np.float32], values: NDArray[np.float32]) -> bool:
        """Whether an entry of an update's chunk lies outside of the range. Raises RunError on a NaN or an infinity."""
        lowest, highest = _extremes(chunk)
        if not (math.isfinite(lowest) and math.isfinite(highest)):
            raise _not_finite(values)
        return lowest < -self.range or highest > self.range

    def _clamp(self, reals: NDArray[np.float64]) -> int:
        # In float64: the range may have no float32, and the next one above it would leave the bound.
        outside = int(np.count_nonzero(np.abs(reals) > self.range))
        np.clip(reals, -self.range, self.range, out=reals)
        return outside


def add(total: Words, words: Words) -> None:
    """Add ``words`` to ``total`` in place, modulo 2^32 or 2^64.

    Raises RunError if they differ in size or type.
    """
    if total.shape != words.shape or total.dtype != words.dtype:
        raise RunError(
            f"words of {words.shape} {words.dtype} cannot be added to a sum of {total.shape} {total.dtype}: "
            "every client of a round must send the same layout"
        )
    np.add(total, words, out=total)


def to_fixed(values: ArrayLike, clients: int = 2**16) -> NDArray[np.uint64]:
    """One client's metric sums as words that ``clients`` of them can add modulo 2^64 without wrapping.

    Rounded to the nearest 2^-20, half to even. values: (m,), or (k, m) of several clients. Returns as many uint64,
    two's complement. Raises RunError if a value is not finite or exceeds 2^43 / clients (134 million at the default).
    """
    reals, largest = np.asarray(values, dtype=np.float64), (2**63 - 1) // clients
    with np.errstate(over="ignore"):
        steps = np.rint(reals * METRIC_STEPS)
    furthest = float(np.abs(steps).max(initial=0.0))
    # As integers: float64 may round the limit up.
    if not math.isfinite(furthest) or int(furthest) > largest:
        place = np.unravel_index(np.abs(steps).argmax(), steps.shape)
        raise _not_summable(int(place[-1]), reals[place], largest / METRIC_STEPS, clients)
    return steps.astype(np.int64).view(np.uint64)


def from_fixed(words: NDArray[np.uint64]) -> NDArray[np.float64]:
    """The metric sums that words, or a sum of words, stand for. words: (m,) uint64. Returns (m,) float64."""
    return words.view(np.int64) / np.float64(METRIC_STEPS)


def _check_factor(factor: float) -> None:
    if not 0.0 <= factor <= 1.0:
        raise RunError(f"the factor of an update is {factor}, outside [0, 1]: its weight must not exceed the cap")


def _extremes(values: NDArray[np.float32]) -> tuple[float, float]:
    """The smallest and the largest entry; a NaN or an infinity shows in them. Two reductions beat a mask."""
    with np.errstate(invalid="ignore"):
        return float(values.min()), float(values.max())


def _not_summable(index: int, value: float, largest: float, clients: int) -> RunError:
    if not math.isfinite(value):
        return RunError(f"metric sum {index} is not finite ({value}): the local training diverged; lower the rate")
    return RunError(
        f"metric sum {index} is {value:.6g}, but {clients} clients can only add up to {largest:.6g} each: "
        "the local training diverged, or the metric needs another unit"
    )


def _not_finite(values: NDArray[np.float32]) -> RunError:
    bad = np.flatnonzero(~np.isfinite(values))
    return RunError(
        f"{len(bad)} of the update's {len(values)} entries are not finite (the first is entry {bad[0]}): "
        "the local training diverged; lower the learning rate or set training.gradient_clip_norm"
    )
