"""What arrives when, and whose work is done at all."""

import math
from typing import Any

import pytest

from leptonic.experiment import Federation
from leptonic.wire import Payload, Reply, Request, inline
from leptonic_simulations.scenario.clock import VirtualClock
from leptonic_simulations.scenario.journeys import Journey
from leptonic_simulations.scenario.timetable import Timetable

NUMBERS = {"run": "ab", "experiment": "ab" * 32, "attempt": 1}
DONE = Reply.model_validate(
    {**NUMBERS, "round": 1, "step": "train", "client": 0, "payload": Payload(kind="memory", length=0), "status": "done"}
)
FAILED = DONE.model_copy(update={"status": "failed"})


class Planned:
    """A timetable of clients that take so many seconds; negative ones are lost after their work, None never trains."""

    def __init__(self, seconds: list[float | None], *, start: float = 0.0, step: str = "train", **federation: Any):
        self.clock, self.seconds, self.names = VirtualClock(start), seconds, [str(n) for n in range(len(seconds))]
        settings = Federation(clients=len(seconds), **federation)
        self.table = Timetable(settings, self.clock, self.journey)
        self.clock.follow(self.table.next_event)
        for client, name in enumerate(self.names):
            self.table.sent(name, self.request(client, step))

    def journey(self, request: Request) -> Journey:
        seconds = self.seconds[request.client]
        if seconds is None:
            return Journey(0.0, "never_trains")
        return Journey(abs(seconds), "is_lost" if seconds < 0 else "arrives")

    def request(self, client: int, step: str = "train") -> Request:
        numbers = {**NUMBERS, "round": 1, "step": step, "client": client, "payload": inline(b"")}
        return Request.model_validate(numbers)

    def next(self) -> tuple[float, list[str]]:
        """Pause until something is due."""
        self.clock.pause(0.0, until=1e6)
        due = self.table.due(self.names)
        self.names = [name for name in self.names if name not in due]
        return self.clock.now(), due


def test_nothing_is_due_before_its_time() -> None:
    plan = Planned([3.0, 1.0, 2.0], start=100.0, deadline=10.0)
    assert plan.table.due(plan.names) == []
    assert plan.next() == (103.0, ["1", "2", "0"])
    assert plan.table.next_event(103.0) == math.inf


def test_the_deadline_cuts_exactly_the_slow_ones() -> None:
    plan = Planned([9.9, 10.0, 10.1, 0.5], deadline=10.0)
    assert plan.next() == (9.9, ["3", "0"])
    assert plan.next() == (1e6, [])


def test_of_more_than_are_wanted_the_first_are_worked_on_and_the_others_never() -> None:
    plan = Planned([4.0, 3.0, 2.0, 1.0], cohort=2)
    assert plan.next() == (2.0, ["3", "2"])
    for name in ("3", "2"):
        assert plan.table.arrives(name, DONE)
    plan.table.forget(["0", "1"])
    assert plan.next() == (1e6, [])


def test_for_each_that_fails_the_next_is_worked_on() -> None:
    plan = Planned([4.0, 3.0, 2.0, 1.0], cohort=2)
    plan.next()
    assert plan.table.arrives("3", FAILED)
    assert plan.table.arrives("2", DONE)
    assert plan.next() == (3.0, ["1"])


def test_after_a_reply_that_was_judged_invalid_one_more_is_worked_on() -> None:
    """The grid is not told: it sees that replies are still asked for."""
    plan = Planned([4.0, 3.0, 2.0, 1.0], cohort=2)
    plan.next()
    assert all(plan.table.arrives(name, DONE) for name in ("3", "2"))
    assert plan.next() == (3.0, ["1"])


def test_who_never_trains_is_never_due_and_who_is_lost_trains_in_vain() -> None:
    plan = Planned([None, 1.0, -2.0, 3.0, -9.0], cohort=2)
    assert plan.next() == (3.0, ["1", "2", "3"])
    assert [plan.table.arrives(name, DONE) for name in ("1", "2", "3")] == [True, False, True]


def test_equal_times_keep_the_order_of_the_requests() -> None:
    assert Planned([0.0] * 12, cohort=11).next() == (0.0, [str(n) for n in range(11)])


def test_an_evaluation_takes_every_answer() -> None:
    assert Planned([2.0, 1.0, 3.0], cohort=1, step="evaluate").next() == (3.0, ["1", "0", "2"])


@pytest.mark.parametrize("change", [{"attempt": 2}, {"round": 2}])
def test_a_new_step_begins_anew(change: dict[str, int]) -> None:
    plan = Planned([1.0, -2.0], cohort=2)
    plan.next()
    request = Request.model_validate({**NUMBERS, "round": 1, "step": "train", "client": 0, "payload": inline(b"")})
    again = request.model_copy(update=change)
    plan.table.sent("again", again)
    plan.names.append("again")
    assert plan.next() == (3.0, ["again"])
    assert plan.table.arrives("again", DONE)
