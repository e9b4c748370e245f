"""What every encoding of updates offers, whatever is done to them on the way."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from leptonic.algorithms import Algorithm
from leptonic.errors import DecodeError
from leptonic.integers import from_fixed
from leptonic.pipeline.contribution import Contribution
from leptonic.randomness import SecureStream
from leptonic.update import LocalUpdate, Mean

__all__ = ["Occasion", "Pipeline"]


@dataclass(frozen=True)
class Occasion:
    """The round in which updates are encoded, from 1: public, and the same at everybody.

    clip_norm: the round's bound on an update's norm, where it changes from round to round.
    """

    round: int
    clip_norm: float | None = None


@dataclass(frozen=True)
class Pipeline(ABC):
    """The encoding that an experiment fixes for models of ``size`` parameters.

    sum_names: scalars that are summed beside the ones that the pipeline makes itself.
    """

    algorithm: Algorithm
    size: int
    sum_names: tuple[str, ...]

    def at(self, occasion: Occasion) -> "Pipeline":
        """The encoding of one round; the same for all of them unless noise or clip say otherwise."""
        return self

    @property
    @abstractmethod
    def words(self) -> int:
        """Words of an encoded contribution."""

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """The scalars of a contribution, in their order; the first is ``count``."""

    @abstractmethod
    def encode(self, update: LocalUpdate, stream: SecureStream | None = None) -> Contribution:
        """One client's words and scalars. stream: secure, this client's own, where the encoding draws.

        Raises RunError where a value is not finite.
        """

    def encode_into(self, room: memoryview, update: LocalUpdate, stream: SecureStream | None = None) -> None:
        """The same, laid as it travels. room: :attr:`encoded_length` bytes, of no use where this raises."""
        room[:] = self.encode(update, stream).to_bytes()

    @abstractmethod
    def check(self, contribution: Contribution, *, clients: int = 1) -> None:
        """Raise DecodeError unless so many clients can have contributed this."""

    @abstractmethod
    def decode(self, total: Contribution) -> Mean:
        """The mean of the summed contributions. Raises DecodeError if the scalars cannot be a sum."""

    def weight_of(self, examples: float) -> float:
        """The weight of a client with so many examples."""
        return 1.0

    def encode_sum(self, updates: Sequence[LocalUpdate]) -> Contribution:
        """The sum of these updates, each encoded. Raises RunError as :meth:`encode`."""
        total = self.zero()
        for update in updates:
            total.add(self.encode(update))
        return total

    @property
    def encoded_length(self) -> int:
        """Bytes of one encoded contribution."""
        return 4 * self.words + 8 * len(self.names)

    def zero(self) -> Contribution:
        """An empty sum."""
        return Contribution(
            words=np.zeros(self.words, dtype=np.uint32), scalars=np.zeros(len(self.names), dtype=np.uint64)
        )

    def from_bytes(self, buffer: bytes | memoryview) -> Contribution:
        """The inverse of :meth:`Contribution.to_bytes`; shares memory. Raises DecodeError on any other length."""
        if len(buffer) != self.encoded_length:
            raise DecodeError(f"a contribution has {len(buffer)} bytes, expected {self.encoded_length}")
        end, view = 4 * self.words, memoryview(buffer)
        return Contribution(
            words=np.frombuffer(view[:end], dtype="<u4"), scalars=np.frombuffer(view[end:], dtype="<u8")
        )

    def sums(self, total: Contribution) -> dict[str, float]:
        """The scalars by name."""
        return dict(zip(self.names, from_fixed(total.scalars).tolist(), strict=True))
