"""A trip over a grid: who is waited for and how long, in a time of its own, and what one wrong answer costs."""

from collections.abc import Iterable
from typing import Any

import pytest
from flwr.app import ConfigRecord, Error, Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

from leptonic.errors import BadSignature
from leptonic_server.flower import asking
from leptonic_server.flower.asking import GRACE, Asking

NEVER = float("inf")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


class LateGrid(Grid):
    """Node n answers after ``seconds[n]``; with an error if ``fails`` names it. lost: not even pushed."""

    def __init__(self, clock: Clock, seconds: dict[int, float], *, fails: int = -1, lost: int = -1) -> None:
        self.clock, self.seconds, self.fails, self.lost = clock, seconds, fails, lost
        self.sent: dict[str, tuple[float, Message]] = {}
        TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1

    def push_messages(self, messages: Iterable[Message]) -> Any:
        names: list[str | None] = []
        for message in messages:
            node = message.metadata.dst_node_id
            name = None if node == self.lost else f"message-{node}"
            message.metadata.__dict__["_message_id"] = name or ""
            if name is not None:
                self.sent[name] = (self.clock.now + self.seconds[node], message)
            names.append(name)
        return names

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        found = []
        for name in message_ids:
            at, message = self.sent[name]
            if at <= self.clock.now:
                wrong = message.metadata.dst_node_id == self.fails
                found.append(Message(Error(5, "no") if wrong else message.content, reply_to=message))
        return found

    def get_node_ids(self) -> Any: ...
    def create_message(self, *args: Any, **more: Any) -> Any: ...
    def send_and_receive(self, *args: Any, **more: Any) -> Any: ...
    def set_run(self, run: Any) -> None: ...
    @property
    def run(self) -> Any: ...


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(asking, "time", made)
    return made


def took(clock: Clock, seconds: list[float], *, needed: int, bad: int = -1, **more: int) -> tuple[list[int], float]:
    """Who was taken, and how long it took. bad: the node whose answer is refused."""
    taken: list[int] = []

    def take(node: int, content: RecordDict) -> None:
        assert content["who"]["node"] == node
        if node == bad:
            raise BadSignature("forged")
        taken.append(node)

    begin, grid = clock.now, LateGrid(clock, dict(enumerate(seconds)), **more)
    contents = {node: RecordDict({"who": ConfigRecord({"node": node})}) for node in range(len(seconds))}
    Asking(grid, "train", timeout=60.0).ask(contents, what="answer", take=take, enough=lambda: len(taken) >= needed)
    return taken, clock.now - begin


def test_a_trip_ends_when_all_have_answered(clock: Clock) -> None:
    taken, seconds = took(clock, [1.0, 0.0, 3.0], needed=3)
    assert taken == [1, 0, 2]
    assert 3.0 <= seconds <= 3.6


def test_once_there_is_enough_the_others_get_a_little_longer(clock: Clock) -> None:
    taken, seconds = took(clock, [1.0, 2.0, NEVER, 2.0 + GRACE / 2], needed=2)
    assert taken == [0, 1, 3]
    assert GRACE + 2 <= seconds <= GRACE + 3


def test_where_an_answer_takes_long_the_others_get_as_long_again(clock: Clock) -> None:
    taken, seconds = took(clock, [20.0, 19.0, NEVER, 39.0], needed=2)
    assert taken == [1, 0, 3]
    assert 40 <= seconds <= 42


def test_a_trip_without_enough_ends_at_its_deadline(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    taken, seconds = took(clock, [1.0, NEVER, NEVER], needed=2)
    assert taken == [0]
    assert seconds == pytest.approx(60.0)
    assert "nodes [1, 2] did not answer in time" in caplog.text


def test_errors_and_wrong_answers_cost_those_alone(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    taken, _ = took(clock, [0.0, 0.0, 0.0], needed=3, bad=0, fails=1)
    assert taken == [2]
    assert "node 0: BadSignature: forged" in caplog.text
    assert "node 1 did not answer: no" in caplog.text


def test_a_message_that_the_link_does_not_take_is_not_waited_for(clock: Clock) -> None:
    taken, seconds = took(clock, [0.0, 0.0, 0.0], needed=3, lost=1)
    assert taken == [0, 2]
    assert seconds < 1
