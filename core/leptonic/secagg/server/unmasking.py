"""Messages 8 and 9 at the coordinator: shares open the secrets that are left in the sum, and nothing else.

Of a survivor that is its seed, of somebody who dropped out its key: the mask of each pair with a survivor is then
known. Every secret is checked against what its owner had committed to, so that false shares are found out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from leptonic.errors import BadShare, BelowThreshold, InconsistentCohort, ReplayedSession
from leptonic.secagg.encoding import decoded, encoded
from leptonic.secagg.expansion import Expansion
from leptonic.secagg.messages import Record, SharesReleased, Signed, Unmask
from leptonic.secagg.once import Once
from leptonic.secagg.server.closed import ClosedSum
from leptonic.secagg.server.remainder import centre, digest_of_sum, is_committed, remaining_masks
from leptonic.secagg.shamir import recovered

__all__ = ["OpenedSum", "Unmasking"]


@dataclass(frozen=True)
class OpenedSum:
    """The sum of the survivors' updates. words: (d,) uint32 in Z_2^32. sums: (m,) uint64.

    suspects: (who made it, who released it) of every false share or seed: one of the two has lied, unless
    more have than half of the shares beyond the threshold: then an honest pair may stand here, and nobody is to be
    punished for it. record: what became of the session, to be signed. secrets: the seed of each survivor and the key
    of each who dropped out, for an auditor.
    """

    words: NDArray[np.uint32]
    sums: NDArray[np.uint64]
    survivors: tuple[bytes, ...]
    suspects: frozenset[tuple[bytes, bytes]]
    record: Record
    secrets: Mapping[bytes, bytes] = field(repr=False)


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
        self._dropped = closed.committed.keys() - closed.survived
        self._seeds: dict[bytes, bytes] = {}
        self._shares: dict[bytes, dict[int, bytes]] = {client: {} for client in closed.committed}
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
        neighbours = self.closed.committed.keys() & set(graph.neighbours(client))
        if not {each.client for each in released.shares} <= neighbours:
            raise InconsistentCohort("a share of somebody who is no neighbour")
        if len(released.seed) != (32 if client in self.closed.survived else 0):
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
        return self.closed.survived <= self._seeds.keys() and all(
            len(self._shares[client]) >= threshold for client in self._dropped
        )

    def open(self, expansion: Expansion, previous: bytes) -> OpenedSum:
        """Subtract what is left of the masks, in place. previous: hash of the last record, zeros before the first.

        Raises BelowThreshold where shares are missing, BadShare where too many are false.
        """
        self._once.check()
        suspects: set[tuple[bytes, bytes]] = set()
        secrets = {client: self._secret(client, suspects) for client in self.closed.committed}
        masks = list(remaining_masks(self.closed, secrets))
        self._once.use()
        expansion.add(self._words, self._sums, masks)
        self._seeds.clear()
        self._shares.clear()
        centre(self._words, self.closed.opening.settings.bits)
        record = Record(
            opening=self.closed.opening,
            cohort=self.closed.cohort,
            sharers=self.closed.sharers,
            survivors=self.closed.survivors,
            view=self.closed.view,
            context=self.closed.context,
            signatures=self.signatures,
            sum=digest_of_sum(self._words, self._sums),
            previous=previous,
        )
        survivors = tuple(sorted(self.closed.survived))
        return OpenedSum(self._words, self._sums, survivors, frozenset(suspects), record, secrets)

    def _secret(self, client: bytes, suspects: set[tuple[bytes, bytes]]) -> bytes:
        """A survivor's seed as it was released, else from its neighbours' shares; the key of one who dropped out.

        Of a false share both who made and who gave it are suspects.
        """
        seed = self._seeds.get(client)
        if seed is not None:
            if is_committed(self.closed, client, seed):
                return seed
            suspects.add((client, client))
        shares, graph = self._shares[client], self.closed.graph
        if len(shares) < graph.bounds.threshold:
            raise BelowThreshold(
                f"{len(shares)} shares of a secret of {client.decode(errors='replace')} came, "
                f"and {graph.bounds.threshold} are needed"
            )
        try:
            secret, places = recovered(
                shares, graph.bounds.threshold, lambda secret: is_committed(self.closed, client, secret)
            )
        except BadShare as error:
            raise BadShare(f"a secret of {client.decode(errors='replace')}: {error}") from None
        suspects |= {(client, graph.clients[place - 1]) for place in places}
        return secret
