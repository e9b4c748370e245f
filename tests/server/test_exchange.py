"""One step with a cohort: who is counted, and what late, lost, forged, replayed and malformed replies do to it."""

import math
import time
from collections.abc import Callable
from typing import Any

import pytest
from flwr.app import ConfigRecord, Error, RecordDict
from hypothesis import given
from hypothesis import strategies as st
from tests.server.scripted import (
    Script,
    ScriptedGrid,
    ScriptedMembers,
    answering,
    key_of,
    public,
    reply_to,
    silent,
)

from leptonic.errors import DecodeError
from leptonic.wire import INLINE_LIMIT, Request
from leptonic_server import exchange as exchange_module
from leptonic_server.exchange import Asked, Exchange
from leptonic_server.store import ClientRecord

RUN, EXPERIMENT = "0123456789abcdef", "ab" * 32
LENGTH = 8
NODE = 100
"""Client c is at node NODE + c, until a test moves it."""


class Step:
    """One step over scripted clients: what was taken, and what became of everyone."""

    def __init__(self, count: int) -> None:
        self.grid = ScriptedGrid()
        self.members = ScriptedMembers(
            {client: NODE + client for client in range(count)},
            {client: public(key_of(client)) for client in range(count)},
        )
        self.taken: dict[int, bytes] = {}
        self.told: list[ClientRecord] = []
        self.expected = LENGTH
        self.exchange = Exchange(self.grid, self.members, run=RUN, experiment=EXPERIMENT)
        for client in range(count):
            self.script(client, answering(bytes([client] * LENGTH), client))

    def script(self, client: int, script: Script) -> None:
        self.grid.scripts[NODE + client] = script

    def take(self, client: int, content: bytes | memoryview) -> None:
        if len(content) != LENGTH:
            raise DecodeError(f"a contribution of {len(content)} bytes")
        assert client not in self.taken
        self.taken[client] = bytes(content)

    def ask(self, content: bytes = b"model", **changes: Any) -> Asked:
        arguments: dict[str, Any] = {
            "round_number": 3,
            "attempt": 1,
            "cohort": list(self.members.nodes),
            "counted": {},
            "expected": self.expected,
            "wanted": len(self.members.nodes),
            "deadline": 5.0,
            "take": self.take,
            "on_client": self.told.append,
        }
        return self.exchange.ask("train", content=content, **{**arguments, **changes})


def statuses(asked: Asked) -> dict[int, str]:
    return {client: record.status for client, record in asked.records.items()}


def test_everyone_is_asked_and_counted() -> None:
    step = Step(3)
    asked = step.ask(counted={1: 2})
    assert statuses(asked) == dict.fromkeys(range(3), "counted")
    assert step.taken == {client: bytes([client] * LENGTH) for client in range(3)}
    assert sorted(asked.counted) == [0, 1, 2]
    assert {request.client: request.counted for _, request in step.grid.asked} == {0: 0, 1: 2, 2: 0}
    assert [record.client for record in step.told] == [0, 1, 2]


def test_a_step_ends_at_its_deadline_without_the_silent() -> None:
    step = Step(3)
    step.script(1, silent)
    started = time.monotonic()
    asked = step.ask(deadline=0.2)
    assert 0.2 <= time.monotonic() - started < 1.0
    assert statuses(asked) == {0: "counted", 1: "late", 2: "counted"}
    assert len(step.grid.abandoned) == 1


def test_no_more_are_taken_than_are_wanted() -> None:
    step = Step(5)
    asked = step.ask(wanted=3)
    assert len(asked.counted) == len(step.taken) == 3
    assert sorted(statuses(asked).values()) == ["counted"] * 3 + ["late"] * 2


def test_over_selection_makes_up_for_a_failure() -> None:
    step = Step(4)
    step.script(0, answering(b"", 0, status="failed", detail="disk full"))
    asked = step.ask(wanted=3)
    assert statuses(asked) == {0: "failed", 1: "counted", 2: "counted", 3: "counted"}
    assert asked.records[0].detail == "disk full"


@pytest.mark.parametrize("status", ["failed", "refused"])
def test_a_clients_error_is_recorded_and_nothing_is_taken(status: str) -> None:
    step = Step(2)
    step.script(0, answering(bytes(LENGTH), 0, status=status, detail="why"))
    asked = step.ask()
    assert statuses(asked) == {0: status, 1: "counted"}
    assert list(step.taken) == [1]


def test_a_message_that_the_link_lost_is_lost() -> None:
    step = Step(2)
    step.script(0, lambda *_: [Error(code=3, reason="node is gone")])
    asked = step.ask()
    assert statuses(asked) == {0: "lost", 1: "counted"}
    assert asked.records[0].detail == "node is gone"


def test_a_client_that_is_not_reachable_is_lost_and_not_waited_for() -> None:
    step = Step(3)
    del step.members.nodes[1]
    asked = step.ask(cohort=[0, 1, 2], wanted=3)
    assert statuses(asked) == {0: "counted", 1: "lost", 2: "counted"}


Lie = Callable[[Request], Any]
LIES: dict[str, Lie] = {
    "signed by another client": lambda r: reply_to(r, bytes(LENGTH), signer=key_of(1)),
    "not signed": lambda r: reply_to(r, bytes(LENGTH), signer=None),
    "of another round": lambda r: reply_to(r, bytes(LENGTH), signer=key_of(0), round=r.round - 1),
    "of another attempt": lambda r: reply_to(r, bytes(LENGTH), signer=key_of(0), attempt=r.attempt + 1),
    "of another client": lambda r: reply_to(r, bytes(LENGTH), signer=key_of(0), client=1),
    "of another run": lambda r: reply_to(r, bytes(LENGTH), signer=key_of(0), run="f" * 16),
    "of another experiment": lambda r: reply_to(r, bytes(LENGTH), signer=key_of(0), experiment="cd" * 32),
    "of another step": lambda r: reply_to(r, bytes(LENGTH), signer=key_of(0), step="evaluate"),
    "too short": lambda r: reply_to(r, bytes(LENGTH - 1), signer=key_of(0)),
    "too long": lambda r: reply_to(r, bytes(LENGTH + 1), signer=key_of(0)),
    "empty": lambda r: reply_to(r, b"", signer=key_of(0)),
    "no message of ours": lambda r: RecordDict({"other": ConfigRecord({"header": b"{}"})}),
    "a header of numbers": lambda r: RecordDict({"leptonic": ConfigRecord({"header": [1, 2]})}),
    "a payload that is nowhere": lambda r: reply_to(
        r, signer=key_of(0), payload={"kind": "memory", "length": LENGTH, "parts": ["no such"]}
    ),
    "a payload without a name": lambda r: reply_to(
        r, signer=key_of(0), payload={"kind": "objects", "length": LENGTH, "parts": []}
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_invalid_and_harms_no_other(lie: str) -> None:
    step = Step(3)
    step.script(0, lambda request, _: [LIES[lie](request)])
    asked = step.ask(deadline=0.5)
    assert statuses(asked) == {0: "invalid", 1: "counted", 2: "counted"}
    assert sorted(step.taken) == [1, 2]


def test_a_payload_that_is_changed_on_the_way_is_invalid() -> None:
    step = Step(2)

    def changed(request: Request, _: bytes) -> list[Any]:
        message = reply_to(request, bytes(LENGTH), signer=key_of(0))
        record = message["leptonic"]
        assert isinstance(record, ConfigRecord)
        record["payload"] = b"\x01" * LENGTH
        return [message]

    step.script(0, changed)
    assert statuses(step.ask()) == {0: "invalid", 1: "counted"}


@given(junk=st.dictionaries(st.sampled_from(["header", "signature", "payload", "x"]), st.binary(max_size=40)))
def test_junk_is_invalid(junk: dict[str, bytes]) -> None:
    step = Step(1)
    step.script(0, lambda *_: [RecordDict({"leptonic": ConfigRecord(dict(junk))})])
    assert statuses(step.ask(deadline=0.05)) == {0: "invalid"}


def test_a_second_reply_is_not_counted_twice() -> None:
    step = Step(2)
    step.script(0, lambda request, _: [reply_to(request, bytes(LENGTH), signer=key_of(0))] * 3)
    assert statuses(step.ask()) == {0: "counted", 1: "counted"}


def test_a_forged_reply_does_not_shut_out_the_real_one() -> None:
    """Another node may answer a message under its id: the client's own reply, which follows, must count."""
    step = Step(1)
    forged, real = key_of(7), key_of(0)
    step.script(0, lambda request, _: [reply_to(request, bytes(LENGTH), signer=key) for key in (forged, real)])
    assert statuses(step.ask()) == {0: "counted"}


def test_replies_that_nobody_signs_count_where_members_have_no_keys() -> None:
    """A simulation: the replies never left the process."""
    step = Step(1)
    step.members.keys[0] = None
    step.script(0, lambda request, _: [reply_to(request, bytes(LENGTH), signer=None)])
    assert statuses(step.ask()) == {0: "counted"}


def test_a_client_that_comes_back_under_another_node_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange_module, "REFRESH_INTERVAL", 0.05)
    step = Step(2)
    step.script(0, silent)
    step.grid.scripts[777] = answering(bytes(LENGTH), 0)

    def come_back() -> None:
        step.members.nodes[0] = 777

    step.grid.when_idle = come_back
    asked = step.ask()
    assert statuses(asked) == {0: "counted", 1: "counted"}
    first, second = (request for _, request in step.grid.asked if request.client == 0)
    assert first == second
    assert [node for node, request in step.grid.asked if request.client == 0] == [NODE, 777]
    assert step.grid.abandoned[0] == "letter-0"


def test_a_client_that_went_and_did_not_come_back_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange_module, "REFRESH_INTERVAL", 0.05)
    step = Step(2)
    step.script(0, silent)

    def go_away() -> None:
        step.members.nodes.pop(0, None)

    step.grid.when_idle = go_away
    asked = step.ask(deadline=0.3)
    assert statuses(asked) == {0: "late", 1: "counted"}
    assert len(step.grid.asked) == 2


LARGE = INLINE_LIMIT + LENGTH


def large_step(count: int) -> Step:
    step = Step(count)
    step.expected = LARGE
    for client in range(count):
        step.script(client, answering(bytes([client]) * LARGE, client, grid=step.grid))
    return step


def test_large_payloads_are_put_once_fetched_once_and_released() -> None:
    step = large_step(3)
    taken: list[int] = []
    asked = step.ask(b"m" * LARGE, take=lambda client, content: taken.append(len(content)))
    assert statuses(asked) == dict.fromkeys(range(3), "counted")
    assert taken == [LARGE] * 3
    assert step.grid.payloads.held == {}
    assert len(step.grid.payloads.fetched) == 3
    assert len({tuple(request.payload.parts) for _, request in step.grid.asked}) == 1


def test_bytes_are_those_of_headers_signatures_and_payloads() -> None:
    small, large = Step(2), large_step(2)
    content = b"m" * LARGE
    few = small.ask(b"")
    many = large.ask(content, take=lambda *_: None)
    assert many.bytes_down - few.bytes_down == pytest.approx(2 * LARGE, abs=2 * 200)
    assert many.bytes_up - few.bytes_up == pytest.approx(2 * (LARGE - LENGTH), abs=2 * 200)


@pytest.mark.parametrize("status", ["failed", "refused"])
def test_the_payload_of_an_error_is_released(status: str) -> None:
    step = large_step(1)
    step.script(0, answering(bytes(LARGE), 0, grid=step.grid, status=status))
    step.ask()
    assert step.grid.payloads.held == {}


def test_the_payload_of_a_forged_reply_is_not_fetched() -> None:
    step = large_step(1)
    step.script(0, lambda request, _: [reply_to(request, bytes(LARGE), signer=key_of(5), grid=step.grid)])
    assert statuses(step.ask(deadline=0.2)) != {0: "counted"}
    assert step.grid.payloads.fetched == []


def test_the_payload_of_one_too_many_is_released() -> None:
    step = large_step(4)
    step.ask(take=lambda *_: None, wanted=2)
    assert step.grid.payloads.held == {}


def test_everything_is_released_when_the_step_is_broken_off() -> None:
    step = large_step(2)

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        step.ask(b"m" * LARGE, on_client=interrupt)
    assert not any(bytes(content) == b"m" * LARGE for content in step.grid.payloads.held.values())
    assert len(step.grid.abandoned) == 1


def test_no_reply_and_no_cohort_are_no_trouble() -> None:
    step = Step(0)
    assert step.ask(cohort=[], wanted=1).records == {}
    assert step.grid.asked == []


class Hands:
    """A clock whose hands are set."""

    def __init__(self) -> None:
        self.time = 100.0

    def now(self) -> float:
        return self.time


@pytest.mark.parametrize(("deadline", "moment"), [(600.0, 100.0 + 7.0 + exchange_module.GRACE), (9.0, 109.0)])
def test_a_step_ends_soon_after_it_could_do_without_the_others(deadline: float, moment: float) -> None:
    clock, enough = Hands(), False
    end = exchange_module.End(clock, deadline, lambda: enough)  # type: ignore[arg-type]
    end.look()
    assert end.moment == 100.0 + deadline
    clock.time, enough = 107.0, True
    end.look()
    assert end.moment == moment
    clock.time = 108.0
    end.look()
    assert end.moment == moment


def test_a_step_without_a_deadline_waits_for_everybody() -> None:
    end = exchange_module.End(Hands(), math.inf, lambda: True)  # type: ignore[arg-type]
    end.look()
    assert end.moment == math.inf
