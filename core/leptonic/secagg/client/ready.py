"""Message 6 at a client: its integers leave it under masks that cancel in the sum, and nowhere else."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from leptonic.errors import DecodeError
from leptonic.secagg.binding import derived_key, hashed, signed
from leptonic.secagg.client.masked import Masked
from leptonic.secagg.expansion import Expansion
from leptonic.secagg.graph import Graph
from leptonic.secagg.long_digest import long_digest
from leptonic.secagg.masks import Mask
from leptonic.secagg.messages import MaskedHeader, Open, Pair, SelfMask, SignedHeader
from leptonic.secagg.once import Once
from leptonic.secagg.packing import packed
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

    sharers: U2. view: hash of what this client saw. before: the session in which the same was answered and given up.
    shares: of its neighbours' key and seed.
    """

    standing: Standing
    opening: Open
    graph: Graph
    sharers: frozenset[bytes]
    view: bytes
    query: bytes
    before: bytes | None
    shares: Mapping[bytes, tuple[bytes, bytes]] = field(repr=False)
    _pairs: Mapping[bytes, bytearray] = field(repr=False)
    _seed: bytearray = field(repr=False)
    _once: Once = field(default_factory=Once, repr=False)

    def mask(self, words: NDArray[np.uint32], sums: NDArray[np.uint64], expansion: Expansion) -> Masked:
        """Mask an encoded update, in place: what was there is gone.

        words: (d,) uint32. sums: (m,) uint64. That its answer leaves is noted before anything of it can.
        Raises DecodeError where they are not of the session's lengths.
        """
        self._once.use()
        settings = self.opening.settings
        if words.dtype != np.uint32 or sums.dtype != np.uint64 or words.ndim != 1 or sums.ndim != 1:
            raise DecodeError("what is masked are words of 32 bits and sums of 64, one vector each")
        if (len(words), len(sums)) != (settings.words, settings.sums):
            raise DecodeError(
                f"{len(words)} words and {len(sums)} sums to be masked, "
                f"the session has {settings.words} and {settings.sums}"
            )
        if settings.bits == 32:
            digest = expansion.add_and_hash(words, sums, self.masks)
            parts = _parts(words, sums, 32)
        else:
            expansion.add(words, sums, self.masks)
            parts = _parts(words, sums, settings.bits)
            digest = long_digest(*parts)
        self.masks.clear()
        # What is sent again must be what was sent: nobody may write there any more.
        words.setflags(write=False)
        sums.setflags(write=False)
        header = MaskedHeader(
            session=self.graph.session,
            client=self.standing.client,
            view=self.view,
            length=sum(map(len, parts)),
            digest=digest,
        )
        own = SignedHeader(header, signed(self.standing.key, header))
        self.standing.journal.answer(self.query, self.graph.session, after=self.before, header=hashed(header))
        return Masked(
            standing=self.standing,
            graph=self.graph,
            sharers=self.sharers,
            own=own,
            parts=parts,
            shares=self.shares,
            _seed=self._seed,
        )

    @cached_property
    def masks(self) -> list[Mask]:
        """The masks that its input will be given, of which an :class:`Expansion` may be told before; secret."""
        me, session = self.standing.client, self.graph.session
        masks = [self_mask(bytes(self._seed), session, me)]
        for other in self.graph.neighbours(me):
            if other in self.sharers:
                masks.append(pair_mask(bytes(self._pairs[other]), session, self.view, me, other))
        for secret in self._pairs.values():
            secret[:] = bytes(32)
        return masks


def _parts(words: NDArray[np.uint32], sums: NDArray[np.uint64], bits: int) -> tuple[memoryview, memoryview]:
    """What travels; at 32 bits a word, the same memory."""
    return packed(words, bits), np.ascontiguousarray(sums, dtype="<u8").data.cast("B")
