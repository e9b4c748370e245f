"""Rosters in files: names and keys that people write (TOML), and what an authority has signed of them (binary)."""

import re
import time
import tomllib
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from leptonic.errors import BadSignature, DecodeError, ExperimentError
from leptonic.files import write_atomic
from leptonic.secagg.binding import bound, verified
from leptonic.secagg.encoding import decoded
from leptonic.secagg.roster import Roster, RosterContent, RosterEntry, SignedRoster

__all__ = ["read_clients", "read_signed", "sign"]

DAY = 24 * 3600


def read_clients(path: Path) -> dict[str, str]:
    """Name -> Ed25519 public key (hexadecimal) of the clients that may join, from a TOML file.

    The file has one table, ``[clients]``, with a line ``name = "key"`` for each. Raises ExperimentError.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ExperimentError(f"{path}: cannot be read as a roster: {error}") from None
    clients = content.get("clients")
    if not isinstance(clients, dict) or set(content) != {"clients"}:
        raise ExperimentError(f'{path}: a roster has one table, [clients], with lines like: hospital-a = "KEY"')
    if len(set(clients.values())) < len(clients):
        raise ExperimentError(f"{path}: two names have the same key; each client has its own")
    for name, key in clients.items():
        if not isinstance(key, str) or not re.fullmatch(r"[0-9a-f]{64}", key):
            raise ExperimentError(
                f"{path}: clients.{name}: a key is 64 hexadecimal digits; "
                "`leptonic client NODE.toml --show-key` prints it"
            )
    return clients


def sign(
    clients: dict[str, str],
    *,
    federation: str,
    coordinator: str,
    authority: Ed25519PrivateKey,
    version: int,
    days: int,
    path: Path,
) -> Roster:
    """Sign a roster of these clients (name -> hexadecimal key), and write it. coordinator: its public key."""
    try:
        entries = tuple(RosterEntry(name.encode(), bytes.fromhex(key)) for name, key in sorted(clients.items()))
        content = RosterContent(
            federation=federation.encode(),
            version=version,
            expires=int(time.time()) + days * DAY,
            coordinator=bytes.fromhex(coordinator),
            entries=tuple(sorted(entries, key=lambda entry: entry.client)),
        )
        roster = Roster.sign(content, authority)
        write_atomic(path, roster.encoding)
    except DecodeError as error:
        raise ExperimentError(f"no such roster can be signed: {error}") from None
    return roster


def read_signed(path: Path) -> Roster:
    """A signed roster, its signature checked against the authority that it names. Raises ExperimentError."""
    try:
        signed = decoded(SignedRoster, path.read_bytes())
        verified(signed.authority, signed.signature, bound(signed.content), b"the authority")
    except OSError as error:
        raise ExperimentError(f"{path}: cannot be read: {error}") from None
    except (DecodeError, BadSignature) as error:
        raise ExperimentError(f"{path}: not a signed roster ({error}); make one with `leptonic roster sign`") from None
    return Roster(signed)
