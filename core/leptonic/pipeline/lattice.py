"""The plain encoding: a fixed-point lattice, on which weighted updates are added without noise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leptonic.errors import DecodeError, RunError
from leptonic.integers import Lattice, to_fixed
from leptonic.pipeline.base import Pipeline
from leptonic.pipeline.contribution import Contribution
from leptonic.randomness import SecureStream
from leptonic.update import LocalUpdate, Mean, Vector

__all__ = ["LatticePipeline"]


@dataclass(frozen=True)
class LatticePipeline(Pipeline):
    """Updates as they are, clamped to the lattice's range, weighted by examples or not.

    weight_cap: the weight that counts as 1; larger ones are clamped to it. None: every client weighs 1.
    """

    lattice: Lattice
    weight_cap: float | None

    @property
    def words(self) -> int:
        """One for each parameter of each segment."""
        return self.size * len(self.algorithm.segments)

    @property
    def names(self) -> tuple[str, ...]:
        """See :class:`Pipeline`."""
        return ("count", "weight", "clamped", "capped", *self.sum_names)

    def weight_of(self, examples: float) -> float:
        """The weight of a client with so many examples."""
        return 1.0 if self.weight_cap is None else min(examples, self.weight_cap)

    def encode(self, update: LocalUpdate, stream: SecureStream | None = None) -> Contribution:
        """Quantise one update. Raises RunError where a value is not finite."""
        words = np.empty(self.words, dtype=np.uint32)
        return Contribution(words, self._quantised(update, words))

    def encode_into(self, room: memoryview, update: LocalUpdate, stream: SecureStream | None = None) -> None:
        """The same, quantised where it is to lie."""
        laid = self.from_bytes(room)
        laid.scalars[:] = self._quantised(update, laid.words)

    def _quantised(self, update: LocalUpdate, words: NDArray[np.uint32]) -> NDArray[np.uint64]:
        """One update's words, and its scalars. words: where they are written."""
        weight = self.weight_of(update.weight)
        factor = 1.0 if self.weight_cap is None else weight / self.weight_cap
        clamped = 0
        for index, segment in enumerate(self.algorithm.segments):
            vector, own = update.vectors[segment.name], words[index * self.size : (index + 1) * self.size]
            clamped += self.lattice.quantise(vector, factor if segment.weighted else 1.0, out=own)[1]
        return to_fixed(self._scalars(update, weight, clamped=clamped))

    def encode_sum(self, updates: Sequence[LocalUpdate]) -> Contribution:
        """The sum of these updates, each encoded; faster for many small ones. Raises RunError as :meth:`encode`."""
        weights = [self.weight_of(update.weight) for update in updates]
        factors = np.ones(len(updates)) if self.weight_cap is None else np.array(weights) / self.weight_cap
        total, clamped = self.zero(), 0
        for index, segment in enumerate(self.algorithm.segments):
            vectors = [update.vectors[segment.name] for update in updates]
            words, outside = self.lattice.quantise_sum(vectors, factors if segment.weighted else np.ones(len(updates)))
            total.words[index * self.size : (index + 1) * self.size] = words
            clamped += outside
        scalars = [self._scalars(update, weight) for update, weight in zip(updates, weights, strict=True)]
        # Which client's entries were clamped, no sum can tell.
        scalars[0][self.names.index("clamped")] = float(clamped)
        return Contribution(total.words, to_fixed(scalars).sum(axis=0))

    def check(self, contribution: Contribution, *, clients: int = 1) -> None:
        """Raise DecodeError unless so many clients can have contributed this: what a server in the clear can see.

        A client that lies about its weight within the cap, or about its metrics, is not found here.
        """
        sums = self.sums(contribution)
        if sums["count"] != clients:
            raise DecodeError(f"the contribution of {clients} clients counts {sums['count']:g}")
        self._check_bounds(sums)
        signed, bound = contribution.words.view(np.int32), clients * self.lattice.bound
        # One pass, no copy; the smallest of -2^31 has no absolute value among words.
        if len(signed) and not -bound <= int(signed.min()) <= int(signed.max()) <= bound:
            raise DecodeError(f"a word beyond the lattice's bound of {bound}")

    def discounted(self, contribution: Contribution, share: float) -> Contribution:
        """One client's contribution with ``share`` in [0, 1] of its vectors; its weight and its sums stay whole.

        Its words are multiplied and rounded to the nearest step again, half to even, each contribution by itself: a
        sum of them is one of integers, exact in any order. An entry's error is at most 1 / (2 scale) more, and a share
        of 1 changes no bit.
        """
        if not 0.0 <= share <= 1.0:
            raise RunError(f"a contribution cannot be discounted to {share}: the share must be in [0, 1]")
        words = np.rint(contribution.words.view(np.int32) * share).astype(np.int32)
        return Contribution(words.view(np.uint32), contribution.scalars)

    def decode(self, total: Contribution) -> Mean:
        """The mean of the summed contributions. Raises DecodeError if the scalars cannot be a sum."""
        sums = self.sums(total)
        self._check_bounds(sums)
        count, weight = sums["count"], sums["weight"]
        vectors: dict[str, Vector] = {}
        for index, segment in enumerate(self.algorithm.segments):
            words = total.words[index * self.size : (index + 1) * self.size]
            divisor = weight / self.weight_cap if segment.weighted and self.weight_cap is not None else count
            vectors[segment.name] = self.lattice.dequantise(words, divisor)
        return Mean(vectors=vectors, sums=sums, count=round(count))

    def _scalars(self, update: LocalUpdate, weight: float, *, clamped: int = 0) -> list[float]:
        capped = float(weight < update.weight) if self.weight_cap is not None else 0.0
        return [1.0, weight, float(clamped), capped, *(update.sums.get(name, 0.0) for name in self.sum_names)]

    def _check_bounds(self, sums: Mapping[str, float]) -> None:
        count = sums["count"]
        if not (count.is_integer() and 1 <= count <= self.lattice.clients):
            raise DecodeError(f"a sum over {count:g} clients, of {self.lattice.clients} at most")
        if self.weight_cap is None:
            heaviest, lightest = count, count
        else:
            heaviest, lightest = count * self.weight_cap, 0.0
        if not lightest <= sums["weight"] <= heaviest or sums["weight"] == 0:
            raise DecodeError(f"a weight of {sums['weight']:g} for {count:g} clients, of {heaviest:g} at most")
        entries = count * self.words
        if not 0 <= sums["clamped"] <= entries or not 0 <= sums["capped"] <= count:
            raise DecodeError("more clamped entries or capped weights than there can be")
