"""What secure aggregation adds to a Flower app's messages: one ConfigRecord, and the masked input's bytes."""

from typing import Final

from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from leptonic.errors import DecodeError

__all__ = ["MASKED", "RECORD", "STEPS", "content_of", "masked_of", "reply_of", "request_of", "step_of"]

RECORD: Final = "leptonic-secagg"
"""Name of the record that both directions carry."""
MASKED: Final = "leptonic-masked"
"""Name of the ArrayRecord with a masked input, and of the array in it."""
STEPS: Final = ("open", "share", "train", "agree", "unmask", "abort")
_SERIAL = "leptonic/1"


def request_of(step: str, content: bytes, **more: bytes) -> ConfigRecord:
    """What a client is asked. more: the terms, the roster, the secret of simulated keys."""
    return ConfigRecord({"step": step, "content": content, **more})


def reply_of(content: bytes, masked: bytes | None = None) -> RecordDict:
    """What a client answers. masked: its masked input."""
    records = RecordDict({RECORD: ConfigRecord({"content": content})})
    if masked is not None:
        records[MASKED] = ArrayRecord({MASKED: Array("uint8", (len(masked),), _SERIAL, masked)})
    return records


def step_of(record: ConfigRecord) -> str:
    """The step that is asked for. Raises DecodeError for one that nobody knows."""
    step = record.get("step")
    if step not in STEPS:
        raise DecodeError(f"a step of secure aggregation that nobody knows: {step!r}")
    return str(step)


def content_of(record: ConfigRecord | None, key: str = "content") -> bytes:
    """One of a record's byte strings. Raises DecodeError if it has none."""
    value = record.get(key) if record is not None else None
    if not isinstance(value, bytes):
        raise DecodeError(f"a message of secure aggregation without its {key!r}")
    return value


def masked_of(content: RecordDict) -> bytes:
    """The masked input of a reply. Raises DecodeError if it has none."""
    record = content.array_records.get(MASKED)
    if record is None or MASKED not in record or record[MASKED].stype != _SERIAL:
        raise DecodeError("a reply without a masked input")
    return bytes(record[MASKED].data)
