"""A deployed coordinator's office: its key, and the roster that the federation's authority has signed."""

import time
from pathlib import Path

from leptonic.errors import ExperimentError
from leptonic.identity import public_hex, signing_key
from leptonic.roster_file import read_clients, read_signed
from leptonic.secagg.server.office import Office

__all__ = ["admitted_by"]


def admitted_by(roster: Path | None, key: Path) -> tuple[dict[str, str] | None, Office | None]:
    """Who may join (name -> public key; None for anybody), and the coordinator's office if the roster is signed.

    Raises ExperimentError for a file that is no roster, or one that names another coordinator than this key's.
    """
    if roster is None:
        return None, None
    if roster.suffix == ".toml":
        return read_clients(roster), None
    office = _office(roster, key)
    return {name.decode(): public.hex() for name, public in office.roster.keys.items()}, office


def _office(roster: Path, key: Path) -> Office:
    signed, own = read_signed(roster), signing_key(key, "the coordinator's")
    if signed.content.coordinator.hex() != public_hex(own):
        raise ExperimentError(
            f"{roster}: names another coordinator than the key in {key}; its public key is {public_hex(own)}"
        )
    if signed.content.expires <= time.time():
        raise ExperimentError(f"{roster}: has expired; ask the authority for a new one")
    return Office(own, signed)
