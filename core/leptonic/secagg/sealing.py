"""Secrets agreed between two clients, and shares sealed from one to the other, through a coordinator that may lie.

X25519 (RFC 7748) for the secret, ChaCha20-Poly1305 (RFC 8439) for the box. A box's key is derived for one direction
of one pair in one session and seals exactly one box, so that its nonce may be zero.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from leptonic.errors import BadShare, InconsistentCohort
from leptonic.secagg.binding import derived_key
from leptonic.secagg.encoding import Digest, Id, encoded
from leptonic.secagg.shamir import SHARE_BYTES

__all__ = [
    "BOX_BYTES",
    "Agreement",
    "Box",
    "agreed",
    "agreed_with",
    "check_public",
    "opened",
    "public_of",
    "sealed",
    "secret_key",
]

BOX_BYTES = 2 * SHARE_BYTES + 16
_NONCE = bytes(12)
_FIELD = 2**255 - 19


@dataclass(frozen=True)
class _BoxKey:
    TAG: ClassVar[str] = "box key"
    sender: Id
    receiver: Id


@dataclass(frozen=True)
class Box:
    """What a box is bound to: its session, sender and receiver, and the place where the shares lie."""

    TAG: ClassVar[str] = "box"
    session: Digest
    sender: Id
    receiver: Id
    place: int


def public_of(secret: bytes | bytearray) -> bytes:
    """The public key of 32 secret bytes."""
    return secret_key(secret).public_key().public_bytes_raw()


def check_public(key: bytes, who: bytes) -> None:
    """Raise InconsistentCohort unless the key is the one encoding of its point's coordinate."""
    if int.from_bytes(key, "little") >= _FIELD:
        raise InconsistentCohort(f"a key of {who.decode(errors='replace')} is not in its canonical form")


def secret_key(secret: bytes | bytearray) -> X25519PrivateKey:
    """The key of 32 secret bytes, which takes as long to make as to use."""
    return X25519PrivateKey.from_private_bytes(secret)


def agreed(secret: X25519PrivateKey, public: bytes, who: bytes) -> bytes:
    """The 32 bytes that both sides of a pair have. Raises InconsistentCohort where the other side's key forces them."""
    try:
        return secret.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        raise InconsistentCohort(
            f"the key of {who.decode(errors='replace')} gives everybody the same secret: it is of small order"
        ) from None


class Agreement(Protocol):
    """Agrees with others. A simulation, which plays both sides, may do so once for both."""

    def __call__(self, secret: bytearray, public: bytes, others: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
        """What the owner of a secret key has with each of the others.

        secret, public: its own keys. others: public keys by client. Raises InconsistentCohort as :func:`agreed`.
        """
        ...


def agreed_with(secret: bytearray, public: bytes, others: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """The plain :class:`Agreement`."""
    del public
    key = secret_key(secret)
    return {who: agreed(key, theirs, who) for who, theirs in others.items()}


def sealed(secret: bytes, box: Box, shares: tuple[bytes, bytes]) -> bytes:
    """The two shares in a box. secret: what the pair agreed on."""
    return _cipher(secret, box).encrypt(_NONCE, b"".join(shares), encoded(box))


def opened(secret: bytes, box: Box, content: bytes) -> tuple[bytes, bytes]:
    """The two shares of a box. Raises BadShare if it was not sealed by this sender to this receiver in this session."""
    try:
        both = _cipher(secret, box).decrypt(_NONCE, content, encoded(box))
    except InvalidTag:
        raise BadShare(f"a box from {box.sender.decode(errors='replace')} does not open") from None
    return both[:SHARE_BYTES], both[SHARE_BYTES:]


def _cipher(secret: bytes, box: Box) -> ChaCha20Poly1305:
    key = derived_key(secret, _BoxKey(box.sender, box.receiver), session=box.session)
    return ChaCha20Poly1305(key)
