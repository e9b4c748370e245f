"""Terms: one encoding for each, lengths that fit a session, and keys that everybody can derive in a simulation."""

from typing import Any

import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from leptonic.errors import BelowThreshold, DecodeError, ExperimentError, InconsistentCohort
from leptonic.experiment import SecureAggregation
from leptonic.flower.simulated import authority_key, client_key, folder_of, name_of, office_of
from leptonic.flower.terms import Terms
from leptonic.flower.wire import MASKED, RECORD, content_of, masked_of, reply_of, request_of, step_of
from leptonic.secagg.binding import bound, hashed, verified
from leptonic.secagg.encoding import decoded, encoded


def terms(**changes: Any) -> Terms:
    return Terms.of(
        **{"update_range": 8.0, "weight_cap": 100, "weighted_by": "num-examples", "metrics": ["b", "a"], **changes}
    )


def test_terms_come_back_and_each_has_a_name_of_its_own() -> None:
    assert decoded(Terms, encoded(terms())) == terms()
    assert terms().metric_names == ("a", "b")
    others = [{"update_range": 4.0}, {"weight_cap": 99}, {"weighted_by": "n"}, {"metrics": ["a"]}]
    assert len({hashed(terms(**changes)) for changes in [{}, *others]}) == 5
    with pytest.raises(DecodeError):
        encoded(terms(weighted_by="n" * 65))


def test_settings_are_those_of_an_experiment() -> None:
    settings = terms().settings(SecureAggregation(), words=650, invited=10)
    assert (settings.words, settings.sums, settings.bits, settings.invited) == (650, 6, 32, 10)
    assert (settings.lying, settings.colluders, settings.minimum) == (1, 3, 7)
    pipeline = terms().pipeline(settings)
    assert (len(pipeline.zero().words), len(pipeline.zero().scalars)) == (650, 6)
    with pytest.raises(BelowThreshold):
        terms().settings(SecureAggregation(), words=650, invited=2)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"metrics": []}, InconsistentCohort),
        ({"weight_cap": 0}, InconsistentCohort),
        ({"update_range": 0.0}, ExperimentError),
        ({"update_range": float("nan")}, ExperimentError),
        ({"update_range": float("inf")}, ExperimentError),
        ({"update_range": -1.0}, ExperimentError),
    ],
)
def test_terms_that_do_not_fit_the_session_make_no_encoding(changes: Any, error: type[Exception]) -> None:
    settings = terms().settings(SecureAggregation(), words=5, invited=3)
    with pytest.raises(error):
        terms(**changes).pipeline(settings)


def test_simulated_keys_are_those_of_the_seed() -> None:
    seed = bytes(range(32))
    coordinator, roster = office_of(seed, [5, 2, 11], version=3)
    assert list(roster.keys) == [b"node-11", b"node-2", b"node-5"]
    assert roster.keys[name_of(2)] == client_key(seed, name_of(2)).public_key().public_bytes_raw()
    assert roster.content.coordinator == coordinator.public_key().public_bytes_raw()
    authority = authority_key(seed).public_key().public_bytes_raw()
    verified(authority, roster.signed.signature, bound(roster.content), b"authority")
    assert folder_of(seed) != folder_of(bytes(32))
    assert seed.hex() not in str(folder_of(seed))


def test_what_is_no_message_of_the_protocol_is_refused() -> None:
    assert step_of(request_of("open", b"content")) == "open"
    assert content_of(reply_of(b"content")[RECORD]) == b"content"
    assert masked_of(reply_of(b"header", b"masked")) == b"masked"
    for record in (ConfigRecord({}), ConfigRecord({"step": 1}), ConfigRecord({"step": "other"})):
        with pytest.raises(DecodeError):
            step_of(record)
    for wrong in (None, ConfigRecord({}), ConfigRecord({"content": "text"})):
        with pytest.raises(DecodeError):
            content_of(wrong)
    other = ArrayRecord({MASKED: Array("uint8", (1,), "numpy.ndarray", b"x")})
    for records in (RecordDict(), RecordDict({MASKED: ArrayRecord()}), RecordDict({MASKED: other})):
        with pytest.raises(DecodeError):
            masked_of(records)
