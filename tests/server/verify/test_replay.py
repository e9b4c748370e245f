"""Each model follows from the one before it and the opened sum, or it is found out."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from tests.server.verify.deployed import ROUNDS, Deployed, run_in

from leptonic.errors import InconsistentCohort, RunError
from leptonic_server.secure.retained import Retained
from leptonic_server.verify.replay import Replay


def checked(made: Deployed) -> int:
    with closing(made.store()) as store:
        replay, chain = Replay(store), made.chain()
        replay.check_settings(chain)
        return replay.check_models(chain)


def test_all_models_follow_from_the_first(whole: Deployed) -> None:
    assert checked(whole) == ROUNDS


def test_a_sum_that_should_be_there(made: Deployed) -> None:
    Retained(made.run).sum_file(2).unlink()
    with pytest.raises(RunError, match=r"round-00002.bin: cannot be read"):
        checked(made)


def test_where_no_sums_are_kept_the_first_model_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert checked(run_in(tmp_path, monkeypatch, secure_aggregation={"colluders": 1})) == 0


def test_another_model_was_delivered(made: Deployed) -> None:
    delivered = made.run / "model.safetensors"
    content = bytearray(delivered.read_bytes())
    content[-1] ^= 1
    delivered.write_bytes(content)
    with pytest.raises(InconsistentCohort, match="is not the model of the last round"):
        checked(made)
    delivered.write_bytes(bytes(len(content) + 1))
    with pytest.raises(RunError, match="is not a plain file"):
        checked(made)


def test_another_model_was_kept(made: Deployed) -> None:
    with made.database() as database:
        row = database.execute("SELECT vectors, sha256 FROM rounds WHERE round = 2").fetchone()
        database.execute("UPDATE rounds SET vectors = ?, sha256 = ? WHERE round = 3", row)
    with pytest.raises(InconsistentCohort, match="the kept model is not that of the last round"):
        checked(made)


def test_another_sum_than_the_opened_one(made: Deployed) -> None:
    path = Retained(made.run).sum_file(2)
    content = bytearray(path.read_bytes())
    content[40] ^= 1
    path.write_bytes(content)
    with pytest.raises(InconsistentCohort, match=r"round 2: .* is not the sum that was opened"):
        checked(made)
    path.write_bytes(content[:-1])
    with pytest.raises(RunError, match="is not a sum"):
        checked(made)


def test_another_model_than_the_sum_gives(made: Deployed) -> None:
    with made.database() as database:
        (record,) = database.execute("SELECT record FROM rounds WHERE round = 3").fetchone()
        (other,) = database.execute("SELECT record FROM rounds WHERE round = 2").fetchone()
        database.execute("UPDATE rounds SET record = ? WHERE round = 3", (other.replace('"round": 2', '"round": 3'),))
    assert record != other
    with pytest.raises(InconsistentCohort, match="round 3: its model is not the step"):
        checked(made)


def test_another_model_was_sent_than_the_one_before(whole: Deployed) -> None:
    chain = whole.chain()
    link = chain.links[1]
    context = replace(link.record.context, payload=bytes(32))
    lied = replace(link, record=replace(link.record, context=context))
    with closing(whole.store()) as store, pytest.raises(InconsistentCohort, match="round 2: clients were sent another"):
        Replay(store).check_models(replace(chain, links=(chain.links[0], lied)))


def test_other_settings_than_the_experiments(whole: Deployed) -> None:
    chain = whole.chain()
    link = chain.links[0]
    opening = replace(link.record.opening, settings=replace(link.record.opening.settings, colluders=0))
    lied = replace(link, record=replace(link.record, opening=opening))
    with closing(whole.store()) as store, pytest.raises(InconsistentCohort, match="round 1: had other settings"):
        Replay(store).check_settings(replace(chain, links=(lied,)))
