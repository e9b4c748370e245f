"""Messages 5 and 6 at the coordinator: masked inputs are added as they come, whole or not at all, and none is kept."""

from collections.abc import Mapping

import numpy as np

from leptonic.errors import BelowThreshold, DecodeError, InconsistentCohort, ReplayedSession
from leptonic.integers import add
from leptonic.secagg.binding import hashed
from leptonic.secagg.encoding import decoded, encoded
from leptonic.secagg.graph import Graph
from leptonic.secagg.messages import (
    CohortList,
    Context,
    Named,
    Open,
    SealedBox,
    SignedAdvertisement,
    SignedCommitment,
    SignedHeader,
    Train,
    View,
)
from leptonic.secagg.once import Once
from leptonic.secagg.packing import packed_length, unpacked
from leptonic.secagg.server.agreeing import Agreeing
from leptonic.secagg.server.closed import ClosedSum
from leptonic.secagg.server.office import Office

__all__ = ["Summing"]


class Summing:
    """Adds masked inputs. One vector in memory, whatever the cohort."""

    def __init__(
        self,
        *,
        office: Office,
        opening: Open,
        cohort: CohortList,
        graph: Graph,
        advertised: Mapping[bytes, SignedAdvertisement],
        committed: Mapping[bytes, SignedCommitment],
        sharers: tuple[Named, ...],
        boxes: Mapping[bytes, list[SealedBox]],
        payload: bytes,
        record: bytes,
    ) -> None:
        self._office, self.opening, self.cohort, self.graph = office, opening, cohort, graph
        self._advertised, self._committed, self._sharers, self._boxes = advertised, committed, sharers, boxes
        self.context = Context(hashed(opening), payload, record)
        self.view = hashed(View(graph.session, sharers, hashed(self.context)))
        self._once = Once()
        self._headers: dict[bytes, SignedHeader] = {}
        self._words = np.zeros(opening.settings.words, dtype=np.uint32)
        self._sums = np.zeros(opening.settings.sums, dtype=np.uint64)

    @property
    def clients(self) -> tuple[bytes, ...]:
        """Those who have shared their secrets (U2), who are asked to work."""
        return tuple(each.client for each in self._sharers)

    @property
    def length(self) -> int:
        """Bytes of a masked input."""
        settings = self.opening.settings
        return packed_length(settings.words, settings.bits) + 8 * settings.sums

    def message(self, client: bytes, proofs: bytes = b"") -> bytes:
        """What this client is sent beside the work. proofs: see :class:`Train`."""
        known = {client, *self.graph.neighbours(client)} & self._committed.keys()
        return encoded(
            Train(
                session=self.graph.session,
                sharers=self._sharers,
                commitments=tuple(self._committed[each] for each in sorted(known)),
                boxes=tuple(
                    sorted(
                        (box for box in self._boxes[client] if box.client in self._committed),
                        key=lambda box: box.client,
                    )
                ),
                record=self.context.record,
                proofs=proofs,
            )
        )

    def take(self, client: bytes, content: bytes, masked: bytes | memoryview) -> None:
        """Add one client's masked input. content: its header.

        Raises BadSignature, InconsistentCohort, ReplayedSession, DecodeError; then nothing was added.
        """
        self._once.check()
        signed_one = decoded(SignedHeader, content)
        header = signed_one.header
        if client not in self._committed or (header.client, header.session) != (client, self.graph.session):
            raise InconsistentCohort("a masked input of somebody else, or for another session")
        if client in self._headers:
            raise ReplayedSession("this client's masked input was added before")
        self._office.check_signature(client, signed_one.signature, header)
        if header.view != self.view:
            raise InconsistentCohort("the masked input was made for other sharers or other work")
        if header.length != self.length or len(masked) != self.length:
            raise DecodeError(f"a masked input of {len(masked)} bytes, expected {self.length}")
        settings, view = self.opening.settings, memoryview(masked)
        at = self.length - 8 * settings.sums
        if self._office.digest(view[:at], view[at:]) != header.digest:
            raise DecodeError("the masked input is not the one that its header commits to")
        words = unpacked(view[:at], settings.words, settings.bits)
        add(self._words, words.astype(np.uint32, copy=False))
        add(self._sums, np.frombuffer(view[at:], dtype="<u8").astype(np.uint64, copy=False))
        self._headers[client] = signed_one

    def close(self) -> Agreeing:
        """Fix who is in the sum. Raises BelowThreshold if it is too few."""
        bounds, survivors = self.graph.bounds, self._headers.keys()
        thinnest = self.graph.thinnest_window(survivors)
        if len(survivors) < bounds.survivors or thinnest < bounds.window:
            raise BelowThreshold(
                f"{len(survivors)} masked inputs came, and {bounds.survivors} are needed"
                + (f"; {thinnest} in half a neighbourhood, of {bounds.window}" if bounds.window else "")
            )
        self._once.use()
        closed = ClosedSum(
            opening=self.opening,
            cohort=self.cohort,
            advertisements=tuple(self._advertised.values()),
            commitments=tuple(self._committed.values()),
            headers=tuple(self._headers[client] for client in sorted(survivors)),
            context=self.context,
        )
        return Agreeing(closed, self._words, self._sums, office=self._office)
