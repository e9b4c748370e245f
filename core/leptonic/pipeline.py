"""From a local update to integers that can be summed in any order, and back from the sum.

Both sides build the same pipeline from the experiment. The client encodes; the server adds the encoded
contributions (:meth:`Contribution.add`) and decodes the total. Sums are made in Z_2^32 for the vectors and
in Z_2^64 for the scalars, so that the result of a round does not depend on who answered first. Stages that
clip, compress or add noise belong between :class:`LocalUpdate` and the lattice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leptonic.algorithms import Algorithm, algorithm_for
from leptonic.data.catalogue import spec_of
from leptonic.errors import DecodeError, ExperimentError, RunError
from leptonic.experiment import Experiment, MeanRule
from leptonic.integers import Lattice, add, from_fixed, to_fixed
from leptonic.tasks import task_for
from leptonic.update import LocalUpdate, Mean, Vector

__all__ = [
    "Contribution",
    "Pipeline",
    "decode_scalars",
    "encode_scalars",
    "pipeline_for",
    "reference_examples",
]

HEADROOM = 16
"""How many mean client sizes the largest weight may be, where the file gives no cap: costs 4 of 32 bits."""


@dataclass(frozen=True)
class Contribution:
    """One encoded update, or a sum of them.

    words: (segments * d,) uint32 in Z_2^32. scalars: (number of sums,) uint64, fixed point 2^-20 in Z_2^64.
    """

    words: NDArray[np.uint32]
    scalars: NDArray[np.uint64]

    def add(self, other: "Contribution") -> None:
        """Add ``other`` into this sum, in place."""
        add(self.words, other.words)
        add(self.scalars, other.scalars)

    def copy(self) -> "Contribution":
        """The same in memory of its own."""
        return Contribution(self.words.copy(), self.scalars.copy())

    def to_bytes(self) -> bytes:
        """Words then scalars, little-endian."""
        words, scalars = self.words.astype("<u4", copy=False), self.scalars.astype("<u8", copy=False)
        return b"".join((words.data, scalars.data))


@dataclass(frozen=True)
class Pipeline:
    """The encoding that an experiment fixes for models of ``size`` parameters.

    weight_cap: the weight that counts as 1; larger ones are clamped to it. None: every client weighs 1.
    """

    algorithm: Algorithm
    lattice: Lattice
    size: int
    weight_cap: float | None
    sum_names: tuple[str, ...]

    @property
    def _names(self) -> tuple[str, ...]:
        return ("count", "weight", "clamped", "capped", *self.sum_names)

    def weight_of(self, examples: float) -> float:
        """The weight of a client with so many examples."""
        return 1.0 if self.weight_cap is None else min(examples, self.weight_cap)

    def encode(self, update: LocalUpdate) -> Contribution:
        """Quantise one update. Raises RunError where a value is not finite."""
        weight = self.weight_of(update.weight)
        factor = 1.0 if self.weight_cap is None else weight / self.weight_cap
        parts, clamped = [], 0
        for segment in self.algorithm.segments:
            words, outside = self.lattice.quantise(update.vectors[segment.name], factor if segment.weighted else 1.0)
            parts.append(words)
            clamped += outside
        return Contribution(
            words=parts[0] if len(parts) == 1 else np.concatenate(parts),
            scalars=to_fixed(self._scalars(update, weight, clamped=clamped)),
        )

    def encode_sum(self, updates: Sequence[LocalUpdate]) -> Contribution:
        """The sum of these updates, each encoded; faster for many small ones. Raises RunError as :meth:`encode`."""
        weights = [self.weight_of(update.weight) for update in updates]
        factors = np.ones(len(updates)) if self.weight_cap is None else np.array(weights) / self.weight_cap
        total, clamped = self.zero(), 0
        for index, segment in enumerate(self.algorithm.segments):
            stacked = np.stack([update.vectors[segment.name] for update in updates])
            words, outside = self.lattice.quantise_sum(stacked, factors if segment.weighted else np.ones(len(updates)))
            total.words[index * self.size : (index + 1) * self.size] = words
            clamped += outside
        scalars = [self._scalars(update, weight) for update, weight in zip(updates, weights, strict=True)]
        # Which client's entries were clamped, no sum can tell.
        scalars[0][self._names.index("clamped")] = float(clamped)
        return Contribution(total.words, to_fixed(scalars).sum(axis=0))

    def check(self, contribution: Contribution, *, clients: int = 1) -> None:
        """Raise DecodeError unless so many clients can have contributed this: what a server in the clear can see.

        A client that lies about its weight within the cap, or about its metrics, is not found here.
        """
        sums = self._sums(contribution)
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
        sums = self._sums(total)
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

    def _sums(self, total: Contribution) -> dict[str, float]:
        return dict(zip(self._names, from_fixed(total.scalars).tolist(), strict=True))

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
        entries = count * self.size * len(self.algorithm.segments)
        if not 0 <= sums["clamped"] <= entries or not 0 <= sums["capped"] <= count:
            raise DecodeError("more clamped entries or capped weights than there can be")

    @property
    def encoded_length(self) -> int:
        """Bytes of one encoded contribution."""
        return 4 * self.size * len(self.algorithm.segments) + 8 * len(self._names)

    def zero(self) -> Contribution:
        """An empty sum."""
        return Contribution(
            words=np.zeros(self.size * len(self.algorithm.segments), dtype=np.uint32),
            scalars=np.zeros(len(self._names), dtype=np.uint64),
        )

    def from_bytes(self, buffer: bytes | memoryview) -> Contribution:
        """The inverse of :meth:`Contribution.to_bytes`; shares memory. Raises DecodeError on any other length."""
        if len(buffer) != self.encoded_length:
            raise DecodeError(f"a contribution has {len(buffer)} bytes, expected {self.encoded_length}")
        words = 4 * self.size * len(self.algorithm.segments)
        view = memoryview(buffer)
        return Contribution(
            words=np.frombuffer(view[:words], dtype="<u4"), scalars=np.frombuffer(view[words:], dtype="<u8")
        )


def pipeline_for(experiment: Experiment, size: int) -> Pipeline:
    """The pipeline of an experiment for models of ``size`` parameters."""
    algorithm = algorithm_for(experiment)
    rule, secure = experiment.aggregation, experiment.secure_aggregation
    metrics = () if experiment.privacy else task_for(experiment.task, spec_of(experiment.data)).metric_names
    training = tuple(f"train_{name}" for name in (*metrics, "examples")) if metrics else ()
    return Pipeline(
        algorithm=algorithm,
        lattice=Lattice(range=rule.range, clients=experiment.summed, bits=secure.bits if secure else 32),
        size=size,
        weight_cap=_weight_cap(experiment, rule) if isinstance(rule, MeanRule) else None,
        sum_names=(*algorithm.sums, *training),
    )


def encode_scalars(values: Sequence[float]) -> bytes:
    """One client's sums as the bytes that travel."""
    return to_fixed(values).astype("<u8", copy=False).tobytes()


def decode_scalars(buffer: bytes | memoryview, count: int) -> NDArray[np.uint64]:
    """The words of :func:`encode_scalars`, which can be added. Raises DecodeError on any other length."""
    if len(buffer) != 8 * count:
        raise DecodeError(f"{len(buffer)} bytes of sums, expected {8 * count}")
    return np.frombuffer(buffer, dtype="<u8").astype(np.uint64)


def reference_examples(experiment: Experiment) -> int:
    """Examples of a client of mean size, known to both sides: what unequal amounts of work are compared with."""
    examples = spec_of(experiment.data).train_examples
    if examples is not None:
        return max(1, examples // experiment.federation.clients)
    rule = experiment.aggregation
    return (rule.weight_cap if isinstance(rule, MeanRule) else None) or experiment.training.batch_size


def _weight_cap(experiment: Experiment, rule: MeanRule) -> float | None:
    if rule.weighting == "uniform":
        return None
    if rule.weight_cap is not None:
        return float(rule.weight_cap)
    if spec_of(experiment.data).train_examples is None:
        raise ExperimentError("aggregation.weight_cap: the data's size is not public; state the largest client's size")
    return float(HEADROOM * reference_examples(experiment))
