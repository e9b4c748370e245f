"""The automatic engine over made-up engines and a made-up clock: who is tried on what, and who is kept."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest

from leptonic.wire import Payload, Reply, Request
from leptonic_simulations.automatic import AutomaticEngine, Candidate


@dataclass
class Clock:
    seconds: float = 0.0

    def perf_counter(self) -> float:
        return self.seconds


@dataclass
class Timed:
    """Answers a client in so many seconds of the clock; groups of more than ``at_once`` one group after another."""

    name: str
    clock: Clock
    each: float
    at_once: int = 1
    groups: list[list[int]] = field(default_factory=list)
    closed: int = 0

    def answers(self, requests: Sequence[Request], content: bytes | memoryview) -> Iterator[tuple[Reply, bytes]]:
        assert not self.closed
        if requests:
            self.groups.append([request.client for request in requests])
        for place, request in enumerate(requests):
            if place % self.at_once == 0:
                self.clock.seconds += self.each * self.at_once
            numbers = request.model_dump(exclude={"counted", "own", "payload"})
            payload = Payload(kind="memory", length=0)
            yield Reply.model_validate({**numbers, "payload": payload, "status": "done"}), self.name.encode()

    def close(self) -> None:
        self.closed += 1


@dataclass
class Trial:
    """An automatic engine over three made-up ones."""

    speeds: dict[str, float]
    clock: Clock
    wanted: int = 100
    requests: int = 10_000
    cost: float = 0.0
    made: dict[str, Timed] = field(default_factory=dict)
    decisions: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        sizes = {"one": 1, "group": 8, "workers": 4}
        self.engine = AutomaticEngine(
            [
                Candidate(name, lambda name=name: self._make(name, sizes[name]), at_once=sizes[name], cost=cost)  # type: ignore[misc]
                for name, cost in (("one", 0.0), ("group", 0.0), ("workers", self.cost))
            ],
            size=lambda request: 1.0 + request.client % 3,
            wanted=self.wanted,
            requests=self.requests,
            decided=lambda name, why: self.decisions.append((name, why)),
        )

    def _make(self, name: str, at_once: int) -> Timed:
        assert name not in self.made
        self.made[name] = Timed(name, self.clock, self.speeds[name], at_once if name == "group" else 1)
        return self.made[name]

    def step(self, clients: int, *, pulled: int | None = None, step: str = "train") -> list[tuple[int, str]]:
        """Who was answered by which engine; the step ends with the reply that is pulled last."""
        numbers = {"run": "r", "experiment": "0" * 64, "round": 1, "step": step, "attempt": 1}
        payload = Payload(kind="memory", length=0)
        requests = [Request.model_validate({**numbers, "client": c, "payload": payload}) for c in range(clients)]
        replies = self.engine.answers(requests, b"")
        found = []
        for reply, answer in replies:
            self.clock.seconds += 5.0  # what the coordinator does with a reply is nobody's time
            found.append((reply.client, bytes(answer).decode()))
            if len(found) == pulled:
                break
        return found


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("leptonic_simulations.automatic.time", clock)
    return clock


@pytest.mark.parametrize("fastest", ["one", "group", "workers"])
def test_the_fastest_is_kept_and_the_others_are_closed(clock: Clock, fastest: str) -> None:
    speeds = {"one": 1.0, "group": 2.0, "workers": 3.0, fastest: 0.1}
    trial = Trial(speeds, clock)
    answered = trial.step(100)
    assert [client for client, _ in answered] == list(range(100))
    assert [name for name, _ in trial.decisions] == [fastest]
    assert all(name in trial.decisions[0][1] for name in speeds)
    assert {name: engine.closed for name, engine in trial.made.items()} == {n: int(n != fastest) for n in speeds}
    assert {name for _, name in trial.step(20)} == {fastest}
    assert {name for _, name in trial.step(3, step="evaluate")} == {fastest}
    trial.engine.close()
    assert all(engine.closed == 1 for engine in trial.made.values())
    assert len(trial.decisions) == 1


def test_each_is_timed_on_what_it_is_meant_for(clock: Clock) -> None:
    """One client alone would make an engine of groups eight times as slow as it is."""
    trial = Trial({"one": 0.5, "group": 0.1, "workers": 0.4}, clock, wanted=12)
    for _ in range(6):
        assert [client for client, _ in trial.step(12)] == list(range(12))
    assert [name for name, _ in trial.decisions] == ["group"]


@pytest.mark.parametrize("cohort", [1, 2, 3, 5])
def test_small_cohorts_spread_the_trial_over_rounds(clock: Clock, cohort: int) -> None:
    trial = Trial({"one": 0.1, "group": 0.2, "workers": 0.3}, clock, wanted=cohort)
    rounds = 0
    while not trial.decisions:
        rounds += 1
        assert rounds < 20
        assert sorted(client for client, _ in trial.step(cohort)) == list(range(cohort))
    assert rounds > 1
    assert trial.decisions[0][0] == "one"


@pytest.mark.parametrize("wanted", [2, 10, 50])
def test_over_selection_does_not_keep_a_trial_from_its_end(clock: Clock, wanted: int) -> None:
    """The step ends as soon as enough replies are there, and nothing more is asked for."""
    trial = Trial({"one": 0.3, "group": 0.1, "workers": 0.2}, clock, wanted=wanted)
    for _ in range(15):
        found = trial.step(wanted + 2, pulled=wanted)
        assert len({client for client, _ in found}) == wanted
    assert len(trial.decisions) == 1


def test_replies_beyond_those_wanted_can_be_had(clock: Clock) -> None:
    trial = Trial({"one": 0.3, "group": 0.1, "workers": 0.2}, clock, wanted=2)
    for _ in range(8):
        assert [client for client, _ in trial.step(5)] == list(range(5))


def test_what_is_not_training_is_answered_by_the_first_until_the_choice(clock: Clock) -> None:
    trial = Trial({"one": 0.3, "group": 0.1, "workers": 0.2}, clock)
    assert {name for _, name in trial.step(4, step="evaluate")} == {"one"}
    assert trial.step(0) == []
    assert list(trial.made) == ["one"]


def test_what_takes_long_to_start_is_not_tried_for_little_work(clock: Clock) -> None:
    trial = Trial({"one": 0.1, "group": 0.2, "workers": 0.01}, clock, requests=50, cost=6.0)
    trial.step(50)
    assert trial.decisions[0][0] == "one"
    assert "workers" not in trial.made


def test_the_last_clients_of_a_run_end_the_trial(clock: Clock) -> None:
    trial = Trial({"one": 0.1, "group": 0.2, "workers": 0.01}, clock, requests=3, wanted=3)
    trial.step(3)
    assert [name for name, _ in trial.decisions] == ["one"]
