"""Rosters: taken from the pinned authority only, in time, and never an older one."""

from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from leptonic.errors import BadSignature, DecodeError, InconsistentCohort, LeptonicError, ReplayedSession
from leptonic.secagg.binding import hashed, signed
from leptonic.secagg.encoding import decoded, encoded
from leptonic.secagg.roster import Roster, RosterContent, RosterEntry, SignedRoster


def key(number: int) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)


def public(number: int) -> bytes:
    return key(number).public_key().public_bytes_raw()


AUTHORITY, OTHER, COORDINATOR = 100, 101, 102
CLIENTS = {b"alice": public(1), b"bob": public(2), b"carol": public(3)}
CONTENT = RosterContent(
    federation=b"hospitals",
    version=4,
    expires=2_000,
    coordinator=public(COORDINATOR),
    entries=tuple(RosterEntry(client, own) for client, own in CLIENTS.items()),
)
BOB = {"authority": public(AUTHORITY), "federation": b"hospitals", "client": b"bob", "key": public(2)}


def read(encoding: bytes, **changes: Any) -> Roster:
    return Roster.read(encoding, **{**BOB, "now": 1_000, "seen": 0, **changes})


def forged(content: RosterContent, signer: int = AUTHORITY, claimed: int = AUTHORITY) -> bytes:
    """A roster made by hand: nothing is checked."""
    return encoded(SignedRoster(content, public(claimed), signed(key(signer), content)))


def with_entries(*entries: tuple[bytes, bytes], **changes: Any) -> RosterContent:
    return replace(CONTENT, entries=tuple(RosterEntry(*entry) for entry in entries), **changes)


def refused(error: type[LeptonicError], why: str, encoding: bytes, **changes: Any) -> None:
    with pytest.raises(error, match=why):
        read(encoding, **changes)


def test_a_signed_roster_is_read() -> None:
    made = Roster.sign(CONTENT, key(AUTHORITY))
    roster = read(made.encoding)
    assert roster == made
    assert roster.content == CONTENT
    assert roster.keys == CLIENTS
    assert roster.hash == made.hash == hashed(CONTENT)
    assert roster.encoding == made.encoding == forged(CONTENT)
    assert decoded(SignedRoster, made.encoding) == made.signed


@pytest.mark.parametrize("client", list(CLIENTS))
def test_every_client_can_read_it(client: bytes) -> None:
    read(forged(CONTENT), client=client, key=CLIENTS[client])


def test_another_authority_is_refused() -> None:
    refused(BadSignature, "another authority", forged(CONTENT, signer=OTHER, claimed=OTHER))
    refused(BadSignature, "another authority", forged(CONTENT), authority=public(OTHER))
    refused(BadSignature, "another authority", forged(CONTENT, claimed=COORDINATOR, signer=COORDINATOR))


def test_another_signer_behind_the_authoritys_name_is_refused() -> None:
    for signer in (OTHER, COORDINATOR, 2):
        refused(BadSignature, "'roster' signature in the name of the authority", forged(CONTENT, signer=signer))


@pytest.mark.parametrize(
    "changed",
    [
        replace(CONTENT, federation=b"hospitalt"),
        replace(CONTENT, version=5),
        replace(CONTENT, expires=3_000),
        replace(CONTENT, coordinator=public(OTHER)),
        with_entries((b"alice", public(9)), (b"bob", public(2)), (b"carol", public(3))),
        with_entries((b"alice", public(1)), (b"bob", public(2)), (b"dave", public(3))),
        with_entries((b"alice", public(1)), (b"bob", public(2))),
    ],
)
def test_a_roster_changed_after_it_was_signed_is_refused(changed: RosterContent) -> None:
    made = decoded(SignedRoster, forged(CONTENT))
    refused(BadSignature, "the authority", encoded(replace(made, content=changed)), federation=changed.federation)


def test_a_tampered_signature_is_refused() -> None:
    content = bytearray(forged(CONTENT))
    content[-1] ^= 1
    refused(BadSignature, "the authority", bytes(content))


def test_a_roster_of_another_federation_is_refused() -> None:
    refused(InconsistentCohort, "another federation", forged(replace(CONTENT, federation=b"banks")))
    refused(InconsistentCohort, "another federation", forged(CONTENT), federation=b"banks")


def test_an_expired_roster_is_refused_from_its_last_second() -> None:
    read(forged(CONTENT), now=1_999)
    for now in (2_000, 2_001, 2**40):
        refused(ReplayedSession, "expired", forged(CONTENT), now=now)


def test_an_older_roster_is_refused_and_the_same_one_is_taken() -> None:
    for seen in (0, 3, 4):
        read(forged(CONTENT), seen=seen)
    refused(ReplayedSession, "a roster of version 4, after version 5", forged(CONTENT), seen=5)


def test_a_roster_without_its_reader_is_refused() -> None:
    why = "does not name this client with its key"
    refused(InconsistentCohort, why, forged(CONTENT), client=b"dave", key=public(4))
    refused(InconsistentCohort, why, forged(CONTENT), client=b"bo")
    refused(InconsistentCohort, why, forged(with_entries((b"alice", public(1)))))
    refused(InconsistentCohort, why, forged(with_entries()))


def test_a_roster_with_another_key_for_its_reader_is_refused() -> None:
    why = "does not name this client with its key"
    refused(InconsistentCohort, why, forged(CONTENT), key=public(1))
    refused(InconsistentCohort, why, forged(with_entries((b"alice", public(1)), (b"bob", public(9)))))


@pytest.mark.parametrize(
    "content",
    [
        with_entries((b"alice", public(1)), (b"bob", public(2)), (b"carol", public(1))),
        with_entries((b"alice", public(COORDINATOR)), (b"bob", public(2))),
    ],
)
def test_one_key_for_two_is_neither_signed_nor_read(content: RosterContent) -> None:
    with pytest.raises(DecodeError, match="the same key twice"):
        Roster.sign(content, key(AUTHORITY))
    refused(DecodeError, "the same key twice", forged(content))


@pytest.mark.parametrize("order", [(b"bob", b"alice"), (b"alice", b"alice", b"bob")])
def test_entries_out_of_order_or_with_somebody_twice_are_neither_signed_nor_read(order: tuple[bytes, ...]) -> None:
    content = with_entries(*((client, public(number)) for number, client in enumerate(order)))
    with pytest.raises(DecodeError, match="ascending order"):
        Roster.sign(content, key(AUTHORITY))
    right = with_entries((b"alice", public(1)), (b"bob", public(2)))
    first, second = (encoded(entry) for entry in right.entries)
    refused(DecodeError, "ascending order", forged(right).replace(first + second, second + first))
    refused(DecodeError, "ascending order", forged(right).replace(first + second, first + first))


def test_bytes_that_are_no_roster_are_refused() -> None:
    content = forged(CONTENT)
    for length in range(len(content)):
        with pytest.raises(DecodeError):
            read(content[:length])
    refused(DecodeError, "1 bytes are left over", content + b"\0")
