"""Sealing: secrets of RFC 7748, keys in one form only, and boxes that open in their own place."""

import hashlib
import hmac
import struct
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from leptonic.errors import BadShare, InconsistentCohort
from leptonic.secagg.sealing import BOX_BYTES, Box, agreed, check_public, opened, public_of, sealed, secret_key
from leptonic.secagg.shamir import SHARE_BYTES

PRIME = 2**255 - 19
# RFC 7748, section 6.1.
ALICE = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
BOB = bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")
ALICE_PUBLIC = bytes.fromhex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
BOB_PUBLIC = bytes.fromhex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")
BOTH = bytes.fromhex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742")
# Points of order 1, 2, 4 and 8 on the curve and its twist, and what is the same modulo the prime.
SMALL_ORDER = [
    0,
    1,
    int.from_bytes(bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"), "little"),
    int.from_bytes(bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"), "little"),
    PRIME - 1,
    PRIME,
    PRIME + 1,
]
SHARES = b"\x11" * SHARE_BYTES, b"\x22" * SHARE_BYTES
BOX = Box(session=b"\x33" * 32, sender=b"alice", receiver=b"bob", place=7)


def key_of(number: int) -> bytes:
    return number.to_bytes(32, "little")


def test_the_secrets_are_those_of_rfc_7748() -> None:
    assert public_of(ALICE) == public_of(bytearray(ALICE)) == ALICE_PUBLIC
    assert public_of(BOB) == BOB_PUBLIC
    assert agreed(secret_key(ALICE), BOB_PUBLIC, b"bob") == BOTH
    assert agreed(secret_key(bytearray(BOB)), ALICE_PUBLIC, b"alice") == BOTH


@pytest.mark.parametrize("point", SMALL_ORDER)
@pytest.mark.parametrize("top", [0, 2**255])
def test_keys_that_give_everybody_the_same_secret_are_refused(point: int, top: int) -> None:
    with pytest.raises(InconsistentCohort, match="key of mallory gives everybody the same secret"):
        agreed(secret_key(ALICE), key_of(point + top), b"mallory")


@pytest.mark.parametrize("number", [2, 9, 2**254, PRIME - 2, PRIME - 1])
def test_a_key_below_the_prime_is_canonical(number: int) -> None:
    check_public(key_of(number), b"alice")


@pytest.mark.parametrize("number", [*range(PRIME, 2**255), 2**255, 2**255 + 9, 2**256 - 1])
def test_a_key_in_another_form_is_refused(number: int) -> None:
    with pytest.raises(InconsistentCohort, match="key of mallory is not in its canonical form"):
        check_public(key_of(number), b"mallory")


def test_another_form_of_a_key_would_agree_on_the_same_secret() -> None:
    """Which is why only one form is taken."""
    for form in (9, 9 + 2**255):
        assert agreed(secret_key(ALICE), key_of(form), b"mallory") == ALICE_PUBLIC


def test_a_box_opens_for_its_receiver() -> None:
    content = sealed(BOTH, BOX, SHARES)
    assert len(content) == BOX_BYTES
    assert opened(BOTH, BOX, content) == SHARES


@pytest.mark.parametrize("ends", [(b"alice", b"bob"), (b"bob", b"alice")])
def test_a_box_is_what_the_standards_make_of_it(ends: tuple[bytes, bytes]) -> None:
    """HKDF-SHA256 (RFC 5869) and ChaCha20-Poly1305 (RFC 8439) by hand, with a zero nonce and the box's place."""

    def string(value: bytes) -> bytes:
        return struct.pack("<I", len(value)) + value

    box = Box(b"\x33" * 32, *ends, place=7)
    both = string(ends[0]) + string(ends[1])
    extracted = hmac.digest(box.session, BOTH, hashlib.sha256)
    key = hmac.digest(extracted, b"leptonic-secagg/1/box key\0" + both + b"\x01", hashlib.sha256)
    place = string(box.session) + both + struct.pack("<Q", 7)
    assert sealed(BOTH, box, SHARES) == ChaCha20Poly1305(key).encrypt(bytes(12), b"".join(SHARES), place)


@pytest.mark.parametrize("at", range(BOX_BYTES))
def test_a_tampered_box_does_not_open(at: int) -> None:
    content = bytearray(sealed(BOTH, BOX, SHARES))
    content[at] ^= 0x80
    with pytest.raises(BadShare, match="a box from alice does not open"):
        opened(BOTH, BOX, bytes(content))


def test_a_box_cut_short_or_with_more_does_not_open() -> None:
    content = sealed(BOTH, BOX, SHARES)
    for wrong in [content[:length] for length in range(BOX_BYTES)] + [content + b"\0", content[1:], content * 2]:
        with pytest.raises(BadShare):
            opened(BOTH, BOX, wrong)


@pytest.mark.parametrize(
    "other",
    [
        replace(BOX, session=b"\x34" * 32),
        replace(BOX, sender=b"bob", receiver=b"alice"),
        replace(BOX, sender=b"carol"),
        replace(BOX, receiver=b"carol"),
        replace(BOX, sender=b"aliceb", receiver=b"ob"),
        replace(BOX, place=6),
    ],
)
def test_a_box_opens_in_no_other_session_direction_or_place(other: Box) -> None:
    with pytest.raises(BadShare):
        opened(BOTH, other, sealed(BOTH, BOX, SHARES))
    assert sealed(BOTH, other, SHARES) != sealed(BOTH, BOX, SHARES)


def test_a_box_does_not_open_with_another_secret() -> None:
    with pytest.raises(BadShare):
        opened(ALICE, BOX, sealed(BOTH, BOX, SHARES))


def test_a_refusal_shows_no_secret() -> None:
    with pytest.raises(BadShare) as refusal:
        opened(BOTH, BOX, bytes(BOX_BYTES))
    assert BOTH.hex() not in repr(refusal.value)
    assert refusal.value.__cause__ is None
