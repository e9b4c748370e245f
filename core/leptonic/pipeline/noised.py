"""The encoding of client-level privacy by clients: each adds its share of integer noise, and only sums are decoded."""

import hashlib
from dataclasses import dataclass, replace

from leptonic.errors import PrivacyError
from leptonic.integers import to_fixed
from leptonic.pipeline.base import Occasion
from leptonic.pipeline.client_level import ClientLevelPipeline
from leptonic.pipeline.contribution import Contribution
from leptonic.privacy.distributed import DistributedMechanism
from leptonic.randomness import SecureStream
from leptonic.update import LocalUpdate, Mean

__all__ = ["NoisedPipeline"]


@dataclass(frozen=True)
class NoisedPipeline(ClientLevelPipeline):
    """Clipped, rotated, rounded, noised: every word may be noise, and no single contribution can be judged.

    mechanism: the plan's own. experiment: its hash, from which rotations are drawn. rotation_seed: of the round.
    """

    mechanism: DistributedMechanism
    experiment: str
    rotation_seed: bytes = b""

    def at(self, occasion: Occasion) -> "NoisedPipeline":
        """With the round's rotation: drawn by nobody, and new in each round."""
        name = f"leptonic rotation/{self.experiment}/{occasion.round}".encode()
        return replace(self, rotation_seed=hashlib.sha256(name).digest())

    @property
    def words(self) -> int:
        """The model's size, padded to a power of two."""
        return self.mechanism.dimension

    def encode(self, update: LocalUpdate, stream: SecureStream | None = None) -> Contribution:
        """See :class:`leptonic.pipeline.Pipeline`; an update that is not finite counts as zero.

        Raises PrivacyError without a stream.
        """
        if stream is None or not self.rotation_seed:
            raise PrivacyError("a client's noise needs a secure stream, and a round")
        words = self.mechanism.encode(update.vectors["model"], self.rotation_seed, stream)
        return Contribution(words=words, scalars=to_fixed([1.0]))

    def decode(self, total: Contribution) -> Mean:
        """The noised sum over the public denominator, whoever took part."""
        if not self.rotation_seed:
            raise PrivacyError("a noised sum is decoded for a round")
        sums = self.sums(total)
        vector = self.mechanism.decode(total.words, self.rotation_seed).astype("float32")
        return Mean(vectors={"model": vector}, sums=sums, count=round(sums["count"]))
