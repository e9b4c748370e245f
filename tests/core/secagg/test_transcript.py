"""A record that somebody can check: every field of it is needed, and none can be changed."""

from dataclasses import replace
from typing import Any

import pytest
from tests.core.secagg.members import COORDINATOR, digest, key_of, name_of, roster_of
from tests.core.secagg.parties import FIRST_RECORD, Cast, Step

from leptonic.errors import BadSignature, BelowThreshold, InconsistentCohort, ProtocolError
from leptonic.secagg.binding import signed
from leptonic.secagg.messages import Named, Record, Signed, SignedRecord
from leptonic.secagg.transcript import check_record

CAST = Cast(7, colluders=2)
PLAY = CAST.play()
RECORD = PLAY.run({name_of(6): Step.MASK}).record


def shown(record: Record) -> SignedRecord:
    """As the coordinator would sign it."""
    return SignedRecord(record, signed(COORDINATOR, record))


def check(record: Record, previous: bytes = FIRST_RECORD) -> None:
    check_record(shown(record), CAST.roster, previous)


def test_a_record_of_a_session_holds() -> None:
    graph = check_record(shown(RECORD), CAST.roster, FIRST_RECORD)
    assert graph == PLAY.unmasking.closed.graph
    assert len(RECORD.survivors.survivors) == 6


def test_a_record_is_signed_by_the_rosters_coordinator() -> None:
    with pytest.raises(BadSignature, match="the coordinator"):
        check_record(SignedRecord(RECORD, signed(key_of(b"another"), RECORD)), CAST.roster, FIRST_RECORD)


def test_a_record_belongs_to_its_roster() -> None:
    with pytest.raises(InconsistentCohort, match="another federation or roster"):
        check_record(shown(RECORD), roster_of(8), FIRST_RECORD)


def test_a_record_goes_on_from_the_one_before_it() -> None:
    with pytest.raises(InconsistentCohort, match="goes on from another"):
        check(RECORD, digest(b"another"))
    with pytest.raises(InconsistentCohort, match="goes on from another"):
        check(replace(RECORD, previous=digest(b"another")), digest(b"another"))


SIX = RECORD.survivors.survivors
LIES: dict[str, tuple[dict[str, Any], type[ProtocolError]]] = {
    "another opening": ({"opening": replace(RECORD.opening, serial=99)}, InconsistentCohort),
    "other settings": (
        {"opening": replace(RECORD.opening, settings=replace(RECORD.opening.settings, colluders=0))},
        InconsistentCohort,
    ),
    "a smaller cohort": ({"cohort": replace(RECORD.cohort, members=RECORD.cohort.members[:-1])}, InconsistentCohort),
    "a stranger in the cohort": (
        {"cohort": replace(RECORD.cohort, members=(*RECORD.cohort.members, Named(b"z", digest(b"z"))))},
        InconsistentCohort,
    ),
    "fewer survivors": ({"survivors": replace(RECORD.survivors, survivors=SIX[:5])}, BadSignature),
    "too few survivors": ({"survivors": replace(RECORD.survivors, survivors=SIX[:4])}, BelowThreshold),
    "another input": (
        {"survivors": replace(RECORD.survivors, survivors=(*SIX[:5], Named(SIX[5].client, digest(b"other"))))},
        BadSignature,
    ),
    "a survivor that never shared": ({"sharers": RECORD.sharers[:5]}, InconsistentCohort),
    "other sharers": (
        {"sharers": (*RECORD.sharers[:-1], replace(RECORD.sharers[-1], digest=digest(b"other")))},
        InconsistentCohort,
    ),
    "another model": ({"context": replace(RECORD.context, payload=digest(b"other"))}, InconsistentCohort),
    "another view": ({"view": digest(b"other")}, InconsistentCohort),
    "too few signatures": ({"signatures": RECORD.signatures[:4]}, BelowThreshold),
    "a signature in another name": (
        {"signatures": (Signed(RECORD.signatures[0].client, bytes(64)), *RECORD.signatures[1:])},
        BadSignature,
    ),
    "a signature of a stranger": (
        {"signatures": (*RECORD.signatures, Signed(b"z", bytes(64)))},
        InconsistentCohort,
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_no_field_of_a_record_can_be_changed_even_by_the_coordinator(lie: str) -> None:
    changes, error = LIES[lie]
    with pytest.raises(error):
        check(replace(RECORD, **changes))


def test_the_opened_sum_and_the_chain_rest_on_the_coordinators_word_alone() -> None:
    # What a record does not prove: docs/secagg.md says it, and so does this.
    check(replace(RECORD, sum=digest(b"another sum")))
