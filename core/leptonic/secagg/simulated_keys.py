"""Signing keys of a simulated federation: all derived from one secret, so that whoever has it has them all."""

from dataclasses import dataclass
from typing import ClassVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from leptonic.secagg.binding import derived_key
from leptonic.secagg.encoding import Id, Name

__all__ = ["simulated_key"]


@dataclass(frozen=True)
class _SimulatedKey:
    TAG: ClassVar[str] = "simulated key"
    kind: Name
    name: Id


def simulated_key(seed: bytes, kind: str, name: bytes) -> Ed25519PrivateKey:
    """The key of somebody of this kind and name. seed: 32 bytes."""
    secret = derived_key(seed, _SimulatedKey(kind.encode(), name), session=b"")
    return Ed25519PrivateKey.from_private_bytes(secret)
