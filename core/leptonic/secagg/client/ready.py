"""Message 6 at a client: its integers leave it under masks that cancel in the sum, and nowhere else."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from leptonic.errors import DecodeError
from leptonic.secagg.binding import derived_key, signed
from leptonic.secagg.client.masked import Masked
from leptonic.secagg.client.once import Once
from leptonic.secagg.expansion import Expansion
from leptonic.secagg.graph import Graph
from leptonic.secagg.masks import Mask
from leptonic.secagg.messages import Advertisement, MaskedHeader, Open, Pair, SelfMask, SignedHeader
from leptonic.secagg.packing import packed
from leptonic.secagg.sealing import agreed
from leptonic.secagg.standing import Standing

__all__ = ["Ready", "pair_mask", "self_mask"]


def pair_mask(secret: bytes, session: bytes, view: bytes, client: bytes, other: bytes) -> Mask:
    """The mask that ``client`` adds for a pair; the other side's is its negative. secret: what both agreed on."""
    smaller, larger = min(client, other), max(client, other)
    return Mask(derived_key(secret, Pair(view, smaller, larger), session=session), negative=client == larger)


def self_mask(seed: bytes, session: bytes, client: bytes) -> Mask:
    """A client's own mask."""
    return Mask(derived_key(seed, SelfMask(client), session=session))


@dataclass(frozen=True)
class Ready:
    """A client that knows what to work on, and that everybody who takes part was told the same.

    sharers: U2. view: hash of what this client saw. shares: of its neighbours' key and seed.
    """

    standing: Standing
    opening: Open
    graph: Graph
    advertised: Mapping[bytes, Advertisement]
    sharers: frozenset[bytes]
    view: bytes
    query: bytes
    shares: Mapping[bytes, tuple[bytes, bytes]] = field(repr=False)
    _masks: bytearray = field(repr=False)
    _seed: bytearray = field(repr=False)
    _once: Once = field(default_factory=Once, repr=False)

    def mask(self, words: NDArray[np.uint32], sums: NDArray[np.uint64], expansion: Expansion) -> Masked:
        """Mask an encoded update, in place: what was there is gone.

        words: (d,) uint32. sums: (m,) uint64. That its answer leaves is noted before anything of it can.
        Raises DecodeError where they are not of the session's lengths.
        """
        self._once.use()
        settings = self.opening.settings
        if (len(words), len(sums)) != (settings.words, settings.sums):
            raise DecodeError(
                f"{len(words)} words and {len(sums)} sums to be masked, "
                f"the session has {settings.words} and {settings.sums}"
            )
        expansion.add(words, sums, self._all_masks())
        parts = (packed(words, settings.bits), np.ascontiguousarray(sums, dtype="<u8").data.cast("B"))
        digest = hashlib.sha256()
        for part in parts:
            digest.update(part)
        header = MaskedHeader(
            session=self.graph.session,
            client=self.standing.client,
            view=self.view,
            length=sum(map(len, parts)),
            digest=digest.digest(),
        )
        own = SignedHeader(header, signed(self.standing.key, header))
        self.standing.journal.answer(self.query, self.graph.session)
        return Masked(
            standing=self.standing,
            graph=self.graph,
            sharers=self.sharers,
            own=own,
            parts=parts,
            shares=self.shares,
            _seed=self._seed,
        )

    def _all_masks(self) -> list[Mask]:
        me, session = self.standing.client, self.graph.session
        masks = [self_mask(bytes(self._seed), session, me)]
        for other in self.graph.neighbours(me):
            if other in self.sharers:
                secret = agreed(self._masks, self.advertised[other].masks, other)
                masks.append(pair_mask(secret, session, self.view, me, other))
        self._masks[:] = bytes(32)
        return masks
