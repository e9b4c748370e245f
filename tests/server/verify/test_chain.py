"""The records of a run as a whole: none can be taken away, put elsewhere or be another run's."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.server.verify.deployed import ROUNDS, Deployed, run_in

from leptonic.errors import BadSignature, DecodeError, InconsistentCohort, RunError
from leptonic_server.store import RunStore
from leptonic_server.verify.chain import chain_of, federation_of


def test_the_chain_of_a_run(whole: Deployed) -> None:
    chain = whole.chain()
    assert [link.number for link in chain.links] == list(range(1, ROUNDS + 1))
    assert [len(link.survivors) for link in chain.links] == [5, 4, 5]
    assert whole.chain(chain.authority) == chain
    assert federation_of(whole.store()) == b"small"


def test_another_authority_is_not_trusted(whole: Deployed) -> None:
    with pytest.raises(BadSignature, match="another authority"):
        whole.chain(bytes(32))


def test_a_roster_that_is_not_there(made: Deployed) -> None:
    with made.database() as database:
        database.execute("DELETE FROM signed_rosters")
    with pytest.raises(DecodeError, match="round 1: the record names a roster that the run does not have"):
        made.chain()


@pytest.mark.parametrize("number", range(1, ROUNDS + 1))
def test_a_record_that_was_taken_away(made: Deployed, number: int) -> None:
    with made.database() as database:
        database.execute("DELETE FROM transcripts WHERE round = ?", (number,))
    with pytest.raises(InconsistentCohort, match=r"goes on from another|of another round|rounds, and 2 records"):
        made.chain()


def test_two_records_that_have_changed_places(made: Deployed) -> None:
    with made.database() as database:
        rows = dict(database.execute("SELECT round, record FROM transcripts").fetchall())
        database.execute("UPDATE transcripts SET record = ? WHERE round = 1", (rows[2],))
        database.execute("UPDATE transcripts SET record = ? WHERE round = 2", (rows[1],))
    with pytest.raises(InconsistentCohort, match="round 1"):
        made.chain()


def test_one_byte_that_was_changed(made: Deployed) -> None:
    with made.database() as database:
        (content,) = database.execute("SELECT record FROM transcripts WHERE round = 2").fetchone()
        spoilt = bytearray(content)
        spoilt[-100] ^= 1  # the hash of the record before
        database.execute("UPDATE transcripts SET record = ? WHERE round = 2", (bytes(spoilt),))
    with pytest.raises(BadSignature, match="round 2"):
        made.chain()


def test_a_record_that_was_signed_anew_breaks_those_after_it(made: Deployed) -> None:
    # The next round's work names the first record: its view, which clients have signed, holds that.
    made.rewrite(1, lambda record: replace(record, sum=bytes(32)))
    with pytest.raises(InconsistentCohort, match="round 2: the record goes on from another"):
        made.chain()


def test_the_experiment_is_the_one_that_clients_agreed_to(made: Deployed) -> None:
    with made.database() as database:
        (content,) = database.execute("SELECT experiment FROM run").fetchone()
        database.execute("UPDATE run SET experiment = ?", (content.replace('"seed": 4', '"seed": 5'),))
    with pytest.raises(InconsistentCohort, match="another round, run or experiment"):
        made.chain()


def test_a_run_without_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_in(tmp_path, monkeypatch, secure_aggregation=None)
    with pytest.raises(RunError, match=r"has no records; they come with \[secure_aggregation\]"):
        chain_of(RunStore(tmp_path / "run", read_only=True), None)
