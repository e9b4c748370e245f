"""Whose office a Flower app's coordinator holds: that of a signed roster, or a simulated one, which protects nobody."""

import os
import shutil
import weakref
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

from leptonic.errors import ExperimentError
from leptonic.flower.simulated import SEED_BYTES, SWITCH, folder_of, name_of, office_of
from leptonic.secagg.server.office import Office
from leptonic_server.secure.headquarters import admitted_by

__all__ = ["Offices", "offices"]


class Offices(Protocol):
    """Gives the office of each round."""

    @property
    def seed(self) -> Mapping[str, bytes]:
        """What clients are told beside the protocol's messages: the secret of simulated keys, or nothing."""
        ...

    def office(self, nodes: Iterable[int]) -> Office:
        """The office of a round with these nodes."""
        ...


def offices(roster: Path | str | None, key: Path | str | None, *, simulated_keys: bool) -> Offices:
    """The offices of a run. Raises ExperimentError that says what is to be given."""
    if simulated_keys and (roster or key):
        raise ExperimentError("simulated_keys=True beside a roster or a key: simulated keys protect nobody; take one")
    if simulated_keys:
        return _Simulated()
    if roster is None or key is None:
        raise ExperimentError(
            "secure aggregation needs roster= (the signed roster's file) and key= (the coordinator's key file); in a "
            f"simulation simulated_keys=True, and `{SWITCH} = true` in the run configuration: that protects nobody"
        )
    _, office = admitted_by(Path(roster), Path(key))
    if office is None:
        raise ExperimentError(f"{roster}: not a signed roster; make one with `leptonic roster sign`")
    return _Signed(office)


class _Signed:
    seed: Mapping[str, bytes]

    def __init__(self, office: Office) -> None:
        self._office, self.seed = office, {}

    def office(self, nodes: Iterable[int]) -> Office:
        return self._office


class _Simulated:
    """Keys for whatever nodes there are; who comes later is in a roster of a later version."""

    seed: Mapping[str, bytes]

    def __init__(self) -> None:
        self.seed = {"seed": os.urandom(SEED_BYTES)}
        self._office: Office | None = None
        weakref.finalize(self, shutil.rmtree, folder_of(self.seed["seed"]), ignore_errors=True)

    def office(self, nodes: Iterable[int]) -> Office:
        known = set(self._office.roster.keys) if self._office else set[bytes]()
        if self._office is None or not known >= set(map(name_of, nodes)):
            version = self._office.roster.content.version + 1 if self._office else 1
            coordinator, roster = office_of(self.seed["seed"], nodes, version)
            self._office = Office(coordinator, roster)
        return self._office
