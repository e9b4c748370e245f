"""Hashes, signatures and derived keys are those of RFC 5869 and 8032, over a message behind its purpose."""

import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from leptonic.errors import BadSignature
from leptonic.secagg import graph, messages, roster, sealing
from leptonic.secagg.binding import bound, derived_key, hashed, named, signed, verified
from leptonic.secagg.messages import Abort, Pair, SelfMask, SurvivorSet

SESSION = bytes(range(32))
KEY = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)
PUBLIC = KEY.public_key().public_bytes_raw()
OTHER = Ed25519PrivateKey.from_private_bytes(b"\x02" * 32)
ABORT = b"leptonic-secagg/1/abort\x00" + b"\x20\x00\x00\x00" + SESSION


def hkdf(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    """RFC 5869, section 2: extract, then expand."""
    extracted = hmac.digest(salt, secret, "sha256")
    out, block = b"", b""
    for counter in range(1, 1 + -(-length // 32)):
        block = hmac.digest(extracted, block + info + bytes([counter]), "sha256")
        out += block
    return out[:length]


def test_the_derivation_by_hand_is_that_of_rfc_5869() -> None:
    """Appendix A.1."""
    salt, info = bytes(range(13)), bytes(range(0xF0, 0xFA))
    expected = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    assert hkdf(b"\x0b" * 22, salt, info, 42).hex() == expected


def test_a_public_message_is_bound_and_hashed_once() -> None:
    one, other = Abort(SESSION), Abort(bytes(32))
    assert named(one) == (bound(one), hashed(one)) == (ABORT, hashlib.sha256(ABORT).digest())
    assert named(Abort(SESSION)) is named(one)
    assert named(other) == (bound(other), hashed(other)) != named(one)
    # Of the same fields, and for another purpose.
    assert named(SurvivorSet(*[SESSION] * 3)) != named(messages.Context(*[SESSION] * 3))


def test_a_message_stands_behind_the_name_of_its_purpose() -> None:
    assert bound(Abort(SESSION)) == ABORT
    own = b"leptonic-secagg/1/self\x00" + b"\x05\x00\x00\x00alice"
    assert bound(SelfMask(b"alice")) == own


def test_a_hash_is_sha_256() -> None:
    assert hashed(Abort(SESSION)) == hashlib.sha256(ABORT).digest()


def test_a_key_is_derived_by_hkdf_with_the_session_for_salt() -> None:
    secret = b"\x07" * 32
    own = b"leptonic-secagg/1/self\x00" + b"\x05\x00\x00\x00alice"
    assert derived_key(secret, SelfMask(b"alice"), session=SESSION) == hkdf(secret, SESSION, own, 32)
    pair = b"leptonic-secagg/1/pair\x00" + b"\x20\x00\x00\x00" + bytes(32) + b"\x01\x00\x00\x00a" + b"\x01\x00\x00\x00b"
    assert derived_key(secret, Pair(bytes(32), b"a", b"b"), session=SESSION) == hkdf(secret, SESSION, pair, 32)


def test_keys_differ_by_secret_session_purpose_and_information() -> None:
    secret, info = b"\x07" * 32, SelfMask(b"alice")
    keys = {
        derived_key(secret, info, session=SESSION),
        derived_key(b"\x08" * 32, info, session=SESSION),
        derived_key(secret, info, session=bytes(32)),
        derived_key(secret, SelfMask(b"bob"), session=SESSION),
        derived_key(secret, Pair(bytes(32), b"a", b"b"), session=SESSION),
        derived_key(secret, Pair(bytes(32), b"b", b"a"), session=SESSION),
    }
    assert len(keys) == 6


def test_no_two_kinds_of_message_have_the_same_purpose() -> None:
    kinds = [
        kind
        for module in (messages, roster, graph, sealing)
        for kind in vars(module).values()
        if isinstance(kind, type) and kind.__module__ == module.__name__ and hasattr(kind, "TAG")
    ]
    tags = [kind.TAG for kind in kinds]
    assert len(tags) > 15
    assert len(set(tags)) == len(tags)
    assert not any("\x00" in tag for tag in tags)


def test_the_same_bytes_for_another_purpose_have_another_hash_and_no_signature() -> None:
    abort, own = Abort(SESSION), SelfMask(SESSION)
    assert bound(abort).partition(b"\x00")[2] == bound(own).partition(b"\x00")[2]
    assert hashed(abort) != hashed(own)
    with pytest.raises(BadSignature):
        verified(PUBLIC, signed(KEY, abort), bound(own), b"alice")


def test_a_signature_is_ed25519_over_the_bound_message() -> None:
    signature = signed(KEY, Abort(SESSION))
    assert signature == KEY.sign(ABORT)
    Ed25519PublicKey.from_public_bytes(PUBLIC).verify(signature, ABORT)
    verified(PUBLIC, signature, bound(Abort(SESSION)), b"alice")


def refused(key: bytes, signature: bytes, statement: bytes, purpose: str) -> None:
    with pytest.raises(BadSignature, match=f"'{purpose}' signature in the name of alice") as refusal:
        verified(key, signature, statement, b"alice")
    assert refusal.value.__cause__ is None


@pytest.mark.parametrize("at", [0, 31, 32, 63])
def test_a_forged_signature_names_who_and_what_for(at: int) -> None:
    forged = bytearray(signed(KEY, Abort(SESSION)))
    forged[at] ^= 1
    refused(PUBLIC, bytes(forged), ABORT, "abort")


def test_a_signature_of_another_key_or_message_is_refused() -> None:
    agreement = SurvivorSet(SESSION, bytes(32), bytes(32))
    refused(PUBLIC, signed(OTHER, agreement), bound(agreement), "set")
    refused(PUBLIC, signed(KEY, SurvivorSet(SESSION, bytes(32), b"\x01" * 32)), bound(agreement), "set")


@pytest.mark.parametrize("signature", [b"", bytes(63), bytes(64), bytes(65), b"\xff" * 64])
def test_what_is_no_signature_is_refused(signature: bytes) -> None:
    refused(PUBLIC, signature, ABORT, "abort")


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33), b"\xff" * 32, b"\x02" + bytes(31)])
def test_what_is_no_key_is_refused(key: bytes) -> None:
    refused(key, signed(KEY, Abort(SESSION)), ABORT, "abort")


def test_names_that_are_no_text_are_shown_as_well_as_can_be() -> None:
    with pytest.raises(BadSignature, match="name of \ufffd"):
        verified(PUBLIC, bytes(64), ABORT, b"\xff")
