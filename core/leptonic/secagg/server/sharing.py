"""Messages 3 to 5 at the coordinator: it shows everybody the cohort, and passes on boxes that it cannot open."""

from collections.abc import Mapping, Set

from leptonic.errors import BelowThreshold, InconsistentCohort, ReplayedSession
from leptonic.secagg.binding import hashed
from leptonic.secagg.encoding import decoded, encoded
from leptonic.secagg.graph import Graph
from leptonic.secagg.messages import (
    Boxes,
    CohortList,
    Introduction,
    Named,
    Open,
    SealedBox,
    Share,
    SignedAdvertisement,
    SignedCommitment,
)
from leptonic.secagg.once import Once
from leptonic.secagg.server.office import Office
from leptonic.secagg.server.summing import Summing

__all__ = ["Sharing"]


class Sharing:
    """Gathers commitments and boxes."""

    def __init__(
        self,
        *,
        office: Office,
        opening: Open,
        cohort: CohortList,
        signature: bytes,
        advertised: Mapping[bytes, SignedAdvertisement],
        graph: Graph,
    ) -> None:
        self._office, self.opening, self.cohort, self._signature = office, opening, cohort, signature
        self._advertised, self.graph = advertised, graph
        self._committed: dict[bytes, SignedCommitment] = {}
        self._once = Once()
        self._boxes: dict[bytes, list[SealedBox]] = {client: [] for client in graph.clients}

    def message(self, client: bytes) -> bytes:
        """What this client of the cohort is sent."""
        known = sorted((client, *self.graph.neighbours(client)))
        return encoded(Introduction(self.cohort, self._signature, tuple(self._advertised[each] for each in known)))

    def take(self, client: bytes, content: bytes) -> None:
        """One client's boxes. Raises BadSignature, InconsistentCohort, ReplayedSession, DecodeError."""
        self._once.check()
        share = decoded(Share, content)
        commitment = share.commitment.commitment
        if client not in self._advertised or (commitment.client, commitment.session) != (client, self.graph.session):
            raise InconsistentCohort("boxes of somebody else, or for another session")
        if client in self._committed:
            raise ReplayedSession("this client has shared its secrets before")
        self._office.check_signature(client, share.commitment.signature, commitment)
        if commitment.boxes != hashed(Boxes(self.graph.session, share.boxes)):
            raise InconsistentCohort("the boxes are not those that were committed to")
        if tuple(box.client for box in share.boxes) != self.graph.neighbours(client):
            raise InconsistentCohort("the boxes are not one for each neighbour")
        self._committed[client] = share.commitment
        for box in share.boxes:
            self._boxes[box.client].append(SealedBox(client, box.content))

    @property
    def clients(self) -> Set[bytes]:
        """Those who have shared their secrets."""
        return self._committed.keys()

    def close(self, payload: bytes, record: bytes) -> Summing:
        """Fix who has shared. payload: long digest of what is worked on. record: hash of the last round's record.

        Raises BelowThreshold if too few have shared.
        """
        if len(self._committed) < self.graph.bounds.survivors:
            raise BelowThreshold(
                f"{len(self._committed)} have shared their secrets, and {self.graph.bounds.survivors} are needed"
            )
        self._once.use()
        committed = {client: self._committed[client] for client in sorted(self._committed)}
        return Summing(
            office=self._office,
            opening=self.opening,
            cohort=self.cohort,
            graph=self.graph,
            advertised=self._advertised,
            committed=committed,
            sharers=tuple(Named(client, hashed(each.commitment)) for client, each in committed.items()),
            boxes=self._boxes,
            payload=payload,
            record=record,
        )
