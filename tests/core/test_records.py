"""Messages round-trip, and everything that is not exactly a message is refused by name."""

import hashlib
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flwr.app import ConfigRecord, MetricRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from leptonic.errors import BadSignature, DecodeError, ProtocolError, VersionMismatch
from leptonic.records import own_of, pack, record_bytes, unpack, verify
from leptonic.wire import PROTOCOL, Payload, Reply, Request

RUN, EXPERIMENT = "0123456789abcdef", "ab" * 32
CONTENT = b"\x00\x01 update"
NUMBERS: dict[str, Any] = {"run": RUN, "experiment": EXPERIMENT, "round": 3, "step": "train", "attempt": 1, "client": 5}

KEY, OTHER = Ed25519PrivateKey.from_private_bytes(bytes(32)), Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)


def public(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


def described(content: bytes) -> Payload:
    return Payload(kind="inline", length=len(content), sha256=hashlib.sha256(content).hexdigest())


def request(content: bytes = CONTENT, **changes: Any) -> Request:
    return Request(**{**NUMBERS, "payload": described(content), **changes})


def reply(content: bytes = CONTENT, **changes: Any) -> Reply:
    return Reply(**{**NUMBERS, "payload": described(content), "status": "done", **changes})


def fields(message: RecordDict) -> ConfigRecord:
    """The one record of a message."""
    (record,) = message.values()
    assert isinstance(record, ConfigRecord)
    return record


def header_of(message: RecordDict) -> dict[str, Any]:
    encoded = fields(message)["header"]
    assert isinstance(encoded, bytes)
    content = json.loads(encoded)
    assert isinstance(content, dict)
    return content


def with_header(message: RecordDict, encoded: bytes) -> RecordDict:
    fields(message)["header"] = encoded
    return message


def altered(message: RecordDict, **changes: Any) -> RecordDict:
    """The message with some fields of its header replaced; ``...`` removes one."""
    content = header_of(message)
    for name, value in changes.items():
        if value is ...:
            content.pop(name)
        else:
            content[name] = value
    return with_header(message, json.dumps(content, separators=(",", ":")).encode())


def test_a_request_round_trips() -> None:
    sent = request(counted=2)
    assert unpack(pack(sent, content=CONTENT), Request) == (sent, CONTENT)


def test_a_reply_round_trips_with_all_its_fields() -> None:
    sent = reply(
        status="refused", name="clinic", key=public(KEY), detail="nö\x00 \u2028", seconds=1.25, epsilon=0.1 + 0.2
    )
    assert unpack(pack(sent, content=CONTENT, key=KEY), Reply) == (sent, CONTENT)


@given(
    content=st.binary(max_size=300),
    numbers=st.tuples(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1), st.integers(-1, 2**31 - 1)),
    detail=st.text(st.characters(exclude_categories=["Cs"]), max_size=100),
    seconds=st.floats(0, allow_nan=False, allow_infinity=False),
)
def test_whatever_is_packed_is_unpacked(
    content: bytes, numbers: tuple[int, int, int], detail: str, seconds: float
) -> None:
    number, attempt, client = numbers
    sent = reply(content, round=number, attempt=attempt, client=client, detail=detail, seconds=seconds)
    message = pack(sent, content=content, key=KEY)
    verify(message, public(KEY), "clinic")
    assert unpack(message, Reply) == (sent, content)


@pytest.mark.parametrize("kind", ["memory", "objects"])
def test_a_payload_elsewhere_does_not_travel_beside_the_header(kind: Any) -> None:
    sent = request(payload=Payload(kind=kind, length=10**9, parts=["ab" * 32, "cd" * 32]))
    message = pack(sent, content=CONTENT)
    assert CONTENT not in [value for value in fields(message).values() if isinstance(value, bytes)]
    assert unpack(message, Request) == (sent, b"")


def test_the_record_survives_flowers_own_copy() -> None:
    message = pack(reply(), content=CONTENT, key=KEY)
    copy = RecordDict({name: ConfigRecord(dict(record)) for name, record in message.items()})
    verify(copy, public(KEY), "clinic")
    assert unpack(copy, Reply)[1] == CONTENT


def test_record_bytes_counts_what_travels() -> None:
    message = pack(reply(), content=CONTENT, key=KEY)
    header = fields(message)["header"]
    assert isinstance(header, bytes)
    assert record_bytes(message) == len(header) + 64 + len(CONTENT)


def test_a_field_that_is_unknown_is_refused() -> None:
    with pytest.raises(DecodeError):
        unpack(altered(pack(request(), content=CONTENT), extra=1), Request)


def test_a_field_of_the_payload_that_is_unknown_is_refused() -> None:
    message = pack(request(), content=CONTENT)
    payload = {**header_of(message)["payload"], "extra": 1}
    with pytest.raises(DecodeError):
        unpack(altered(message, payload=payload), Request)


@pytest.mark.parametrize("name", ["run", "experiment", "round", "step", "attempt", "client", "payload"])
def test_a_field_that_is_missing_is_refused(name: str) -> None:
    with pytest.raises(DecodeError, match=name):
        unpack(altered(pack(request(), content=CONTENT), **{name: ...}), Request)


def test_a_header_that_does_not_say_its_version_is_refused() -> None:
    """Invariant 7: the version is checked. Silence must not count as this side's version."""
    with pytest.raises((DecodeError, VersionMismatch)):
        unpack(altered(pack(request(), content=CONTENT), protocol=...), Request)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("run", "../../etc"),
        ("run", ""),
        ("run", "x" * 65),
        ("run", RUN + "\n"),
        ("run", 5),
        ("experiment", "AB" * 32),
        ("experiment", "ab" * 31),
        ("experiment", "ab" * 32 + "\n"),
        ("round", -1),
        ("round", "3"),
        ("round", 3.0),
        ("round", True),
        ("round", None),
        ("round", 2**63),
        ("attempt", -1),
        ("attempt", 1.5),
        ("client", -2),
        ("client", 2**31),
        ("client", "5"),
        ("counted", -1),
        ("step", "steal"),
        ("step", ["train"]),
        ("payload", None),
        ("payload", []),
        ("protocol", 1),
    ],
)
def test_a_field_of_the_wrong_kind_is_refused(name: str, value: Any) -> None:
    with pytest.raises(DecodeError, match=name):
        unpack(altered(pack(request(), content=CONTENT), **{name: value}), Request)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("status", "fine"),
        ("status", ...),
        ("seconds", -1.0),
        ("seconds", "1"),
        ("epsilon", -0.1),
        ("key", "zz" * 32),
        ("key", public(KEY)[:-2]),
        ("detail", "x" * 4097),
        ("name", "x" * 65),
        ("counted", 1),
    ],
)
def test_a_field_of_a_reply_of_the_wrong_kind_is_refused(name: str, value: Any) -> None:
    with pytest.raises(DecodeError, match=name):
        unpack(altered(pack(reply(), content=CONTENT), **{name: value}), Reply)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("name", ["seconds", "epsilon"])
def test_a_number_that_is_not_finite_is_refused(name: str, number: str) -> None:
    message = altered(pack(reply(), content=CONTENT), **{name: 0.123456})
    encoded = fields(message)["header"]
    assert isinstance(encoded, bytes)
    with pytest.raises(DecodeError):
        unpack(with_header(message, encoded.replace(b"0.123456", number.encode())), Reply)


def test_a_request_is_no_reply_and_a_reply_no_request() -> None:
    with pytest.raises(DecodeError):
        unpack(pack(request(), content=CONTENT), Reply)
    with pytest.raises(DecodeError):
        unpack(pack(reply(), content=CONTENT), Request)


@pytest.mark.parametrize(
    "encoded", [b"", b"null", b"[]", b"{", b"{}", b"\xff\xfe", b"\x80\x04K\x01.", b'"text"', b"[" * 5000]
)
def test_bytes_that_are_no_header_are_refused(encoded: bytes) -> None:
    with pytest.raises(DecodeError):
        unpack(with_header(pack(request(), content=CONTENT), encoded), Request)


@pytest.mark.parametrize("tail", [b"{}", b"x", b"\x00", b" ", b"\n"])
def test_bytes_left_over_after_the_header_are_refused(tail: bytes) -> None:
    """Invariant 7, and the module's own word: a header is canonical JSON, which has one spelling."""
    message = pack(request(), content=CONTENT)
    encoded = fields(message)["header"]
    assert isinstance(encoded, bytes)
    with pytest.raises(DecodeError):
        unpack(with_header(message, encoded + tail), Request)


def test_a_key_that_stands_twice_is_refused() -> None:
    """Two readers could take different ones."""
    message = pack(request(), content=CONTENT)
    encoded = fields(message)["header"]
    assert isinstance(encoded, bytes)
    assert b'"round":3' in encoded
    with pytest.raises(DecodeError):
        unpack(with_header(message, encoded.replace(b'"round":3', b'"round":9,"round":3')), Request)


def test_a_huge_header_is_refused_for_its_size_alone() -> None:
    message = with_header(pack(request(), content=CONTENT), b"{" + b" " * 70_000)
    with pytest.raises(DecodeError, match="70001"):
        unpack(message, Request)


def test_a_header_that_the_receiver_would_refuse_is_not_sent() -> None:
    """So many parts make a header of over 64 KiB: the sender hears of it, not the other side."""
    huge = Payload(kind="objects", length=1, parts=["ab" * 32] * 2000)
    with pytest.raises(ProtocolError):
        pack(request(payload=huge))


@pytest.mark.parametrize("version", ["leptonic/2", "leptonic/1.1", "leptonic", "", "LEPTONIC/1"])
def test_another_version_is_told_as_such(version: str) -> None:
    with pytest.raises(VersionMismatch, match=PROTOCOL):
        unpack(altered(pack(request(), content=CONTENT), protocol=version), Request)


def test_another_version_is_told_as_such_even_if_its_header_has_other_fields() -> None:
    """Why a version exists: the next one will have fields that this one does not know."""
    message = altered(pack(request(), content=CONTENT), protocol="leptonic/2", new_field=1, counted=...)
    with pytest.raises(VersionMismatch):
        unpack(message, Request)


def test_an_empty_message_is_refused() -> None:
    with pytest.raises(DecodeError):
        unpack(RecordDict(), Request)
    with pytest.raises(DecodeError):
        verify(RecordDict(), public(KEY), "clinic")


def test_a_second_record_is_refused() -> None:
    message = pack(request(), content=CONTENT)
    message["more"] = ConfigRecord({"x": 1})
    with pytest.raises(DecodeError):
        unpack(message, Request)


def test_a_record_of_another_name_or_kind_is_refused() -> None:
    message = pack(request(), content=CONTENT)
    (name,) = message
    with pytest.raises(DecodeError):
        unpack(RecordDict({"other": fields(message)}), Request)
    with pytest.raises(DecodeError):
        unpack(RecordDict({name: MetricRecord({"header": 1})}), Request)


def test_a_missing_header_is_refused() -> None:
    message = pack(request(), content=CONTENT)
    del fields(message)["header"]
    with pytest.raises(DecodeError):
        unpack(message, Request)


@pytest.mark.parametrize("value", ["text", 5, 1.5, [b"a"], True])
@pytest.mark.parametrize("name", ["header", "payload", "signature"])
def test_a_part_that_is_not_bytes_is_refused(name: str, value: Any) -> None:
    message = pack(request(), content=CONTENT)
    fields(message)[name] = value
    with pytest.raises(DecodeError):
        unpack(message, Request)


def test_an_unknown_part_is_refused() -> None:
    message = pack(request(), content=CONTENT)
    fields(message)["more"] = b""
    with pytest.raises(DecodeError):
        unpack(message, Request)


@pytest.mark.parametrize(
    "payload", [b"", CONTENT[:-1], CONTENT + b"\x00", CONTENT[::-1], bytes(len(CONTENT)), b"\x01\x00 update"]
)
def test_a_payload_that_is_not_the_one_in_the_header_is_refused(payload: bytes) -> None:
    message = pack(request(), content=CONTENT)
    fields(message)["payload"] = payload
    with pytest.raises(DecodeError):
        unpack(message, Request)


@pytest.mark.parametrize(
    "payload",
    [
        Payload(kind="inline", length=len(CONTENT) + 1, sha256=hashlib.sha256(CONTENT).hexdigest()),
        Payload(kind="inline", length=len(CONTENT), sha256="00" * 32),
        Payload(kind="inline", length=len(CONTENT), sha256=None),
    ],
)
def test_a_header_that_does_not_fit_its_payload_is_refused(payload: Payload) -> None:
    with pytest.raises(DecodeError):
        unpack(pack(request(payload=payload), content=CONTENT), Request)


def test_a_missing_payload_is_refused() -> None:
    message = pack(request(), content=CONTENT)
    del fields(message)["payload"]
    with pytest.raises(DecodeError):
        unpack(message, Request)


@pytest.mark.parametrize("kind", ["memory", "objects"])
def test_a_payload_in_two_places_is_refused(kind: Any) -> None:
    message = pack(request(payload=Payload(kind=kind, length=len(CONTENT), parts=["ab" * 32])))
    fields(message)["payload"] = CONTENT
    with pytest.raises(DecodeError):
        unpack(message, Request)


def test_an_unknown_kind_or_a_negative_length_of_payload_is_refused() -> None:
    for change in ({"kind": "disk"}, {"length": -1}, {"length": "9"}, {"parts": "ab"}, {"parts": [1]}, {"sha256": "x"}):
        message = pack(request(), content=CONTENT)
        with pytest.raises(DecodeError):
            unpack(altered(message, payload={**header_of(message)["payload"], **change}), Request)


def test_a_good_signature_is_accepted() -> None:
    verify(pack(reply(), content=CONTENT, key=KEY), public(KEY), "clinic")


def test_a_missing_signature_is_refused_and_names_who() -> None:
    with pytest.raises(BadSignature, match="clinic"):
        verify(pack(reply(), content=CONTENT), public(KEY), "clinic")


def test_another_clients_key_is_refused() -> None:
    with pytest.raises(BadSignature):
        verify(pack(reply(), content=CONTENT, key=OTHER), public(KEY), "clinic")


def test_the_key_that_a_reply_names_itself_is_not_believed() -> None:
    with pytest.raises(BadSignature):
        verify(pack(reply(key=public(OTHER)), content=CONTENT, key=OTHER), public(KEY), "clinic")


@pytest.mark.parametrize("forgery", [b"", bytes(64), b"\x00" * 63, b"\x00" * 65, b"\xff" * 64])
def test_a_forged_signature_is_refused(forgery: bytes) -> None:
    message = pack(reply(), content=CONTENT, key=KEY)
    fields(message)["signature"] = forgery
    with pytest.raises(BadSignature):
        verify(message, public(KEY), "clinic")


@pytest.mark.parametrize("value", ["text", 5, [b"a"]])
def test_a_signature_that_is_not_bytes_is_refused(value: Any) -> None:
    message = pack(reply(), content=CONTENT, key=KEY)
    fields(message)["signature"] = value
    with pytest.raises(BadSignature):
        verify(message, public(KEY), "clinic")


@given(position=st.integers(0, 10**6), flip=st.integers(1, 255))
def test_one_changed_byte_of_the_header_breaks_the_signature(position: int, flip: int) -> None:
    message = pack(reply(), content=CONTENT, key=KEY)
    encoded = fields(message)["header"]
    assert isinstance(encoded, bytes)
    place = position % len(encoded)
    changed = encoded[:place] + bytes([encoded[place] ^ flip]) + encoded[place + 1 :]
    with pytest.raises(BadSignature):
        verify(with_header(message, changed), public(KEY), "clinic")


def test_a_bare_signature_over_the_header_alone_is_refused() -> None:
    """Signatures are made for replies: one that the key made over the same bytes for another use is none."""
    message = pack(reply(), content=CONTENT, key=KEY)
    encoded = fields(message)["header"]
    assert isinstance(encoded, bytes)
    fields(message)["signature"] = KEY.sign(encoded)
    with pytest.raises(BadSignature):
        verify(message, public(KEY), "clinic")


def test_an_inline_payload_is_bound_by_the_signed_header() -> None:
    """The signature still fits, and the payload is refused: together nothing can be exchanged."""
    message = pack(reply(), content=CONTENT, key=KEY)
    fields(message)["payload"] = b"\x00\x02 update"
    verify(message, public(KEY), "clinic")
    with pytest.raises(DecodeError):
        unpack(message, Reply)


def test_the_names_of_a_payload_elsewhere_are_bound_by_the_signature() -> None:
    message = pack(reply(payload=Payload(kind="objects", length=9, parts=["ab" * 32])), key=KEY)
    payload = {**header_of(message)["payload"], "parts": ["cd" * 32]}
    with pytest.raises(BadSignature):
        verify(altered(message, payload=payload), public(KEY), "clinic")


@pytest.mark.parametrize("key", ["", "zz", "00" * 31, "00" * 33])
def test_a_roster_key_that_is_none_verifies_nothing(key: str) -> None:
    with pytest.raises(BadSignature):
        verify(pack(reply(), content=CONTENT, key=KEY), key, "clinic")


def test_a_reply_answers_its_request() -> None:
    assert reply().answers(request())
    assert reply(status="failed", payload=described(b"")).answers(request(counted=2))


def test_what_is_for_one_client_alone_travels_beside_what_is_for_all() -> None:
    asked = request(own=described(b"for you"))
    message = pack(asked, content=CONTENT, own=b"for you")
    assert unpack(message, Request) == (asked, CONTENT)
    assert own_of(message) == b"for you"
    assert own_of(pack(request(), content=CONTENT)) == b""


@pytest.mark.parametrize("own", [b"", b"for him", b"for you too"])
def test_another_own_part_than_the_header_says_is_refused(own: bytes) -> None:
    message = pack(request(own=described(b"for you")), content=CONTENT, own=own)
    with pytest.raises(DecodeError, match="does not match its header"):
        unpack(message, Request)


def test_an_own_part_that_no_header_names_is_refused() -> None:
    message = pack(request(), content=CONTENT)
    fields(message)["own"] = b"for you"
    with pytest.raises(DecodeError):
        unpack(message, Request)
    answered = pack(reply(), content=CONTENT, key=KEY)
    fields(answered)["own"] = b"for you"
    with pytest.raises(DecodeError):
        unpack(answered, Reply)
