"""Messages 8 and 9 at the coordinator: shares open the secrets that are left in the sum, and nothing else.

Of a survivor that is its seed, of somebody who dropped out its key: the mask of each pair with a survivor is then
known. Every secret is checked against what its owner had committed to, so that false shares are found out.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leptonic.errors import BadShare, BelowThreshold, InconsistentCohort, ReplayedSession
from leptonic.secagg.binding import hashed
from leptonic.secagg.client.ready import pair_mask, self_mask
from leptonic.secagg.encoding import decoded, encoded
from leptonic.secagg.expansion import Expansion
from leptonic.secagg.long_digest import long_digest
from leptonic.secagg.masks import Mask
from leptonic.secagg.messages import Record, SeedCommitment, SharesReleased, Signed, Unmask
from leptonic.secagg.once import Once
from leptonic.secagg.sealing import agreed, public_of, secret_key
from leptonic.secagg.server.closed import ClosedSum
from leptonic.secagg.shamir import recovered

__all__ = ["OpenedSum", "Unmasking"]


@dataclass(frozen=True)
class OpenedSum:
    """The sum of the survivors' updates. words: (d,) uint32 in Z_2^32. sums: (m,) uint64.

    suspects: (who made it, who released it) of every false share or seed: one of the two has lied, unless
    more have than half of the shares beyond the threshold: then an honest pair may stand here, and nobody is to be
    punished for it. record: what became of the session, to be signed.
    """

    words: NDArray[np.uint32]
    sums: NDArray[np.uint64]
    survivors: tuple[bytes, ...]
    suspects: frozenset[tuple[bytes, bytes]]
    record: Record


class Unmasking:
    """Gathers shares, then opens the sum. signatures: the quorum's."""

    def __init__(
        self,
        closed: ClosedSum,
        words: NDArray[np.uint32],
        sums: NDArray[np.uint64],
        signatures: tuple[Signed, ...],
    ) -> None:
        self.closed, self._words, self._sums, self.signatures = closed, words, sums, signatures
        self.message = encoded(Unmask(closed.graph.session, signatures))
        self._survivors = {each.client for each in closed.headers}
        self._dropped = sorted({each.client for each in closed.commitments} - self._survivors)
        self._seeds: dict[bytes, bytes] = {}
        self._shares: dict[bytes, dict[int, bytes]] = {each.client: {} for each in closed.commitments}
        self._answered: set[bytes] = set()
        self._once = Once()

    def take(self, client: bytes, content: bytes) -> None:
        """What one client releases. Raises InconsistentCohort, ReplayedSession, DecodeError."""
        self._once.check()
        released = decoded(SharesReleased, content)
        graph = self.closed.graph
        if (released.client, released.session) != (client, graph.session) or client not in self._shares:
            raise InconsistentCohort("shares in another name, or of another session")
        if client in self._answered:
            raise ReplayedSession("this client has released its shares before")
        neighbours = {each.client for each in self.closed.commitments} & set(graph.neighbours(client))
        if not {each.client for each in released.shares} <= neighbours:
            raise InconsistentCohort("a share of somebody who is no neighbour")
        if len(released.seed) != (32 if client in self._survivors else 0):
            raise InconsistentCohort("a survivor releases its own seed, and nobody else does")
        self._answered.add(client)
        if released.seed:
            self._seeds[client] = released.seed
        place = graph.place(client)
        for each in released.shares:
            self._shares[each.client][place] = each.share

    @property
    def complete(self) -> bool:
        """Whether nobody else needs to be waited for: every seed is there, and shares of every dropped key."""
        threshold = self.closed.graph.bounds.threshold
        return self._survivors <= self._seeds.keys() and all(
            len(self._shares[client]) >= threshold for client in self._dropped
        )

    def open(self, expansion: Expansion, previous: bytes) -> OpenedSum:
        """Subtract what is left of the masks, in place. previous: hash of the last record, zeros before the first.

        Raises BelowThreshold where shares are missing, BadShare where too many are false.
        """
        self._once.check()
        suspects: set[tuple[bytes, bytes]] = set()
        masks = [*self._seed_masks(suspects), *self._pair_masks(suspects)]
        self._once.use()
        expansion.add(self._words, self._sums, masks)
        self._seeds.clear()
        self._shares.clear()
        bits = self.closed.opening.settings.bits
        if bits < 32:
            # Two's complement of fewer bits, as one of 32.
            centred = (self._words << np.uint32(32 - bits)).view(np.int32) >> (32 - bits)
            self._words[:] = centred.view(np.uint32)
        digest = long_digest(self._words.astype("<u4", copy=False).data, self._sums.astype("<u8", copy=False).data)
        record = Record(
            opening=self.closed.opening,
            cohort=self.closed.cohort,
            sharers=self.closed.sharers,
            survivors=self.closed.survivors,
            view=self.closed.view,
            context=self.closed.context,
            signatures=self.signatures,
            sum=digest,
            previous=previous,
        )
        survivors = tuple(sorted(self._survivors))
        return OpenedSum(self._words, self._sums, survivors, frozenset(suspects), record)

    def _seed_masks(self, suspects: set[tuple[bytes, bytes]]) -> Iterable[Mask]:
        """The survivors' own masks, to be taken away."""
        session = self.closed.graph.session
        for each in self.closed.commitments:
            client, committed = each.client, each.commitment.seed
            if client not in self._survivors:
                continue

            def fits(seed: bytes, client: bytes = client, committed: bytes = committed) -> bool:
                return hashed(SeedCommitment(session, client, seed)) == committed

            seed = self._seeds.get(client)
            if seed is not None and not fits(seed):
                suspects.add((client, client))
                seed = None
            yield _away(self_mask(seed or self._secret(client, fits, suspects), session, client))

    def _pair_masks(self, suspects: set[tuple[bytes, bytes]]) -> Iterable[Mask]:
        """The masks that survivors share with those who dropped out, to be taken away."""
        graph, view = self.closed.graph, self.closed.view
        advertised = {each.client: each.advertisement.masks for each in self.closed.advertisements}
        for client in self._dropped:

            def fits(key: bytes, public: bytes = advertised[client]) -> bool:
                return public_of(key) == public

            key = secret_key(self._secret(client, fits, suspects))
            for survivor in graph.neighbours(client):
                if survivor in self._survivors:
                    secret = agreed(key, advertised[survivor], survivor)
                    yield _away(pair_mask(secret, graph.session, view, survivor, client))

    def _secret(self, client: bytes, fits: Callable[[bytes], bool], suspects: set[tuple[bytes, bytes]]) -> bytes:
        """A client's secret from its neighbours' shares; of a false one, both who made and who gave it are suspects."""
        shares, graph = self._shares[client], self.closed.graph
        if len(shares) < graph.bounds.threshold:
            raise BelowThreshold(
                f"{len(shares)} shares of a secret of {client.decode(errors='replace')} came, "
                f"and {graph.bounds.threshold} are needed"
            )
        try:
            secret, places = recovered(shares, graph.bounds.threshold, fits)
        except BadShare as error:
            raise BadShare(f"a secret of {client.decode(errors='replace')}: {error}") from None
        suspects |= {(client, graph.clients[place - 1]) for place in places}
        return secret


def _away(mask: Mask) -> Mask:
    return Mask(mask.key, not mask.negative)
