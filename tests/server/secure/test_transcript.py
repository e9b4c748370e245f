"""The coordinator's chain of records over its lives."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.core.secagg.members import AUTHORITY, COORDINATOR, key_of, public, roster_of
from tests.core.secagg.parties import Cast

from leptonic.errors import RunError
from leptonic.secagg.binding import hashed
from leptonic.secagg.encoding import decoded
from leptonic.secagg.messages import SignedRecord
from leptonic.secagg.roster import Roster
from leptonic.secagg.server.office import Office
from leptonic_server.secure.transcript import Transcript
from leptonic_server.store import RunStore


def test_a_record_is_signed_and_named_by_the_next(tmp_path: Path) -> None:
    transcript = Transcript(Office(COORDINATOR, roster_of(3)), RunStore(tmp_path))
    assert (transcript.hash, transcript.survivors) == (bytes(32), set())
    cast = Cast(3)
    record = cast.play().run().record
    transcript.sign(record)
    assert decoded(SignedRecord, transcript.content).record == record
    assert (transcript.hash, transcript.survivors) == (hashed(record), set(cast.names))


def test_a_new_version_of_the_roster_goes_on_with_the_run(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    for version in (1, 2):
        Transcript(Office(COORDINATOR, roster_of(3, version)), store)
    assert store.signed_rosters() == {roster_of(3, each).hash: roster_of(3, each).encoding for each in (1, 2)}


def test_another_key_of_the_coordinators_does_not(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    Transcript(Office(COORDINATOR, roster_of(3)), store)
    other = key_of(b"another coordinator")
    content = replace(roster_of(3).content, coordinator=public(other), version=2)
    with pytest.raises(RunError, match="signed with another key of the coordinator's"):
        Transcript(Office(other, Roster.sign(content, AUTHORITY)), store)
