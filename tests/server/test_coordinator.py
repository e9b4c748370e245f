"""The main loop over scripted clients: attempts, replacements, resumption, and what one liar can do to it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.server.scripted import Script, ScriptedGrid, ScriptedMembers, key_of, public, reply_to, silent

from leptonic.errors import RunError
from leptonic.experiment import Experiment
from leptonic.experiment_file import from_mapping
from leptonic.pipeline import Contribution, pipeline_for
from leptonic.update import LocalUpdate
from leptonic.wire import Request
from leptonic_server import coordinator as coordinator_module
from leptonic_server.coordinator import Coordinator
from leptonic_server.evaluation import Evaluator
from leptonic_server.store import ClientRecord, RoundRecord, RunStore

SIZE = 650


def experiment(**sections: Any) -> Experiment:
    content = {
        "name": "x",
        "data": {"name": "digits"},
        "model": {"name": "logistic"},
        "federation": {"clients": 4, "deadline": 5.0},
        "training": {"rounds": 3},
        "evaluation": {"on": []},
    }
    return from_mapping({**content, **sections})


class Told:
    """A listener that keeps what it was told."""

    def __init__(self) -> None:
        self.begun: list[tuple[int, int, int]] = []
        self.answers: list[ClientRecord] = []
        self.committed: list[RoundRecord] = []

    def round_begins(self, round_number: int, attempt: int, invited: int) -> None:
        self.begun.append((round_number, attempt, invited))

    def client_answered(self, record: ClientRecord) -> None:
        self.answers.append(record)

    def round_committed(self, record: RoundRecord) -> None:
        self.committed.append(record)


class Scripted:
    """A run over scripted clients, who all move the model a little towards a point of their own."""

    def __init__(self, folder: Path, made: Experiment) -> None:
        self.experiment, self.folder = made, folder
        folder.mkdir(exist_ok=True)
        self.evaluator = Evaluator(made)
        self.pipeline = pipeline_for(made, SIZE)
        self.store = RunStore(folder)
        if self.store.run is None:
            layout = self.evaluator.layout.hash
            self.store.begin("0123456789abcdef", made, layout=layout, mode="deployed", version="0")
        count = made.federation.clients
        self.grid = ScriptedGrid({client: self.honest(client) for client in range(count)})
        self.members = ScriptedMembers(
            {client: client for client in range(count)}, {client: public(key_of(client)) for client in range(count)}
        )
        self.told = Told()

    def honest(self, client: int) -> Script:
        return lambda request, content: [self.reply(request, self.contribution(client, content).to_bytes())]

    def spending(self, client: int, epsilon: float) -> Script:
        def answer(request: Request, content: bytes) -> list[Any]:
            return [self.reply(request, self.contribution(client, content).to_bytes(), epsilon=epsilon)]

        return answer

    def lying(self, client: int, lie: Callable[[Contribution], None]) -> None:
        def answer(request: Request, content: bytes) -> list[Any]:
            contribution = self.contribution(client, content)
            contribution = Contribution(contribution.words.copy(), contribution.scalars.copy())
            lie(contribution)
            return [self.reply(request, contribution.to_bytes())]

        self.grid.scripts[client] = answer

    def contribution(self, client: int, content: bytes) -> Contribution:
        model = np.frombuffer(content, "<f4")[:SIZE]
        goal = np.random.default_rng(client).normal(0, 1, SIZE).astype(np.float32)
        sums = {"train_loss": 1.0, "train_correct": 3.0, "train_examples": 10.0 + client}
        return self.pipeline.encode(LocalUpdate({"model": (goal - model) / 10}, weight=10.0 + client, sums=sums))

    def reply(self, request: Request, content: bytes, **changes: Any) -> Any:
        return reply_to(request, content, signer=key_of(request.client), grid=self.grid, **changes)

    def run(self) -> None:
        Coordinator(
            self.experiment,
            store=self.store,
            grid=self.grid,
            members=self.members,
            evaluator=self.evaluator,
            listener=self.told,
        ).run()

    def model(self) -> bytes:
        return self.store.vectors()["model"].tobytes()

    def statuses(self, round_number: int, attempt: int) -> dict[int, str]:
        records = self.store.clients()
        return {r.client: r.status for number, tried, r in records if (number, tried) == (round_number, attempt)}


Make = Callable[..., Scripted]


@pytest.fixture
def scripted(tmp_path: Path) -> Iterator[Make]:
    made: list[Scripted] = []

    def make(name: str = "run", **sections: Any) -> Scripted:
        made.append(Scripted(tmp_path / name, experiment(**sections)))
        return made[-1]

    yield make
    for one in made:
        one.store.close()


def test_each_round_states_its_privacy(scripted: Make) -> None:
    one = scripted(
        privacy={"unit": "example", "epsilon": 3.0, "delta": 1e-5}, aggregation={"rule": "mean", "weight_cap": 20}
    )
    for client, spent in enumerate((0.5, 1.25, 0.75, 1.0)):
        one.grid.scripts[client] = one.spending(client, spent)
    one.run()
    first, *trained = one.store.rounds()
    assert first.privacy == {}
    assert [record.privacy["epsilon"] for record in trained] == [1.25, 1.25, 1.25]
    assert {record.privacy["mechanism"] for record in trained} == {"dp_sgd"}


def test_every_round_is_committed_once_in_order(scripted: Make) -> None:
    one = scripted()
    one.run()
    assert [record.round for record in one.store.rounds()] == [0, 1, 2, 3]
    assert [record.round for record in one.told.committed] == [0, 1, 2, 3]
    last = one.store.rounds()[-1]
    assert (last.cohort, last.survivors, last.attempt) == (4, 4, 1)
    assert last.train["accuracy"] == pytest.approx(12 / 46)
    assert one.statuses(3, 1) == dict.fromkeys(range(4), "counted")
    assert one.grid.payloads.held == {}


def test_the_first_round_is_the_weighted_mean_of_the_updates(scripted: Make) -> None:
    one = scripted(training={"rounds": 1})
    one.run()
    start = one.evaluator.initial()
    goals = np.stack([np.random.default_rng(client).normal(0, 1, SIZE) for client in range(4)])
    weights = np.array([10.0, 11, 12, 13])
    expected = start + (weights @ (goals - start) / weights.sum()) / 10
    np.testing.assert_allclose(one.store.vectors()["model"], expected, atol=1e-4)


def test_a_finished_run_does_nothing_more(scripted: Make) -> None:
    one = scripted()
    one.run()
    asked = len(one.grid.asked)
    one.run()
    assert len(one.grid.asked) == asked


def test_clients_go_on_from_the_round_in_which_they_were_counted(scripted: Make) -> None:
    one = scripted(algorithm={"name": "feddyn"})
    one.grid.scripts[2] = _failing_in(one, 2, rounds={2})
    one.run()
    counted = {(r.round, r.client): r.counted for _, r in one.grid.asked}
    assert [counted[number, 2] for number in (1, 2, 3)] == [0, 1, 1]
    assert [counted[number, 0] for number in (1, 2, 3)] == [0, 1, 2]


def test_who_keeps_nothing_is_not_told_when_it_was_counted(scripted: Make) -> None:
    one = scripted()
    one.run()
    assert {request.counted for _, request in one.grid.asked} == {0}


def _failing_in(one: Scripted, client: int, *, rounds: set[int], attempts: int = 9) -> Script:
    honest = one.honest(client)

    def answer(request: Request, content: bytes) -> list[Any]:
        if request.round in rounds and request.attempt <= attempts:
            return [one.reply(request, b"", status="failed", detail="out of memory")]
        return honest(request, content)

    return answer


def test_failing_clients_are_replaced_in_the_next_attempt(scripted: Make) -> None:
    # Each attempt but the last meets one of the four who fail, at least.
    crowd = {"clients": 6, "cohort": 2, "minimum": 2, "deadline": 5.0, "attempts": 5}
    one = scripted(federation=crowd, training={"rounds": 1})
    for client in range(4):
        one.grid.scripts[client] = _failing_in(one, client, rounds={1})
    one.run()
    tried: set[int] = set()
    for _, attempt, record in one.store.clients():
        assert attempt == 1 or record.client not in tried or record.status == "counted"
        if record.status == "failed":
            tried.add(record.client)
    assert one.store.rounds()[-1].survivors == 2
    assert set(one.statuses(1, one.store.rounds()[-1].attempt)) == {4, 5}


def test_too_few_stop_the_run_with_the_reason_and_it_can_be_resumed(scripted: Make) -> None:
    unbroken = scripted("unbroken")
    unbroken.run()
    one = scripted("broken")
    for client in (0, 1, 2):
        one.grid.scripts[client] = _failing_in(one, client, rounds={2})
    with pytest.raises(RunError) as caught:
        one.run()
    message = str(caught.value)
    for part in ("round 2", "1 clients", "2 are needed", "3 attempts", "out of memory", "round 1", "--resume"):
        assert part in message
    assert [record.round for record in one.store.rounds()] == [0, 1]
    assert [attempt for number, attempt, _ in one.told.begun if number == 2] == [1, 2, 3]
    one.store.close()
    again = scripted("broken")
    again.run()
    assert again.model() == unbroken.model()
    assert [attempt for number, attempt, _ in again.told.begun if number == 2] == [4]


def test_a_round_repeated_after_a_failure_gives_the_same_model(scripted: Make) -> None:
    unbroken = scripted("unbroken")
    unbroken.run()
    one = scripted("failing")
    for client in (0, 1, 2):
        one.grid.scripts[client] = _failing_in(one, client, rounds={2}, attempts=1)
    one.run()
    assert one.model() == unbroken.model()
    assert [r.model_sha256 for r in one.store.rounds()] == [r.model_sha256 for r in unbroken.store.rounds()]


def test_killed_between_any_two_steps_a_run_ends_with_the_same_model(scripted: Make) -> None:
    """Broken off at each event in turn, and resumed each time from what stands in the store."""
    unbroken = scripted("unbroken")
    unbroken.run()
    last = len(unbroken.told.answers) + len(unbroken.told.begun) + len(unbroken.told.committed)
    for stop_at in range(0, last, 3):
        broken = scripted(f"broken-{stop_at}")
        _interrupt(broken, after=stop_at)
        with pytest.raises(KeyboardInterrupt):
            broken.run()
        broken.store.close()
        again = scripted(f"broken-{stop_at}")
        again.run()
        assert again.model() == unbroken.model(), f"broken at event {stop_at}"


def _interrupt(one: Scripted, *, after: int) -> None:
    seen = 0

    def event(*_: Any) -> None:
        nonlocal seen
        seen += 1
        if seen > after:
            raise KeyboardInterrupt

    for name in ("round_begins", "client_answered", "round_committed"):
        setattr(one.told, name, event)


@pytest.mark.parametrize("order", [(3, 1, 0, 2), (2, 3, 1, 0)])
def test_who_answers_first_does_not_matter(
    scripted: Make, order: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, mixed = scripted("plain"), scripted("mixed")
    plain.run()
    pull = mixed.grid.answers

    def shuffled(names: Any) -> Any:
        come = pull(names)
        return [come[position] for position in order] if len(come) == 4 else come

    monkeypatch.setattr(mixed.grid, "answers", shuffled)
    mixed.run()
    assert mixed.model() == plain.model()


LIES: dict[str, Callable[[Contribution], None]] = {
    "counts as nobody": lambda c: c.scalars.__setitem__(0, 0),
    "counts as many": lambda c: c.scalars.__setitem__(0, 1000 << 20),
    "counts as less than nobody": lambda c: c.scalars.__setitem__(0, np.uint64(2**64 - (50 << 20))),
    "weighs nothing": lambda c: c.scalars.__setitem__(1, 0),
    "weighs less than nothing": lambda c: c.scalars.__setitem__(1, np.uint64(2**64 - (500 << 20))),
    "weighs more than the cap": lambda c: c.scalars.__setitem__(1, 2**62),
    "clamped more than there is": lambda c: c.scalars.__setitem__(2, 2**62),
    "is capped a thousand times": lambda c: c.scalars.__setitem__(3, 2**62),
}


@pytest.mark.parametrize("rule", [{"rule": "mean"}, {"rule": "median"}])
@pytest.mark.parametrize("lie", LIES)
def test_one_client_that_lies_about_itself_is_invalid_and_the_run_goes_on(
    scripted: Make, lie: str, rule: dict[str, Any]
) -> None:
    one = scripted(training={"rounds": 1}, aggregation=rule)
    one.lying(1, LIES[lie])
    one.run()
    assert one.statuses(1, 1)[1] == "invalid"
    assert one.store.rounds()[-1].survivors == 3


def test_a_word_beyond_the_lattice_is_invalid(scripted: Make) -> None:
    """The range bounds what one client can do to the mean; a word outside it would wrap the sum round."""
    one = scripted(training={"rounds": 1})
    one.lying(1, lambda c: c.words.__setitem__(0, 2**31 - 1))
    one.run()
    assert one.statuses(1, 1)[1] == "invalid"


def test_a_liar_does_not_move_the_model_of_the_others(scripted: Make) -> None:
    """What is refused leaves no trace in the sum."""
    lied, absent = scripted("lied", training={"rounds": 1}), scripted("absent", training={"rounds": 1})
    lied.grid.scripts[1] = lambda request, content: [
        lied.reply(request, lied.contribution(1, content).to_bytes() + b"\0" * 8)
    ]
    absent.grid.scripts[1] = lambda request, _: [absent.reply(request, b"", status="failed")]
    lied.run()
    absent.run()
    assert lied.statuses(1, 1)[1] == "invalid"
    assert lied.model() == absent.model()


def test_a_payload_of_another_length_is_not_fetched(scripted: Make) -> None:
    """Invariant 7: lengths are checked before memory is taken. One client could name 3 GB of the same chunk."""
    one = scripted(training={"rounds": 1})
    announced = {"kind": "memory", "length": 3 * 10**9, "parts": ["payload"]}
    one.grid.scripts[1] = lambda request, _: [one.reply(request, b"", payload=announced)]
    one.run()
    assert one.statuses(1, 1)[1] == "invalid"
    assert one.grid.payloads.fetched == []


def test_a_round_goes_on_with_enough_members_after_a_while(scripted: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coordinator_module, "PATIENCE", 0.1)
    one = scripted(training={"rounds": 2})
    del one.members.nodes[3]
    one.run()
    assert one.store.rounds()[-1].survivors == 3


def test_a_short_deadline_does_not_stop_a_run_that_has_enough_members(scripted: Make) -> None:
    """Patience for the missing must not outlast the deadline and then find that those at hand are too few."""
    one = scripted(training={"rounds": 1}, federation={"clients": 4, "deadline": 0.3})
    del one.members.nodes[3]
    one.run()
    assert one.store.rounds()[-1].survivors == 3


def test_too_few_members_stop_the_run_at_the_deadline(scripted: Make) -> None:
    one = scripted(federation={"clients": 4, "deadline": 0.2})
    for client in (1, 2, 3):
        del one.members.nodes[client]
    with pytest.raises(RunError, match=r"1 clients are reachable and a round needs 2.*--resume"):
        one.run()


def test_the_silent_do_not_hold_a_round_beyond_its_deadline(scripted: Make) -> None:
    one = scripted(training={"rounds": 1}, federation={"clients": 4, "deadline": 0.3})
    one.grid.scripts[0] = silent
    one.run()
    assert one.statuses(1, 1)[0] == "late"
    assert one.store.rounds()[-1].survivors == 3


def test_a_run_that_was_not_begun_is_refused(tmp_path: Path) -> None:
    made = experiment()
    store = RunStore(tmp_path)
    grid, members = ScriptedGrid(), ScriptedMembers({}, {})
    with pytest.raises(RunError, match="begin the run"):
        Coordinator(made, store=store, grid=grid, members=members, evaluator=Evaluator(made), listener=Told())
    store.close()


def test_the_clients_evaluation_is_summed_and_its_bytes_are_counted(scripted: Make) -> None:
    from leptonic.pipeline import encode_scalars

    one = scripted(evaluation={"on": ["clients"], "holdout": 0.2, "every": 2}, training={"rounds": 3})

    def both(client: int) -> Script:
        honest = one.honest(client)

        def answer(request: Request, content: bytes) -> list[Any]:
            if request.step == "evaluate":
                return [one.reply(request, encode_scalars([10.0, 3.0 + client, 10.0]))]
            return honest(request, content)

        return answer

    one.grid.scripts = {client: both(client) for client in range(4)}
    one.run()
    evaluated = {record.round: record.client_metrics for record in one.store.rounds()}
    assert evaluated[1] == {}
    assert evaluated[2] == evaluated[3] == pytest.approx({"loss": 1.0, "accuracy": 18 / 40})
    first, second = one.store.rounds()[1:3]
    assert second.bytes_down > 1.9 * first.bytes_down
