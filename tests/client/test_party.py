"""A client over the rounds of a run: two sessions at a time, each part judged by itself, one chain of records."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.core.secagg.members import COORDINATOR, digest, key_of, roster_of
from tests.core.secagg.parties import RUN, Cast

from leptonic.errors import BadSignature, BelowThreshold, InconsistentCohort, ReplayedSession
from leptonic.pipeline import Contribution
from leptonic.secagg.binding import hashed, signed
from leptonic.secagg.encoding import decoded, encoded
from leptonic.secagg.expansion import Here
from leptonic.secagg.messages import Open, Record, SignedRecord
from leptonic.secagg.server.agreeing import Agreeing
from leptonic.secagg.server.inviting import Inviting
from leptonic.secagg.server.office import Office
from leptonic.secagg.server.sharing import Sharing
from leptonic.secagg.server.unmasking import OpenedSum
from leptonic.secagg.trips import Trip, Work
from leptonic_client.party import Party

NOTHING = bytes(32)


class Run:
    """Three parties and a coordinator, for as many rounds as a test takes."""

    def __init__(self) -> None:
        self.cast, self.time = Cast(3), 1000.0
        self.office = Office(COORDINATOR, self.cast.roster)
        self.parties = {
            name: Party(
                client.standing,
                Here(),
                settings=self.cast.settings,
                run=RUN.decode(),
                experiment=digest(b"experiment").hex(),
                now=lambda: self.time,
            )
            for name, client in self.cast.clients.items()
        }

    def opened(self, opening: Open | None = None, *, number: int = 1) -> Sharing:
        """A session of this round whose cohort has shared its secrets."""
        inviting = Inviting(self.office, opening or self.cast.opening(round=number))
        for name, party in self.parties.items():
            inviting.take(name, decoded(Trip, party.open(encoded(Trip(b"", inviting.message)))[0]).opening)
        sharing = inviting.close()
        for name, party in self.parties.items():
            sharing.take(name, decoded(Trip, party.share(encoded(Trip(b"", sharing.message(name))))[0]).opening)
        return sharing

    def worked(self, sharing: Sharing, *, number: int = 1, named: bytes = NOTHING, shown: bytes = b"") -> Agreeing:
        """Its masked sum, of work that only this round asks for. named, shown: the record that it goes on from."""
        payload = digest(f"model {number}".encode())
        summing = sharing.close(payload, named)
        for name, party in self.parties.items():
            party.train(encoded(Work(summing.message(name), shown)), model=payload, payload=payload)
            masked = party.mask(Contribution(np.ones(21, np.uint32), np.ones(2, np.uint64)))
            summing.take(name, masked.reply, b"".join(masked.parts))
        return summing.close()

    def summed(self, agreeing: Agreeing, previous: bytes = NOTHING) -> OpenedSum:
        """Its opened sum."""
        for name, party in self.parties.items():
            agreeing.take(name, decoded(Trip, party.open(encoded(Trip(agreeing.message(name), b"")))[0]).closing)
        unmasking = agreeing.close()
        for name, party in self.parties.items():
            unmasking.take(name, decoded(Trip, party.share(encoded(Trip(unmasking.message, b"")))[0]).closing)
        return unmasking.open(Here(), previous)

    def record(self) -> Record:
        """That of a first round."""
        return self.summed(self.worked(self.opened())).record

    def sign(self, record: Record) -> bytes:
        return encoded(SignedRecord(record, signed(self.office.key, record)))


def altered(record: Record, **changes: Any) -> Record:
    """The same record but for what is given."""
    return Record(**{name: changes.get(name, getattr(record, name)) for name in Record.__slots__})


@pytest.fixture
def run() -> Run:
    return Run()


def test_rounds_follow_one_another_by_their_records(run: Run) -> None:
    previous, shown = NOTHING, b""
    for number in (1, 2, 3):
        opened = run.summed(run.worked(run.opened(number=number), number=number, named=previous, shown=shown), previous)
        assert (opened.words == 3).all()
        assert (opened.sums == 3).all()
        previous, shown = hashed(opened.record), run.sign(opened.record)


@pytest.mark.parametrize("field", ["run", "experiment", "phase", "settings"])
def test_a_session_with_other_terms_is_not_opened(run: Run, field: str) -> None:
    settings = Cast(3, bits=24).settings
    other = {"run": b"another", "experiment": digest(b"another"), "phase": 1, "settings": settings}[field]
    with pytest.raises(InconsistentCohort, match="other settings"):
        run.opened(run.cast.opening(**{field: other}))


def test_no_session_is_opened_on_a_roster_that_has_expired(run: Run) -> None:
    run.opened()
    run.time = float(run.cast.roster.content.expires)
    with pytest.raises(ReplayedSession, match="expired"):
        run.opened()


def test_a_record_must_be_the_one_that_is_named(run: Run) -> None:
    record = run.record()
    with pytest.raises(InconsistentCohort, match="another record"):
        run.worked(run.opened(number=2), number=2, named=digest(b"another"), shown=run.sign(record))


def test_a_record_that_is_named_must_be_shown(run: Run) -> None:
    record = run.record()
    with pytest.raises(InconsistentCohort, match="not shown"):
        run.worked(run.opened(number=2), number=2, named=hashed(record))


def test_once_there_was_a_record_no_session_goes_without_one(run: Run) -> None:
    record = run.record()
    run.summed(run.worked(run.opened(number=2), number=2, named=hashed(record), shown=run.sign(record)))
    with pytest.raises(InconsistentCohort, match="not shown"):
        run.worked(run.opened(number=3), number=3)


def test_a_record_is_the_coordinators(run: Run) -> None:
    record = run.record()
    forged = encoded(SignedRecord(record, signed(key_of(b"somebody"), record)))
    with pytest.raises(BadSignature):
        run.worked(run.opened(number=2), number=2, named=hashed(record), shown=forged)


def test_a_record_is_whole(run: Run) -> None:
    record = run.record()
    fewer = type(record.survivors)(record.survivors.session, record.survivors.survivors[:2])
    for lie in (altered(record, survivors=fewer), altered(record, signatures=record.signatures[:2])):
        with pytest.raises(BelowThreshold):
            run.worked(run.opened(number=2), number=2, named=hashed(lie), shown=run.sign(lie))


def test_a_record_names_the_survivors_that_were_signed(run: Run) -> None:
    record = run.record()
    (client, *_), (party, *_) = run.cast.clients.values(), run.parties.values()
    # As if this client had signed another set than the quorum's.
    client.standing.journal._agreed[record.survivors.session] = digest(b"another set")
    with pytest.raises(InconsistentCohort, match="other survivors"):
        party.record(run.sign(record))


def test_a_new_roster_holds_from_the_next_session_on(run: Run) -> None:
    record = run.record()
    later = roster_of(3, version=2)
    for (_, party), client in zip(run.parties.items(), run.cast.clients.values(), strict=True):
        party.renew(replace(client.standing, roster=later))
    with pytest.raises(InconsistentCohort, match="another federation or roster"):
        run.opened(number=2)
    run.office = Office(COORDINATOR, later)
    sharing = run.opened(run.cast.opening(round=2, roster=later.hash))
    # The record of the last round, on the old roster, is still taken.
    run.summed(run.worked(sharing, number=2, named=hashed(record), shown=run.sign(record)), hashed(record))


def test_the_last_record_is_brought_alone_and_kept(run: Run) -> None:
    record = run.record()
    for party in run.parties.values():
        assert party.record(run.sign(record)) == b""
        assert party.record(run.sign(record)) == b""  # the same again
    for client in run.cast.clients.values():
        assert client.standing.journal.last_record(RUN) == (1, hashed(record))


def test_no_round_has_two_records(run: Run) -> None:
    record = run.record()
    (party, *_) = run.parties.values()
    party.record(run.sign(record))
    with pytest.raises(InconsistentCohort, match="round 1 has another record"):
        party.record(run.sign(altered(record, sum=digest(b"another sum"))))


def test_a_record_goes_on_from_the_one_before_it(run: Run) -> None:
    first, other = run.record(), Run()
    begun = other.record()
    second = other.summed(
        other.worked(other.opened(number=2), number=2, named=hashed(begun), shown=other.sign(begun)), hashed(begun)
    ).record
    (party, *_) = run.parties.values()
    party.record(run.sign(first))
    with pytest.raises(InconsistentCohort, match="does not go on from that of round 1"):
        party.record(run.sign(second))
    with pytest.raises(InconsistentCohort, match="another run"):
        party.record(run.sign(altered(first, opening=run.cast.opening(run=b"another"))))


def test_what_is_wrong_with_one_part_takes_nothing_from_the_other(run: Run) -> None:
    run.worked(run.opened())
    (name, party), *_ = run.parties.items()
    opening = encoded(run.cast.opening())
    answer, detail = party.open(encoded(Trip(b"no survivors", opening)))
    trip = decoded(Trip, answer)
    assert (trip.closing, bool(trip.opening)) == (b"", True)
    assert detail.startswith("DecodeError: ")
    assert name in trip.opening


def test_the_same_opening_again_gets_the_same_keys(run: Run) -> None:
    (party, *_), opening = run.parties.values(), encoded(Trip(b"", encoded(run.cast.opening())))
    assert party.open(opening) == party.open(opening)


def test_there_is_no_end_before_work(run: Run) -> None:
    (party, *_) = run.parties.values()
    with pytest.raises(ReplayedSession, match="no work"):
        party.open(encoded(Trip(b"survivors", b"")))
