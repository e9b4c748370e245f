"""Messages 7 and 8 at a client: it signs one set of survivors, and opens masks for nobody else."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from leptonic.errors import BelowThreshold, InconsistentCohort
from leptonic.secagg.binding import bound, hashed, signed
from leptonic.secagg.encoding import decoded, encoded
from leptonic.secagg.graph import Graph
from leptonic.secagg.messages import (
    Consistency,
    Released,
    SharesReleased,
    Signed,
    SignedHeader,
    SurvivorSet,
    Unmask,
)
from leptonic.secagg.once import Once
from leptonic.secagg.standing import Standing

__all__ = ["Agreed", "Masked", "Unmasked"]


@dataclass(frozen=True)
class Masked:
    """A client whose masked input has left. reply: its header. parts: the bytes that travel beside it."""

    standing: Standing
    graph: Graph
    sharers: frozenset[bytes]
    own: SignedHeader
    parts: tuple[memoryview, memoryview]
    shares: Mapping[bytes, tuple[bytes, bytes]] = field(repr=False)
    _seed: bytearray = field(repr=False)
    _once: Once = field(default_factory=Once, repr=False)

    @property
    def reply(self) -> bytes:
        """What the coordinator is sent; the masked input beside it."""
        return encoded(self.own)

    def agree(self, content: bytes) -> "Agreed":
        """Sign the survivors, once in a session. content: a :class:`Consistency`.

        Raises BadSignature, BelowThreshold, InconsistentCohort, PolicyRefused, ReplayedSession, DecodeError.
        """
        self._once.use()
        consistency = decoded(Consistency, content)
        survivors, header = consistency.survivors, self.own.header
        if survivors.session != header.session:
            raise InconsistentCohort("the survivors are those of another session")
        self._check_survivors(frozenset(each.client for each in survivors.survivors))
        self._check_headers(consistency)
        agreement = SurvivorSet(header.session, header.view, hashed(survivors))
        self.standing.journal.agree(header.session, agreement.survivors)
        return Agreed(
            standing=self.standing,
            graph=self.graph,
            sharers=self.sharers,
            survivors=frozenset(each.client for each in survivors.survivors),
            agreement=agreement,
            reply=encoded(Signed(self.standing.client, signed(self.standing.key, agreement))),
            shares=self.shares,
            _seed=self._seed,
        )

    def _check_survivors(self, survivors: frozenset[bytes]) -> None:
        bounds = self.graph.bounds
        if not survivors <= self.sharers:
            raise InconsistentCohort("a survivor that never shared its secrets")
        if len(survivors) < bounds.survivors:
            raise BelowThreshold(f"{len(survivors)} have survived, and {bounds.survivors} are needed")
        if (thinnest := self.graph.thinnest_window(survivors)) < bounds.window:
            raise BelowThreshold(
                f"half a neighbourhood of the ring holds {thinnest} survivors, and {bounds.window} are needed"
            )
        self.standing.policy.check_survivors(survivors)

    def _check_headers(self, consistency: Consistency) -> None:
        """The neighbours' headers, and this client's own unless it was left out, are those that were named."""
        me, header = self.standing.client, self.own.header
        named = {each.client: each.digest for each in consistency.survivors.survivors}
        if me in named and named[me] != hashed(header):
            raise InconsistentCohort("this client's own masked input is not counted as it was sent")
        brought = {each.client: each for each in consistency.headers}
        if brought.keys() != named.keys() & {me, *self.graph.neighbours(me)}:
            raise InconsistentCohort("the headers are not those of this client's surviving neighbours and its own")
        for client, each in brought.items():
            if not self.standing.check_named(client, named[client], each.signature, each.header):
                raise InconsistentCohort(f"the header of {client.decode(errors='replace')} is not the one that counts")
            if (each.header.session, each.header.view) != (header.session, header.view):
                raise InconsistentCohort(f"{client.decode(errors='replace')} was told of other sharers or other work")


@dataclass(frozen=True)
class Agreed:
    """A client that has signed a set of survivors. reply: its signature. survivors: U3."""

    standing: Standing
    graph: Graph
    sharers: frozenset[bytes]
    survivors: frozenset[bytes]
    agreement: SurvivorSet
    reply: bytes
    shares: Mapping[bytes, tuple[bytes, bytes]] = field(repr=False)
    _seed: bytearray = field(repr=False)
    _once: Once = field(default_factory=Once, repr=False)

    @property
    def counted(self) -> bool:
        """Whether this client's own input is in the sum."""
        return self.standing.client in self.survivors

    def unmask(self, content: bytes) -> "Unmasked":
        """Release one share of each neighbour's secrets, and its own seed. content: an :class:`Unmask`.

        Raises BadSignature, BelowThreshold, InconsistentCohort, DecodeError.
        """
        self._once.use()
        unmask = decoded(Unmask, content)
        if unmask.session != self.agreement.session:
            raise InconsistentCohort("the signatures are those of another session")
        if not {each.client for each in unmask.signatures} <= set(self.graph.clients):
            raise InconsistentCohort("a signature of somebody who is not of the cohort")
        if len(unmask.signatures) < self.graph.bounds.quorum:
            raise BelowThreshold(f"{len(unmask.signatures)} have agreed, and {self.graph.bounds.quorum} are needed")
        statement = bound(self.agreement)
        for each in unmask.signatures:
            self.standing.check_statement(each.client, each.signature, statement)
        released = SharesReleased(
            session=unmask.session,
            client=self.standing.client,
            # One kind for each neighbour: nobody can be named in both.
            shares=tuple(Released(other, self.shares[other][other in self.survivors]) for other in sorted(self.shares)),
            seed=bytes(self._seed) if self.counted else b"",
        )
        self._seed[:] = bytes(32)
        return Unmasked(self.agreement, released)


@dataclass(frozen=True)
class Unmasked:
    """A client that has done its part."""

    agreement: SurvivorSet
    _released: SharesReleased = field(repr=False)

    @property
    def reply(self) -> bytes:
        """What the coordinator is sent."""
        return encoded(self._released)
