"""Entries have one spelling, and come back as they were; anything else is refused."""

import json
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.privacy.ledger.samples import COSTS, STEP, UNPROTECTED, charge

from leptonic.errors import DecodeError
from leptonic.privacy.ledger import Cost
from leptonic.privacy.ledger.entries import Reserve, Settle, decode, encode, link
from leptonic.privacy.mechanisms import Mechanism, SampledGaussian

TIME = "2026-01-02T03:04:05+00:00"


def entry(cost: Cost = STEP, **more: Any) -> Reserve:
    return Reserve.of(charge(1, cost=cost, **more), time=TIME, lineage="ward", attempt=1)


@pytest.mark.parametrize("cost", [*COSTS, UNPROTECTED])
def test_a_reservation_comes_back_with_mechanism_and_curve(cost: Cost) -> None:
    back = decode(encode(entry(cost, session="ab", purpose="research", server="key")))
    assert isinstance(back, Reserve)
    assert (back.cost, back.renyi) == (cost, cost.curve)
    assert (back.session, back.purpose, back.server, back.run, back.client) == ("ab", "research", "key", "run-a", 3)


@given(noise=st.floats(1e-3, 1e3), rate=st.floats(1e-6, 1), steps=st.integers(1, 10**6))
def test_every_float_comes_back_to_the_last_bit(noise: float, rate: float, steps: int) -> None:
    cost = Cost(SampledGaussian(noise, rate), steps, unit="example", adjacency="add_remove")
    back = decode(encode(entry(cost)))
    assert isinstance(back, Reserve)
    assert (back.cost, back.renyi) == (cost, cost.curve)


@pytest.mark.parametrize(
    "change",
    [
        {"unit": "group"},
        {"adjacency": "replace"},
        {"round": -1},
        {"round": 1.0},
        {"round": "1"},
        {"attempt": 0},
        {"kind": "refund"},
        {"time": "yesterday"},
        {"session": "no hexadecimal"},
        {"mechanism": "laplace"},
        {"mechanism": None},
        {"parameters": {"noise_multiplier": 1.0}},
        {"parameters": {"noise_multiplier": 1.0, "sample_rate": 1}},
        {"parameters": {"noise_multiplier": -1.0, "sample_rate": 0.1}},
        {"parameters": {"noise_multiplier": 1.0, "sample_rate": 0.1, "extra": 1.0}},
        {"curve": [0.0]},
        {"extra": 1},
    ],
    ids=str,
)
def test_an_entry_that_is_not_one_is_refused(change: dict[str, Any]) -> None:
    content = json.loads(encode(entry())) | change
    with pytest.raises(DecodeError):
        decode(json.dumps(content, sort_keys=True, separators=(",", ":")).encode())


@pytest.mark.parametrize("value", [-1e-9, float("nan"), float("inf"), "0", True])
def test_a_curve_of_anything_but_numbers_is_refused(value: object) -> None:
    content = json.loads(encode(entry()))
    content["curve"][5] = value
    with pytest.raises(DecodeError):
        decode(json.dumps(content, sort_keys=True, separators=(",", ":")).encode())


@pytest.mark.parametrize("again", [b" ", b"\n"])
def test_another_spelling_is_refused(again: bytes) -> None:
    content = encode(Settle(time=TIME, reservation=2, outcome="left"))
    assert decode(content)
    with pytest.raises(DecodeError, match="canonical"):
        decode(content + again)
    with pytest.raises(DecodeError, match="canonical"):
        decode(content.replace(b'"left"', b'"\\u006ceft"'))
    with pytest.raises(DecodeError, match="canonical"):
        decode(content.replace(b'{"kind"', b'{"kind":"settle","kind"'))


@given(st.binary(max_size=64))
def test_other_bytes_are_refused(content: bytes) -> None:
    with pytest.raises(DecodeError):
        decode(content)


def test_every_mechanism_can_be_written_down() -> None:
    assert {type(cost.mechanism) for cost in COSTS} == set(get_args(Mechanism))


def test_a_hash_depends_on_content_and_on_what_was_before() -> None:
    one = link(bytes(32), b"content")
    assert len({one, link(b"\1" * 32, b"content"), link(bytes(32), b"contents"), link(one, b"content")}) == 4
