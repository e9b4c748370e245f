"""Hashes, signatures and derived keys, each bound to its purpose.

What a hash or a signature covers is a message behind the name of its purpose, so that none can pass for one of
another purpose. SHA-256; Ed25519 (RFC 8032); HKDF-SHA256 (RFC 5869).
"""

import hashlib
from functools import lru_cache
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from leptonic.errors import BadSignature
from leptonic.secagg.encoding import Message, encoded

__all__ = ["PROTOCOL", "Signer", "Verifier", "bound", "derived_key", "hashed", "named", "signed", "verified"]

PROTOCOL = "leptonic-secagg/1"


@lru_cache(2**12)
def named(message: Message) -> tuple[bytes, bytes]:
    """What is signed of a public message, and its hash: remembered, since it comes to everybody who checks it."""
    statement = bound(message)
    return statement, hashlib.sha256(statement).digest()


def hashed(message: Message) -> bytes:
    """The message's name for its purpose: 32 bytes."""
    return hashlib.sha256(bound(message)).digest()


class Signer(Protocol):
    """An Ed25519 key that signs."""

    def sign(self, data: bytes, /) -> bytes:
        """The signature: 64 bytes."""
        ...


def signed(key: Signer, message: Message) -> bytes:
    """A signature of the message for its purpose: 64 bytes."""
    return key.sign(bound(message))


class Verifier(Protocol):
    """Checks signatures. A simulation may remember those that it has checked before."""

    def __call__(self, key: bytes, signature: bytes, statement: bytes, who: bytes) -> None:
        """Raise BadSignature unless ``who``, whose Ed25519 key this is, has signed what :func:`bound` gave."""
        ...


def verified(key: bytes, signature: bytes, statement: bytes, who: bytes) -> None:
    """The plain :class:`Verifier`."""
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, statement)
    except (InvalidSignature, ValueError):
        purpose = statement[len(PROTOCOL) + 1 :].partition(b"\x00")[0].decode(errors="replace")
        name = who.decode(errors="replace")
        raise BadSignature(f"the {purpose!r} signature in the name of {name} is not made with its key") from None


def derived_key(secret: bytes, info: Message, *, session: bytes) -> bytes:
    """32 bytes for one purpose in one session."""
    return HKDF(algorithm=SHA256(), length=32, salt=session, info=bound(info)).derive(secret)


def bound(message: Message) -> bytes:
    """The message's bytes behind the name of its purpose."""
    return b"".join((PROTOCOL.encode(), b"/", message.TAG.encode(), b"\x00", encoded(message)))
