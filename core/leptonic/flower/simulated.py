"""Keys for simulated clients, derived from one secret that everybody is told: this protects nobody.

With it every message is made and checked as in a deployment, where each key is known to its owner alone.
"""

import hashlib
import tempfile
from collections.abc import Iterable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from leptonic.secagg.roster import Roster, RosterContent, RosterEntry
from leptonic.secagg.simulated_keys import simulated_key

__all__ = ["FEDERATION", "SEED_BYTES", "SWITCH", "authority_key", "client_key", "folder_of", "name_of", "office_of"]

FEDERATION = b"simulated"
SEED_BYTES = 32
SWITCH = "leptonic-simulated-keys"
"""The key of the run configuration that lets clients take simulated keys."""
NEVER = 2**62
"""Seconds since 1970 at which a simulated roster expires."""


def name_of(node: int) -> bytes:
    """A simulated client's name."""
    return f"node-{node}".encode()


def client_key(seed: bytes, name: bytes) -> Ed25519PrivateKey:
    """A simulated client's key."""
    return simulated_key(seed, "client", name)


def authority_key(seed: bytes) -> Ed25519PrivateKey:
    """The key of the simulated authority."""
    return simulated_key(seed, "office", b"authority")


def office_of(seed: bytes, nodes: Iterable[int], version: int) -> tuple[Ed25519PrivateKey, Roster]:
    """The coordinator's key, and the roster of these nodes."""
    coordinator = simulated_key(seed, "office", b"coordinator")
    names = sorted(map(name_of, nodes))
    content = RosterContent(
        federation=FEDERATION,
        version=version,
        expires=NEVER,
        coordinator=coordinator.public_key().public_bytes_raw(),
        entries=tuple(RosterEntry(name, client_key(seed, name).public_key().public_bytes_raw()) for name in names),
    )
    return coordinator, Roster.sign(content, authority_key(seed))


def folder_of(seed: bytes) -> Path:
    """Where the simulated clients of this machine keep what they must not forget, until the run has ended."""
    return Path(tempfile.gettempdir()) / f"leptonic-simulated-{hashlib.sha256(seed).hexdigest()[:16]}"
