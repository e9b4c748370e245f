"""Sums that one client's reply carries for others: counted whole or not at all, and only where nobody signs."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.server.scripted import Script, key_of, reply_to
from tests.server.test_coordinator import Scripted, experiment

from leptonic.errors import DecodeError
from leptonic.experiment import Experiment
from leptonic.pipeline import Contribution
from leptonic.update import LocalUpdate
from leptonic.wire import Request

CARRIER, CARRIED = 3, (0, 1)


class Carrying(Scripted):
    """Client 3 sends the sum of 0, 1 and itself; 2 sends its own. Nobody signs, as in a simulation."""

    def __init__(self, folder: Path, made: Experiment, *, signed: bool = False) -> None:
        super().__init__(folder, made)
        self.signed = signed
        if not signed:
            self.members.keys = dict.fromkeys(self.members.keys)
        for client in CARRIED:
            self.grid.scripts[client] = self.carried
        self.grid.scripts[CARRIER] = self.summed(*CARRIED, CARRIER)

    def reply(self, request: Request, content: bytes, **changes: Any) -> Any:
        signer = key_of(request.client) if self.signed else None
        return reply_to(request, content, signer=signer, grid=self.grid, **changes)

    def carried(self, request: Request, _content: bytes) -> list[Any]:
        return [self.reply(request, b"", carried_by=CARRIER)]

    def summed(self, *clients: int) -> Script:
        def answer(request: Request, content: bytes) -> list[Any]:
            total = self.pipeline.zero()
            for client in clients:
                total.add(self.contribution(client, content))
            return [self.reply(request, total.to_bytes())]

        return answer

    def outcome(self) -> dict[int, str]:
        """What became of everyone in the first attempt."""
        return self.statuses(1, 1)


Make = Callable[..., Carrying]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Carrying] = []

    def one(*, signed: bool = False, **changes: Any) -> Carrying:
        sections = {"training": {"rounds": 1}, "federation": {"clients": 4, "minimum": 1, "attempts": 1}}
        folder = tmp_path / str(len(made))
        made.append(Carrying(folder, experiment(**{**sections, **changes}), signed=signed))
        return made[-1]

    yield one
    for each in made:
        each.store.close()


def finish(one: Carrying) -> Carrying:
    one.run()
    return one


def test_a_carried_sum_gives_the_model_of_single_contributions(make: Make, tmp_path: Path) -> None:
    sections = {"training": {"rounds": 3}}
    alone = Scripted(tmp_path / "alone", experiment(**sections))
    alone.run()
    one = finish(make(**sections))
    assert one.model() == alone.model()
    assert one.outcome() == dict.fromkeys(range(4), "counted")
    assert sorted(record.client for record in one.told.answers) == sorted(3 * [0, 1, 2, 3])
    last, other = one.store.rounds()[-1], alone.store.rounds()[-1]
    assert (last.survivors, last.train) == (other.survivors, other.train)
    alone.store.close()


def test_the_traffic_of_the_deployment_is_reported(make: Make) -> None:
    """Where each client sends its own payload; only the headers differ."""
    one, other = make(), make()
    for client in (*CARRIED, CARRIER):
        other.grid.scripts[client] = other.honest(client)
    found, expected = (finish(each).store.rounds()[-1].bytes_up for each in (one, other))
    assert found == pytest.approx(expected, abs=4 * 100)


def test_a_deployed_member_cannot_be_carried(make: Make) -> None:
    """What is signed stands for one client: nobody's count may hang on another's payload."""
    one = make(signed=True)
    one.grid.scripts[CARRIER] = one.honest(CARRIER)
    finish(one)
    assert one.outcome() == {0: "invalid", 1: "invalid", 2: "counted", 3: "counted"}
    details = [record.detail for _, _, record in one.store.clients() if record.client in CARRIED]
    assert all(detail.startswith("DecodeError") and "carried" in detail for detail in details)


def test_a_deployed_member_cannot_send_a_sum(make: Make) -> None:
    assert finish(make(signed=True)).outcome()[CARRIER] == "invalid"


def test_a_robust_rule_takes_no_sum(make: Make) -> None:
    one = finish(make(aggregation={"rule": "median"}))
    assert one.outcome() == {0: "invalid", 1: "invalid", 2: "counted", 3: "invalid"}


@pytest.mark.parametrize("clients", [(0, 3), (0, 1, 2, 3), (3,)])
def test_a_sum_of_other_than_those_who_are_carried_is_refused_with_all_of_them(
    make: Make, clients: tuple[int, ...]
) -> None:
    one = make()
    one.grid.scripts[CARRIER] = one.summed(*clients)
    assert finish(one).outcome() == {0: "invalid", 1: "invalid", 2: "counted", 3: "invalid"}


def test_a_carrier_that_fails_makes_those_it_carries_fail(make: Make) -> None:
    one = make()
    one.grid.scripts[CARRIER] = lambda request, _: [one.reply(request, b"", status="failed", detail="disk full")]
    assert finish(one).outcome() == {0: "failed", 1: "failed", 2: "counted", 3: "failed"}
    reasons = {record.client: record.detail for _, _, record in one.store.clients() if record.status == "failed"}
    assert reasons[0] == "its contribution was carried by client 3: disk full"


def test_without_its_carrier_nobody_is_counted(make: Make) -> None:
    one = make(federation={"clients": 4, "minimum": 1, "attempts": 1, "deadline": 0.2})
    one.grid.scripts[CARRIER] = lambda *_: []
    assert finish(one).outcome() == {0: "lost", 1: "lost", 2: "counted", 3: "late"}


def test_a_carrier_that_came_before_is_none_any_more(make: Make) -> None:
    one = make()
    one.grid.scripts |= {0: one.summed(0), CARRIER: one.honest(CARRIER)}
    one.grid.scripts[1] = lambda request, _: [one.reply(request, b"", carried_by=0)]
    assert finish(one).outcome() == {0: "counted", 1: "invalid", 2: "counted", 3: "counted"}


def lies(one: Carrying) -> dict[str, Script]:
    return {
        "itself": lambda request, _: [one.reply(request, b"", carried_by=request.client)],
        "nobody of the cohort": lambda request, _: [one.reply(request, b"", carried_by=77)],
        "one that is carried": lambda request, _: [one.reply(request, b"", carried_by=0)],
        "with bytes of its own": lambda request, _: [one.reply(request, b"x", carried_by=CARRIER)],
    }


@pytest.mark.parametrize("lie", ["itself", "nobody of the cohort", "one that is carried", "with bytes of its own"])
def test_a_false_carrier_counts_nobody_twice(make: Make, lie: str) -> None:
    one = make()
    one.grid.scripts |= {1: lies(one)[lie], CARRIER: one.summed(0, CARRIER)}
    outcome = finish(one).outcome()
    assert outcome.pop(1) in ("invalid", "lost")
    assert outcome == {0: "counted", 2: "counted", 3: "counted"}
    assert one.store.rounds()[-1].survivors == 3


def test_only_so_many_clients_can_have_made_a_sum(make: Make) -> None:
    pipeline = make().pipeline
    sums = {"train_examples": 10.0}
    total = pipeline.zero()
    for _ in range(3):
        update = np.full(pipeline.size, pipeline.lattice.range, np.float32)
        total.add(pipeline.encode(LocalUpdate({"model": update}, weight=1e9, sums=sums)))
    pipeline.check(total, clients=3)
    for clients in (1, 2, 4):
        with pytest.raises(DecodeError, match="counts 3"):
            pipeline.check(total, clients=clients)
    beyond = Contribution(total.words.copy(), total.scalars)
    beyond.words[5] += 1
    with pytest.raises(DecodeError, match="bound"):
        pipeline.check(beyond, clients=3)
