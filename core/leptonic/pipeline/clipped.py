"""The encoding of client-level privacy by a trusted server: each update clipped, and in units of the clip."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from leptonic.errors import DecodeError, PrivacyError
from leptonic.integers import Lattice, to_fixed
from leptonic.pipeline.base import Occasion
from leptonic.pipeline.client_level import ClientLevelPipeline
from leptonic.pipeline.contribution import Contribution
from leptonic.privacy.clipped_update import clip
from leptonic.privacy.trusted_server import TrustedServer, centred_bit
from leptonic.randomness import SecureStream
from leptonic.update import LocalUpdate, Mean

__all__ = ["ClippedPipeline", "Release"]

_MARGIN = 2.0**-20
"""Of the norm, for what rounding of floating-point numbers may add to it."""

Release = Callable[[NDArray[np.float64], float], NDArray[np.float64]]
"""The server's noise: from a sum (d,) in units of the clip, and the sum of :func:`centred_bit`, to a mean (d,)."""


@dataclass(frozen=True)
class ClippedPipeline(ClientLevelPipeline):
    """Clipped so that the integers' norm is at most one clip.

    lattice: of range 1. clip_norm: of the round. release: the server's noise, nowhere else.
    """

    lattice: Lattice
    clip_norm: float = 0.0
    release: Release | None = None

    def __post_init__(self) -> None:
        if not self.largest_norm > 0.5:
            raise PrivacyError(
                f"words of {self.lattice.bits} bits are too short for a clipped update of {self.size:,} parameters of "
                f"{self.lattice.clients} clients: raise secure_aggregation.bits, or invite fewer"
            )

    def at(self, occasion: Occasion) -> "ClippedPipeline":
        """With the round's clip."""
        if occasion.clip_norm is None:
            raise PrivacyError("the round says nothing of its clip")
        return replace(self, clip_norm=occasion.clip_norm)

    @property
    def largest_norm(self) -> float:
        """Of an update before it is rounded, in units of the clip: rounding adds sqrt(d) / 2 steps at most."""
        return 1.0 - _MARGIN - math.sqrt(self.size) / (2 * self.lattice.scale)

    @property
    def words(self) -> int:
        """One for each parameter."""
        return self.size

    @property
    def adapts(self) -> bool:
        """Whether the clip follows the clients' norms."""
        mechanism = self.plan.mechanism
        return isinstance(mechanism, TrustedServer) and mechanism.adaptive is not None

    @property
    def names(self) -> tuple[str, ...]:
        """That a client took part; and where the clip adapts, whether its norm was below, noised by the server."""
        return (*super().names, "below") if self.adapts else super().names

    def encode(self, update: LocalUpdate, stream: SecureStream | None = None) -> Contribution:
        """See :class:`leptonic.pipeline.Pipeline`; an update that is not finite counts as zero."""
        if not self.clip_norm > 0:
            raise PrivacyError("an update is clipped for a round")
        vector = update.vectors["model"].astype(np.float64)
        finite = bool(np.isfinite(vector).all())
        values = clip(vector / self.clip_norm, self.largest_norm)
        words, _ = self.lattice.quantise(values.astype(np.float32))
        scalars = [1.0]
        if self.adapts:
            norm = float(np.linalg.norm(vector)) if finite else math.inf
            scalars.append(centred_bit(norm, self.clip_norm))
        return Contribution(words=words, scalars=to_fixed(scalars))

    def check(self, contribution: Contribution, *, clients: int = 1) -> None:
        """See :class:`ClientLevelPipeline`; a single update must not be longer than the clip."""
        super().check(contribution, clients=clients)
        if abs(below := self.sums(contribution).get("below", 0.0)) > clients / 2:
            raise DecodeError(f"{clients} clients cannot sum to {below:g} on which side of the clip they are")
        signed, bound = contribution.words.view(np.int32), clients * self.lattice.bound
        if len(signed) and not -bound <= int(signed.min()) <= int(signed.max()) <= bound:
            raise DecodeError(f"a word beyond the lattice's bound of {bound}")
        if clients == 1 and float(np.linalg.norm(signed.astype(np.float64))) > self.lattice.scale:
            raise DecodeError("a client's update is longer than the clip")

    def released_by(self, release: Release) -> "ClippedPipeline":
        """The same with the server's noise, without which no sum is decoded."""
        return replace(self, release=release)

    def decode(self, total: Contribution) -> Mean:
        """The noised mean. Raises PrivacyError where nobody adds noise."""
        if self.release is None:
            raise PrivacyError("the sum of clipped updates is decoded with the server's noise alone")
        sums = self.sums(total)
        exact = total.words.view(np.int32) / np.float64(self.lattice.scale)
        vector = self.release(exact, sums.pop("below", 0.0)).astype(np.float32)
        return Mean(vectors={"model": vector}, sums=sums, count=round(sums["count"]))
