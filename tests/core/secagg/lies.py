"""What a lying coordinator and its colluders can say: well-formed, signed with every key that they hold.

The coordinator holds its own signing key and the colluders'; nobody else's. What it builds here is right in everything
but the lie, so that a refusal is due to the lie alone.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import fields, replace
from typing import Any, TypeVar

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from tests.core.secagg.members import COORDINATOR, key_of, name_of
from tests.core.secagg.parties import Answer, Cast, Play, Step, assert_exact

from leptonic.errors import LeptonicError, ReplayedSession
from leptonic.secagg.binding import hashed, signed
from leptonic.secagg.encoding import decoded, encoded
from leptonic.secagg.messages import (
    Advertisement,
    Boxes,
    CohortList,
    Commitment,
    Consistency,
    Introduction,
    Named,
    SealedBox,
    SeedCommitment,
    Share,
    Signed,
    SignedAdvertisement,
    SignedCommitment,
    SignedHeader,
    SurvivorList,
    SurvivorSet,
    Train,
    Unmask,
)
from leptonic.secagg.sealing import Box, sealed
from leptonic.secagg.shamir import split

LIAR, GONE = name_of(1), name_of(4)
MessageT = TypeVar("MessageT")


def bare(value: Any) -> bytes:
    """The specification's encoding without its rules: lists in any order, byte strings of any length."""
    if isinstance(value, int):
        return value.to_bytes(8, "little")
    if isinstance(value, bytes):
        return len(value).to_bytes(4, "little") + value
    if isinstance(value, tuple):
        return len(value).to_bytes(4, "little") + b"".join(map(bare, value))
    return b"".join(bare(getattr(value, field.name)) for field in fields(value))


def altered(content: bytes, at: int = -1) -> bytes:
    """The same bytes but for one bit."""
    changed = bytearray(content)
    changed[at] ^= 1
    return bytes(changed)


def sayings(play: Play, step: Step, kind: type[MessageT]) -> dict[bytes, MessageT]:
    """What every client has answered at a step."""
    return {name: decoded(kind, answer.content) for name, answer in play.answers[step].items()}


def advertised(play: Play) -> dict[bytes, SignedAdvertisement]:
    return sayings(play, Step.ADVERTISE, SignedAdvertisement)


def readvertised(
    play: Play, name: bytes, *, signer: Ed25519PrivateKey | None = None, **changes: Any
) -> SignedAdvertisement:
    """A client's advertisement, changed and signed again; by itself, unless by another."""
    advertisement: Advertisement = replace(advertised(play)[name].advertisement, **changes)
    return SignedAdvertisement(advertisement, signed(signer or key_of(name), advertisement))


def introduction(
    play: Play,
    advertisements: Mapping[bytes, SignedAdvertisement],
    *,
    listed: Collection[Named] = (),
    brought: Mapping[bytes, SignedAdvertisement] | None = None,
    signer: Ed25519PrivateKey = COORDINATOR,
    **changes: Any,
) -> bytes:
    """A cohort of these advertisements, signed. listed: others on the list. brought: shown instead of those listed."""
    members = [Named(name, hashed(each.advertisement)) for name, each in advertisements.items()]
    cohort = CohortList(hashed(play.opening), _ascending([*members, *listed]))
    cohort = replace(cohort, **changes)
    shown = _ascending((advertisements if brought is None else brought).values())
    return encoded(Introduction(cohort, signed(signer, cohort), shown))


def commitments(play: Play) -> dict[bytes, SignedCommitment]:
    return {name: share.commitment for name, share in sayings(play, Step.SHARE, Share).items()}


def recommitted(
    play: Play, name: bytes, *, signer: Ed25519PrivateKey | None = None, **changes: Any
) -> SignedCommitment:
    """A client's commitment, changed and signed again; by itself, unless by another."""
    commitment: Commitment = replace(commitments(play)[name].commitment, **changes)
    return SignedCommitment(commitment, signed(signer or key_of(name), commitment))


def work(play: Play, receiver: bytes, sharers: Mapping[bytes, SignedCommitment], **changes: Any) -> bytes:
    """A Train that names these sharers; everybody is everybody's neighbour."""
    honest = decoded(Train, play.message(Step.MASK, receiver))
    train = Train(
        session=honest.session,
        sharers=_ascending([Named(name, hashed(each.commitment)) for name, each in sharers.items()]),
        commitments=_ascending(sharers.values()),
        boxes=tuple(box for box in honest.boxes if box.client in sharers),
        record=honest.record,
        proofs=honest.proofs,
    )
    return encoded(replace(train, **changes))


def headers(play: Play) -> dict[bytes, SignedHeader]:
    return sayings(play, Step.MASK, SignedHeader)


def reheaded(play: Play, name: bytes, *, signer: Ed25519PrivateKey | None = None, **changes: Any) -> SignedHeader:
    """A client's header, changed and signed again; by itself, unless by another."""
    header = replace(headers(play)[name].header, **changes)
    return SignedHeader(header, signed(signer or key_of(name), header))


def survivors(
    play: Play,
    named: Mapping[bytes, SignedHeader],
    *,
    listed: Collection[Named] = (),
    brought: Mapping[bytes, SignedHeader] | None = None,
    **changes: Any,
) -> bytes:
    """A set of survivors; everybody is everybody's neighbour. listed, brought: as of an introduction."""
    members = [Named(name, hashed(each.header)) for name, each in named.items()]
    survived = replace(SurvivorList(play.session, _ascending([*members, *listed])), **changes)
    return encoded(Consistency(survived, _ascending((named if brought is None else brought).values())))


def agreement(consistency: bytes, view: bytes) -> SurvivorSet:
    """What a client that takes this message signs."""
    survived = decoded(Consistency, consistency).survivors
    return SurvivorSet(survived.session, view, hashed(survived))


def quorum(statement: SurvivorSet, signatures: Mapping[bytes, bytes]) -> bytes:
    """An Unmask with these signatures."""
    return encoded(Unmask(statement.session, _ascending([Signed(name, each) for name, each in signatures.items()])))


def dealt(play: Play, name: bytes, alter: Callable[[bytes, tuple[bytes, bytes]], tuple[bytes, bytes]]) -> Answer:
    """What a colluder shares, whose shares for each receiver (of its key, of its seed) are altered."""
    opened, graph, seed = play.sessions[name].state, play.sharing.graph, bytes(range(32))
    others = graph.neighbours(name)
    places = [graph.place(other) for other in others]
    both = zip(*(split(secret, places, graph.bounds.threshold) for secret in (bytes(opened._masks), seed)), strict=True)
    own, boxes = X25519PrivateKey.from_private_bytes(bytes(opened._channel)), []
    for other, place, shares in zip(others, places, both, strict=True):
        secret = own.exchange(X25519PublicKey.from_public_bytes(advertised(play)[other].advertisement.channel))
        boxes.append(SealedBox(other, sealed(secret, Box(graph.session, name, other, place), alter(other, shares))))
    commitment = Commitment(
        session=graph.session,
        client=name,
        seed=hashed(SeedCommitment(graph.session, name, seed)),
        boxes=hashed(Boxes(graph.session, tuple(boxes))),
    )
    share = Share(SignedCommitment(commitment, signed(key_of(name), commitment)), tuple(boxes))
    return Answer(encoded(share))


def assert_refused(play: Play, step: Step, name: bytes, lie: bytes, error: type[LeptonicError]) -> str:
    """A real client refuses a lie by this very error, and says nothing more in the session. Returns its words."""
    client, honest = play.cast.clients[name], play.message(step, name)
    notes, state = list(client.journal.notes), play.sessions[name].state
    assert lie != honest
    with pytest.raises(LeptonicError) as refusal:
        play.ask(step, name, lie)
    assert refusal.type is error, f"{refusal.type.__name__}: {refusal.value}"
    with pytest.raises(ReplayedSession):
        play.ask(step, name, honest)
    for later in Step:
        if later > step:
            with pytest.raises(ReplayedSession):
                play.ask(later, name, b"")
    assert play.sessions[name].state in (None, state)
    assert client.journal.notes == notes
    assert not any(name in play.answers[later] for later in Step if later >= step)
    return str(refusal.value)


def assert_not_taken(step: Step, lie: Callable[[Play], Answer], error: type[LeptonicError]) -> None:
    """The coordinator refuses a lie of ``LIAR`` by this very error; with its honest answer the sum is exact."""
    cast = Cast(5)
    play = cast.play().until(step, {GONE: Step.MASK})
    for name in play.present:
        play.ask(step, name)
    told = lie(play)
    with pytest.raises(LeptonicError) as refusal:
        play.take(step, LIAR, told)
    assert refusal.type is error, f"{refusal.type.__name__}: {refusal.value}"
    play.present = [name for name in play.present if (name, step) != (GONE, Step.MASK)]
    for name in play.present:
        play.take(step, name, play.answers[step][name])
    with pytest.raises(ReplayedSession):
        play.take(step, LIAR, play.answers[step][LIAR])
    play.close(step)
    for later in Step:
        if later > step:
            play.step(later, [GONE] if later is Step.MASK else [])
    assert_exact(cast, play.result, set(cast.names) - {GONE})
    assert play.result.suspects == frozenset()


def _ascending(elements: Collection[Any]) -> tuple[Any, ...]:
    return tuple(sorted(elements, key=lambda element: element.client))
