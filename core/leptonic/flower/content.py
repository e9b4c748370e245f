"""A Flower message's records as vectors and digests: the same at both sides, whatever order the records came in."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, RecordDict
from numpy.typing import NDArray

from leptonic.errors import DecodeError, ExperimentError
from leptonic.secagg.long_digest import long_digest
from leptonic.update import Vector

__all__ = ["change_of", "model_digest", "model_of", "moved", "payload_digest", "size_of"]


def model_of(content: RecordDict) -> ArrayRecord:
    """The one ArrayRecord of a message. Raises ExperimentError where there is none, or another."""
    records = list(content.array_records.values())
    if len(records) != 1:
        raise ExperimentError(
            f"a message with {len(records)} ArrayRecords: what is summed securely is one, the model's parameters"
        )
    return records[0]


def size_of(arrays: ArrayRecord) -> int:
    """Length of the vector that these arrays make. Raises ExperimentError for arrays that are no parameters."""
    size = sum(value.size for _, value in _values(arrays))
    if not size:
        raise ExperimentError("the model has no parameters: its ArrayRecord is empty")
    return size


def change_of(before: ArrayRecord, after: ArrayRecord) -> Vector:
    """What a client's work has changed: (d,) float32, the arrays in the order of their names, each in row-major order.

    Raises ExperimentError unless both have the same names and shapes.
    """
    old, new = dict(_values(before)), dict(_values(after))
    # Types may differ: some of Flower's strategies make float64 of float32, which apps turn back.
    if {name: value.shape for name, value in old.items()} != {name: value.shape for name, value in new.items()}:
        raise ExperimentError(
            "the app's reply has other arrays than the model it was sent: the same names and shapes are summed"
        )
    return np.concatenate([(new[name] - value).astype(np.float32).ravel() for name, value in old.items()])


def moved(arrays: ArrayRecord, change: Vector) -> ArrayRecord:
    """The arrays, in their own order and types, with the change added. change: (d,) float32."""
    values, at = dict[str, NDArray[Any]](), 0
    for name, value in _values(arrays):
        part = change[at : at + value.size].reshape(value.shape)
        values[name] = (value + part).astype(value.dtype)
        at += value.size
    return ArrayRecord({name: Array(np.asarray(values[name])) for name in arrays})


def model_digest(arrays: ArrayRecord) -> bytes:
    """The long digest of the parameters."""
    return long_digest(*(_bytes(value) for _, value in _values(arrays)))


def payload_digest(content: RecordDict) -> bytes:
    """The long digest of all that a message holds: every record, name, type and value."""
    described: list[Any] = []
    parts: list[memoryview] = []
    for name, record in sorted(content.items()):
        if isinstance(record, ArrayRecord):
            values = dict(_values(record))
            parts += map(_bytes, values.values())
            described.append([name, "arrays", _described(values)])
        else:
            entries = [[key, _plain(value)] for key, value in sorted(record.items())]
            described.append([name, type(record).__name__, entries])
    return long_digest(json.dumps(described, separators=(",", ":")).encode(), *parts)


def _values(arrays: ArrayRecord) -> Iterator[tuple[str, NDArray[Any]]]:
    """The arrays by name, in the order of their names."""
    for name in sorted(arrays):
        try:
            value = arrays[name].numpy()
        except (TypeError, ValueError) as error:
            raise DecodeError(f"array {name!r} cannot be read: {error}") from None
        if value.dtype.kind != "f" or value.dtype.itemsize > 8:
            raise ExperimentError(
                f"array {name!r} is of type {value.dtype}: what is summed securely are parameters in floating point; "
                "leave counters and other state of the model out of the ArrayRecord (GroupNorm has none, for one)"
            )
        yield name, np.asarray(value, value.dtype.newbyteorder("<"))


def _described(values: dict[str, NDArray[Any]]) -> list[list[object]]:
    return [[name, value.dtype.str, list(value.shape)] for name, value in values.items()]


def _bytes(value: NDArray[Any]) -> memoryview:
    return memoryview(value.tobytes())


def _plain(value: object) -> object:
    """The value for JSON, such that values of different types differ."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return {"bytes": value.hex()} if isinstance(value, bytes) else value
