"""Message 7 at the coordinator: a quorum signs one set of survivors, before anything is opened.

What is needed to go on from here is one :class:`ClosedSum` and the masked sum: a coordinator that keeps both can crash
at any later moment and open the same sum, and no other.
"""

import numpy as np
from numpy.typing import NDArray

from leptonic.errors import BelowThreshold, InconsistentCohort, ReplayedSession
from leptonic.secagg.encoding import decoded, encoded
from leptonic.secagg.messages import Consistency, Signed
from leptonic.secagg.once import Once
from leptonic.secagg.server.closed import ClosedSum
from leptonic.secagg.server.office import Office
from leptonic.secagg.server.unmasking import Unmasking

__all__ = ["Agreeing"]


class Agreeing:
    """Gathers signatures of the survivors' set. words, sums: the masked sum."""

    def __init__(
        self, closed: ClosedSum, words: NDArray[np.uint32], sums: NDArray[np.uint64], *, office: Office
    ) -> None:
        self.closed, self.words, self.sums, self._office = closed, words, sums, office
        self._headers = {each.client: each for each in closed.headers}
        self._once = Once()
        self._signatures: dict[bytes, Signed] = {}

    @property
    def survivors(self) -> tuple[bytes, ...]:
        """Those whose masked inputs are in the sum (U3)."""
        return tuple(self._headers)

    def message(self, client: bytes) -> bytes:
        """What this client, survivor or not, is sent."""
        known = {client, *self.closed.graph.neighbours(client)} & self._headers.keys()
        return encoded(Consistency(self.closed.survivors, tuple(self._headers[each] for each in sorted(known))))

    def take(self, client: bytes, content: bytes) -> None:
        """One client's signature. Raises BadSignature, InconsistentCohort, ReplayedSession, DecodeError."""
        self._once.check()
        agreed = decoded(Signed, content)
        if agreed.client != client or client not in self.closed.graph.clients:
            raise InconsistentCohort("a signature in another name, or of somebody who is not of the cohort")
        if client in self._signatures:
            raise ReplayedSession("this client has signed before")
        self._office.check_signature(client, agreed.signature, self.closed.agreement)
        self._signatures[client] = agreed

    @property
    def complete(self) -> bool:
        """Whether a quorum has signed."""
        return len(self._signatures) >= self.closed.graph.bounds.quorum

    def close(self) -> Unmasking:
        """Go on with the quorum's signatures. Raises BelowThreshold if there are too few."""
        if not self.complete:
            quorum = self.closed.graph.bounds.quorum
            raise BelowThreshold(f"{len(self._signatures)} have signed the survivors, and {quorum} are needed")
        self._once.use()
        signatures = tuple(self._signatures[client] for client in sorted(self._signatures))
        return Unmasking(self.closed, self.words, self.sums, signatures)
