"""Message 5 at a client: who has shared, the boxes for it, and what everybody is to work on."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from leptonic.errors import BadShare, BelowThreshold, InconsistentCohort, ReplayedSession
from leptonic.secagg.binding import bound, hashed
from leptonic.secagg.client.ready import Ready
from leptonic.secagg.encoding import decoded, encoded
from leptonic.secagg.graph import Graph
from leptonic.secagg.messages import (
    Abort,
    CohortList,
    Context,
    Open,
    Proofs,
    Query,
    SealedBox,
    Share,
    SignedCommitment,
    Train,
    View,
)
from leptonic.secagg.once import Once
from leptonic.secagg.sealing import Box, opened
from leptonic.secagg.shamir import PRIME
from leptonic.secagg.standing import Standing

__all__ = ["Shared"]


@dataclass(frozen=True)
class Shared:
    """A client that has shared its secrets. reply: its commitment and its boxes."""

    standing: Standing
    opening: Open
    cohort: CohortList
    graph: Graph
    own: SignedCommitment
    boxes: tuple[SealedBox, ...]
    _channels: Mapping[bytes, bytearray] = field(repr=False)
    _pairs: Mapping[bytes, bytearray] = field(repr=False)
    _seed: bytearray = field(repr=False)
    _once: Once = field(default_factory=Once, repr=False)

    @property
    def reply(self) -> bytes:
        """What the coordinator is sent."""
        return encoded(Share(self.own, self.boxes))

    def train(self, content: bytes, *, model: bytes, payload: bytes) -> Ready:
        """Check who takes part and what for; then the work may begin.

        content: a :class:`Train`. model: long digest of the parameters that are worked on, in their one encoding.
        payload: that of all that everybody is sent, the parameters among it. Raises BadSignature, BadShare,
        BelowThreshold, InconsistentCohort, ReplayedSession, DecodeError.
        """
        self._once.use()
        train = decoded(Train, content)
        if train.session != self.graph.session:
            raise InconsistentCohort("the work is that of another session")
        sharers = self._sharers(train)
        query = hashed(Query(self.opening.run, self.opening.phase, model))
        before = self._repeated(query, train.proofs)
        shares = self._shares(train, sharers)
        context = Context(hashed(self.opening), payload, train.record)
        return Ready(
            standing=self.standing,
            opening=self.opening,
            graph=self.graph,
            sharers=frozenset(named.client for named in train.sharers),
            view=hashed(View(self.graph.session, train.sharers, hashed(context))),
            query=query,
            before=before,
            shares=shares,
            _pairs=self._pairs,
            _seed=self._seed,
        )

    def _sharers(self, train: Train) -> tuple[bytes, ...]:
        """The neighbours of this client among those who shared, once these are found fit."""
        me, bounds = self.standing.client, self.graph.bounds
        named = {each.client: each.digest for each in train.sharers}
        if not named.keys() <= set(self.graph.clients) or named.get(me) != hashed(self.own.commitment):
            raise InconsistentCohort("those who shared are not of the cohort, or not this client as it did")
        if len(named) < bounds.survivors:
            raise BelowThreshold(f"{len(named)} have shared, and {bounds.survivors} are needed")
        self.standing.policy.check_survivors(named)
        neighbours = tuple(other for other in self.graph.neighbours(me) if other in named)
        if not bounds.complete and len(neighbours) < bounds.threshold:
            raise BelowThreshold(f"{len(neighbours)} neighbours have shared, and {bounds.threshold} are needed")
        brought = {each.client: each for each in train.commitments}
        if brought.keys() != {me, *neighbours}:
            raise InconsistentCohort("the commitments are not those of this client's neighbours and its own")
        for client, each in brought.items():
            fits = self.standing.check_named(client, named[client], each.signature, each.commitment)
            if not fits or each.commitment.session != self.graph.session:
                raise InconsistentCohort(f"{client.decode(errors='replace')} has committed to something else")
        return neighbours

    def _repeated(self, query: bytes, proofs: bytes) -> bytes | None:
        """The session in which the same was answered before, if it is proven never to be opened.

        Else a coordinator could open a sum, claim a crash, and ask for the same again without one client.
        """
        before = self.standing.journal.answered(query)
        if before is None:
            return None
        session, quorum = before
        certificates = decoded(Proofs, proofs).certificates if proofs else ()
        proof = {each.client: each for each in certificates}.get(session)
        if proof is None:
            raise ReplayedSession("the same was answered in another session, and nobody proves that it was given up")
        if not {each.client for each in proof.signatures} <= {member.client for member in proof.cohort.members}:
            raise ReplayedSession("a session is given up by somebody who is not of its cohort")
        if len(proof.signatures) < quorum:
            raise ReplayedSession(f"{len(proof.signatures)} have given the session up, and {quorum} are needed")
        statement = bound(Abort(session))
        for each in proof.signatures:
            self.standing.check_statement(each.client, each.signature, statement)
        return session

    def _shares(self, train: Train, neighbours: tuple[bytes, ...]) -> dict[bytes, tuple[bytes, bytes]]:
        """The shares of both secrets that open; the others count as missing, of which few are tolerated."""
        boxes = {box.client: box.content for box in train.boxes}
        if not boxes.keys() <= set(neighbours):
            raise InconsistentCohort("a box from somebody who is no neighbour, or has not shared")
        me, session, shares = self.standing.client, self.graph.session, dict[bytes, tuple[bytes, bytes]]()
        for other in neighbours:
            try:
                box = Box(session, other, me, self.graph.place(me))
                both = opened(bytes(self._channels[other]), box, boxes.get(other, b""))
            except BadShare:
                continue
            if all(int.from_bytes(share, "little") < PRIME for share in both):
                shares[other] = both
        for secret in self._channels.values():
            secret[:] = bytes(32)
        missing = len(neighbours) - len(shares)
        if missing > self.opening.settings.colluders:
            raise BadShare(
                f"{missing} boxes of {len(neighbours)} do not open, and {self.opening.settings.colluders} may not"
            )
        return shares
