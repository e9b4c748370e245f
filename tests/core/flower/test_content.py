"""Records as vectors and digests: whatever order they come in, and nothing left out."""

from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from leptonic.errors import DecodeError, ExperimentError
from leptonic.flower.content import change_of, model_digest, model_of, moved, payload_digest, size_of


def arrays(**values: Any) -> ArrayRecord:
    return ArrayRecord({name: Array(np.asarray(value)) for name, value in values.items()})


MODEL = arrays(b=np.float32([1, 2]), a=np.float32([[3], [4], [5]]), s=np.float32(6))


def test_the_vector_is_in_the_order_of_names_and_the_model_moves_by_it() -> None:
    after = arrays(a=np.float32([[4], [4], [4]]), s=np.float32(0), b=np.float32([1.5, 2]))
    change = change_of(MODEL, after)
    assert change.tolist() == [1, 0, -1, 0.5, 0, -6]
    assert change.dtype == np.float32
    again = moved(MODEL, change)
    assert list(again) == ["b", "a", "s"]
    assert all(np.array_equal(again[name].numpy(), after[name].numpy()) for name in after)
    assert size_of(MODEL) == 6


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_a_model_keeps_its_types(kind: Any) -> None:
    model = arrays(w=np.ones((2, 2), kind))
    assert moved(model, change_of(model, arrays(w=np.full((2, 2), 2.0))))["w"].numpy().tolist() == [[2, 2], [2, 2]]
    assert moved(model, np.zeros(4, np.float32))["w"].dtype == np.dtype(kind).name


@pytest.mark.parametrize("wrong", [np.int64(3), np.array([True]), np.complex64(1)])
def test_what_is_no_parameter_is_refused_with_its_name(wrong: Any) -> None:
    with pytest.raises(ExperimentError, match="'steps'"):
        size_of(arrays(w=np.ones(2), steps=wrong))


def test_an_array_that_cannot_be_read_is_a_bad_message() -> None:
    record = ArrayRecord({"w": Array("float32", (2,), "numpy.ndarray", b"no array")})
    with pytest.raises(DecodeError, match="'w'"):
        size_of(record)


def test_an_empty_model_and_two_models_are_refused() -> None:
    with pytest.raises(ExperimentError, match="no parameters"):
        size_of(ArrayRecord())
    with pytest.raises(ExperimentError, match="2 ArrayRecords"):
        model_of(RecordDict({"one": MODEL, "two": MODEL}))


def content(**more: Any) -> RecordDict:
    return RecordDict({"arrays": MODEL, "config": ConfigRecord({"rate": 0.5, "round": 1, **more})})


def test_the_digest_is_that_of_values_and_not_of_their_order() -> None:
    turned = RecordDict(
        {"config": ConfigRecord({"round": 1, "rate": 0.5}), "arrays": arrays(**{n: MODEL[n].numpy() for n in "sab"})}
    )
    assert payload_digest(turned) == payload_digest(content())
    assert model_digest(turned["arrays"]) == model_digest(MODEL)


@pytest.mark.parametrize(
    "other",
    [
        content(rate=0.25),
        content(round=1.0),
        content(round=True),
        content(round="1"),
        content(round=b"1"),
        content(round=[1]),
        content(more=1),
        RecordDict({**content(), "more": MetricRecord({"a": 1})}),
        RecordDict({**content(), "config": MetricRecord({"rate": 0.5, "round": 1})}),
        RecordDict({**content(), "arrays": arrays(**{n: MODEL[n].numpy().astype(np.float64) for n in MODEL})}),
        RecordDict({**content(), "arrays": arrays(b=MODEL["b"].numpy(), a=np.ones(3, np.float32), s=np.float32(6))}),
        RecordDict({**content(), "arrays": moved(MODEL, np.float32([0, 0, 0, 0, 0, 1]))}),
    ],
)
def test_whatever_differs_has_another_digest(other: RecordDict) -> None:
    assert payload_digest(other) != payload_digest(content())


def test_the_empty_string_and_no_bytes_differ() -> None:
    assert payload_digest(content(x="")) != payload_digest(content(x=b""))
