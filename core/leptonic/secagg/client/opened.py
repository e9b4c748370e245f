"""Messages 1 to 4 at a client: it checks what is asked, advertises keys, checks the cohort, and shares its secrets."""

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from leptonic.errors import BelowThreshold, InconsistentCohort
from leptonic.secagg.binding import hashed, signed
from leptonic.secagg.client.shared import Shared
from leptonic.secagg.encoding import decoded, encoded
from leptonic.secagg.graph import Graph, graph_of
from leptonic.secagg.messages import (
    Advertisement,
    Boxes,
    CohortList,
    Commitment,
    Introduction,
    Open,
    SealedBox,
    SeedCommitment,
    SignedAdvertisement,
    SignedCommitment,
)
from leptonic.secagg.once import Once
from leptonic.secagg.sealing import Box, check_public, public_of, sealed
from leptonic.secagg.shamir import split
from leptonic.secagg.standing import Standing

__all__ = ["Opened", "open_session"]


def open_session(standing: Standing, content: bytes) -> "Opened":
    """Take part in the session that the coordinator opens. content: an :class:`Open`.

    Raises what is wrong with it: PolicyRefused, InconsistentCohort, ReplayedSession, DecodeError.
    """
    opening = decoded(Open, content)
    standing.accept(opening)
    channel, masks = bytearray(os.urandom(32)), bytearray(os.urandom(32))
    advertisement = Advertisement(
        opening=hashed(opening),
        client=standing.client,
        channel=public_of(channel),
        masks=public_of(masks),
        nonce=os.urandom(32),
    )
    own = SignedAdvertisement(advertisement, signed(standing.key, advertisement))
    return Opened(standing, opening, own, channel, masks)


@dataclass(frozen=True)
class Opened:
    """A client that has advertised its keys. reply: its advertisement."""

    standing: Standing
    opening: Open
    own: SignedAdvertisement
    _channel: bytearray = field(repr=False)
    _masks: bytearray = field(repr=False)
    _once: Once = field(default_factory=Once, repr=False)

    @property
    def reply(self) -> bytes:
        """What the coordinator is sent."""
        return encoded(self.own)

    def introduced(self, content: bytes) -> Shared:
        """Check the cohort, and share this client's secrets with its neighbours. content: an :class:`Introduction`.

        Raises BadSignature, InconsistentCohort, BelowThreshold, PolicyRefused, DecodeError.
        """
        self._once.use()
        introduction = decoded(Introduction, content)
        cohort = introduction.cohort
        self.standing.check_coordinator(introduction.signature, cohort)
        graph = self._graph(cohort)
        advertised = self._advertised(introduction, graph)
        neighbours = graph.neighbours(self.standing.client)
        # Agreed before anything is noted: a key of small order ends the session here.
        own, agree = self.own.advertisement, self.standing.agree
        channels = agree(self._channel, own.channel, {other: advertised[other].channel for other in neighbours})
        pairs = agree(self._masks, own.masks, {other: advertised[other].masks for other in neighbours})
        self.standing.journal.enter(
            graph.session, graph.bounds.abort_quorum, run=self.opening.run, number=self.opening.round
        )
        seed = bytearray(secrets.token_bytes(32))
        boxes = self._boxes(graph, neighbours, channels, seed)
        commitment = Commitment(
            session=graph.session,
            client=self.standing.client,
            seed=hashed(SeedCommitment(graph.session, self.standing.client, bytes(seed))),
            boxes=hashed(Boxes(graph.session, boxes)),
        )
        for secret in (self._channel, self._masks):
            secret[:] = bytes(32)
        return Shared(
            standing=self.standing,
            opening=self.opening,
            cohort=cohort,
            graph=graph,
            own=SignedCommitment(commitment, signed(self.standing.key, commitment)),
            boxes=boxes,
            _channels={other: bytearray(secret) for other, secret in channels.items()},
            _pairs={other: bytearray(secret) for other, secret in pairs.items()},
            _seed=seed,
        )

    def _graph(self, cohort: CohortList) -> Graph:
        """Who shares with whom, once the cohort is found fit."""
        clients = tuple(member.client for member in cohort.members)
        if cohort.opening != self.own.advertisement.opening:
            raise InconsistentCohort("the cohort is that of another session")
        if unknown := [client for client in clients if client not in self.standing.roster.keys]:
            raise InconsistentCohort(f"{unknown[0].decode(errors='replace')} is in the cohort and not on the roster")
        mine = {member.client: member.digest for member in cohort.members}.get(self.standing.client)
        if mine != hashed(self.own.advertisement):
            raise InconsistentCohort("the cohort does not hold this client's own keys as it sent them")
        graph = graph_of(self.opening, cohort)
        self.standing.policy.check_bounds(graph.bounds, self.opening.settings)
        if absent := self.standing.policy.peers.difference(clients):
            raise BelowThreshold(f"{len(absent)} of the peers that this node's file asks for are not in the cohort")
        return graph

    def _advertised(self, introduction: Introduction, graph: Graph) -> Mapping[bytes, Advertisement]:
        """The neighbours' advertisements and this client's own, checked."""
        named = {member.client: member.digest for member in introduction.cohort.members}
        brought = {each.client: each for each in introduction.advertisements}
        if brought.keys() != {self.standing.client, *graph.neighbours(self.standing.client)}:
            raise InconsistentCohort("the advertisements are not those of this client's neighbours and its own")
        for client, each in brought.items():
            advertisement = each.advertisement
            fits = self.standing.check_named(client, named[client], each.signature, advertisement)
            if not fits or advertisement.opening != introduction.cohort.opening:
                raise InconsistentCohort(f"the keys of {client.decode(errors='replace')} are not those of the cohort")
            check_public(advertisement.channel, client)
            check_public(advertisement.masks, client)
        keys = [key for each in brought.values() for key in (each.advertisement.channel, each.advertisement.masks)]
        if len(set(keys)) < len(keys):
            raise InconsistentCohort("two keys of the cohort are the same")
        return {client: each.advertisement for client, each in brought.items()}

    def _boxes(
        self, graph: Graph, neighbours: tuple[bytes, ...], channels: Mapping[bytes, bytes], seed: bytearray
    ) -> tuple[SealedBox, ...]:
        """A share of both secrets for each neighbour, sealed."""
        places = [graph.place(other) for other in neighbours]
        threshold = graph.bounds.threshold
        both = zip(split(bytes(self._masks), places, threshold), split(bytes(seed), places, threshold), strict=True)
        boxes = []
        for other, place, shares in zip(neighbours, places, both, strict=True):
            box = Box(graph.session, self.standing.client, other, place)
            boxes.append(SealedBox(other, sealed(channels[other], box, shares)))
        return tuple(boxes)
