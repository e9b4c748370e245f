"""Headers: what they say of a request, and the bytes they take."""

from typing import Any

import pytest

from leptonic.errors import DecodeError
from leptonic.wire import HEADER_LIMIT, Payload, Reply, Request, header_bytes, inline

NUMBERS: dict[str, Any] = {
    "run": "0123456789abcdef",
    "experiment": "ab" * 32,
    "round": 3,
    "step": "train",
    "attempt": 1,
    "client": 5,
}


def request(**changes: Any) -> Request:
    return Request(**{**NUMBERS, "payload": inline(b"update"), **changes})


def reply(**changes: Any) -> Reply:
    return Reply(**{**NUMBERS, "payload": inline(b"update"), "status": "done", **changes})


def test_header_bytes_are_the_header() -> None:
    assert Request.model_validate_json(header_bytes(request())) == request()
    assert Reply.model_validate_json(header_bytes(reply())) == reply()


def test_a_header_with_too_many_parts_is_refused() -> None:
    parts = ["ab" * 32] * (HEADER_LIMIT // 64)
    with pytest.raises(DecodeError, match="too many parts"):
        header_bytes(request(payload=Payload(kind="objects", length=1, parts=parts)))


@pytest.mark.parametrize(
    "other",
    [
        {"run": "fedcba9876543210"},
        {"experiment": "cd" * 32},
        {"round": 2},
        {"round": 4},
        {"step": "evaluate"},
        {"attempt": 2},
        {"client": 4},
    ],
)
def test_a_reply_replayed_for_another_request_does_not_answer_it(other: dict[str, Any]) -> None:
    assert not reply().answers(request(**other))
    assert not reply(**other).answers(request())
