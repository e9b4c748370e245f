"""A node and its ledger: reserved before training, settled before anything leaves, refused early and in few words."""

import math
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.client.samples import PRIVATE_TRAINING, RUN, data_file, experiment, private_experiment
from tests.client.test_responder import OTHER_RUN, OneNode, model_of

from leptonic.errors import RunError
from leptonic.privacy.ledger import Ledger
from leptonic.privacy.ledger.entries import Reserve, Settle
from leptonic.privacy.ledger.file import read
from leptonic_client.costs import run_cost
from leptonic_client.training import LocalTrainer

DELTA = 1e-3
Make = Callable[..., OneNode]


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    made: list[OneNode] = []

    def make(**limits: Any) -> OneNode:
        made.append(OneNode(tmp_path, monkeypatch, **({"ledger": {"delta": DELTA, **limits}} if limits else {})))
        return made[-1]

    yield make
    for each in made:
        each.close()


def entries(node: OneNode, kind: type) -> list[Any]:
    return [link.entry for link in read(node.settings.folder / "ledger.sqlite") if isinstance(link.entry, kind)]


def cost(**sections: Any) -> float:
    """Epsilon of a whole run of this node at the owner's delta, by the ledger's reckoning."""
    made = run_cost(private_experiment(**sections), 40, trusting=False)
    return made.cost.curve.times(made.rounds).epsilon(DELTA)


def test_each_round_is_an_entry_with_all_that_its_privacy_depends_on(node: Make) -> None:
    made, one = private_experiment(purpose="research"), node()
    one.join(made)
    for number in (1, 2):
        assert one.ask(made, model_of(made), round=number)[0].status == "done"
    plan = one.responder._runs[RUN].participant.plan  # type: ignore[union-attr]
    assert plan is not None
    for number, entry in enumerate(entries(one, Reserve), start=1):
        assert (entry.run, entry.client, entry.round, entry.attempt) == (RUN, 0, number, 1)
        assert (entry.lineage, entry.purpose, entry.server) == ("clinic", "research", "127.0.0.1:1")
        assert entry.parameters == {"noise_multiplier": plan.noise_multiplier, "sample_rate": 8 / 40}
        assert (entry.times, entry.unit, entry.adjacency) == (1, "example", "add_remove")
    assert [entry.outcome for entry in entries(one, Settle)] == ["left", "left"]


def test_the_charge_is_on_disk_before_training_and_settled_before_the_reply(
    node: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, one, seen = private_experiment(), node(), []
    one.join(made)
    train = LocalTrainer.train

    def watched(trainer: LocalTrainer, work: Any) -> Any:
        seen.append((len(entries(one, Reserve)), len(entries(one, Settle))))
        return train(trainer, work)

    monkeypatch.setattr(LocalTrainer, "train", watched)
    one.ask(made, model_of(made))
    assert seen == [(1, 0)]
    assert len(entries(one, Settle)) == 1


def test_killed_between_keeping_and_settling_the_kept_bytes_leave_and_are_settled(
    node: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, one = private_experiment(), node()
    one.join(made)
    with monkeypatch.context() as patched:

        def killed(*_: Any) -> None:
            raise KeyboardInterrupt

        patched.setattr(Ledger, "settle", killed)
        with pytest.raises(KeyboardInterrupt):
            one.ask(made, model_of(made))
    assert entries(one, Settle) == []
    one.start()
    one.join(made)
    assert one.ask(made, model_of(made))[0].status == "done"
    assert one.trainings == 1
    assert [entry.outcome for entry in entries(one, Settle)] == ["left"]
    assert one.ask(made, model_of(made, 2))[0].status == "refused"


def test_killed_in_training_the_round_is_trained_again_under_the_same_charge(
    node: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, one = private_experiment(), node()
    one.join(made)
    with monkeypatch.context() as patched:

        def killed(*_: Any) -> None:
            raise KeyboardInterrupt

        patched.setattr(LocalTrainer, "train", killed)
        with pytest.raises(KeyboardInterrupt):
            one.ask(made, model_of(made))
    one.start()
    one.join(made)
    assert one.ask(made, model_of(made, 2))[0].status == "done"
    assert len(entries(one, Reserve)) == 1


@pytest.mark.parametrize("error", [RunError("diverged"), IndexError("a defect")], ids=["named", "defect"])
def test_a_failure_that_is_told_uses_the_charge_up(
    node: Make, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """That it failed is an outcome of a training, too: a coordinator may not have it for nothing."""
    made, one = private_experiment(), node()
    one.join(made)
    with monkeypatch.context() as patched:

        def fail(*_: Any) -> None:
            raise error

        patched.setattr(LocalTrainer, "train", fail)
        assert one.ask(made, model_of(made))[0].status == "failed"
    assert one.ask(made, model_of(made))[0].status == "done"
    assert [entry.attempt for entry in entries(one, Reserve)] == [1, 2]
    reply, _ = one.ask(made, model_of(made), round=2)
    assert reply.status == "refused"
    assert len(entries(one, Reserve)) == made.training.rounds


@pytest.mark.parametrize(("participations", "last"), [(None, "refused"), (3, "done")])
def test_a_repeated_round_needs_a_participation_that_the_noise_is_calibrated_for(
    node: Make, monkeypatch: pytest.MonkeyPatch, participations: int | None, last: str
) -> None:
    privacy = {"unit": "example", "epsilon": 20.0, "delta": DELTA, "participations": participations}
    made, one = private_experiment(privacy=privacy), node()
    one.join(made)
    with monkeypatch.context() as patched:

        def fail(*_: Any) -> None:
            raise RunError("diverged")

        patched.setattr(LocalTrainer, "train", fail)
        assert one.ask(made, model_of(made))[0].status == "failed"
    assert one.ask(made, model_of(made))[0].status == "done"
    reply, _ = one.ask(made, model_of(made), round=2)
    assert reply.status == last
    assert reply.epsilon is None or reply.epsilon <= 20.0


def test_a_run_that_fits_is_let_in_and_never_refused(node: Make) -> None:
    made, one = private_experiment(), node(max_epsilon=cost())
    assert one.join(made).status == "done"
    assert any("PRV accountant" in event and "Renyi" in event for event in one.events)
    for number in (1, 2):
        assert one.ask(made, model_of(made), round=number)[0].status == "done"


@pytest.mark.parametrize("key", ["max_epsilon", "max_epsilon_lineage", "max_epsilon_run"])
def test_a_run_that_does_not_fit_is_refused_when_it_is_joined(node: Make, key: str) -> None:
    made, one = private_experiment(), node(**{key: 0.99 * cost()})
    reply = one.join(made)
    assert reply.status == "refused"
    assert reply.detail == "BudgetExhausted: refused by the budget of the data's owner"
    (kept,) = one.homes[-1].refusals()
    assert f"raise {key} in [ledger]" in kept.reason
    assert "epsilon 20 per example at delta 0.001, by the PRV accountant" in kept.reason
    assert one.ask(made, model_of(made))[0].status == "refused"
    assert entries(one, Reserve) == []


def test_a_target_within_the_limit_can_cost_more_in_the_ledger(node: Make) -> None:
    """PRV, which the target is calibrated by, is tighter than the Renyi curves that a ledger adds."""
    made, one = private_experiment(), node(max_epsilon=20.0)
    assert cost() > made.privacy.epsilon  # type: ignore[union-attr]
    assert one.join(made).status == "refused"


def test_a_second_run_is_refused_and_the_first_goes_on_after_a_restart(node: Make) -> None:
    made, one = private_experiment(), node(max_epsilon=1.01 * cost())
    one.join(made)
    assert one.ask(made, model_of(made))[0].status == "done"
    one.start()
    assert one.join(made, OTHER_RUN).status == "refused"
    assert one.join(made).status == "done"
    assert one.ask(made, model_of(made), round=2)[0].status == "done"


def test_a_purpose_without_a_budget_is_refused(node: Make) -> None:
    one = node(purposes={"research": 1000.0})
    assert one.join(private_experiment()).status == "refused"
    assert one.join(private_experiment(purpose="billing")).status == "refused"
    assert one.join(private_experiment(purpose="research")).status == "done"


def test_a_run_without_privacy_is_refused_by_any_limit_and_written_down_without_one(node: Make) -> None:
    made = experiment()
    limited = node(max_epsilon=1e6)
    assert limited.join(made).status == "refused"
    limited.close()
    one = node()
    one.join(made)
    for number in (1, 2):
        assert one.ask(made, model_of(made), round=number)[0].status == "done"
    one.start()
    one.join(made)
    assert one.ask(made, model_of(made), round=2)[0].status == "done"
    (entry,) = entries(one, Reserve)
    assert (entry.mechanism, entry.round) == (None, 0)
    assert math.isinf(entry.cost.curve_for("example").epsilon(DELTA))


def test_an_owner_of_clients_privacy_takes_no_run_for_examples(node: Make) -> None:
    one = node(max_epsilon=1e6, unit="client")
    assert one.join(private_experiment()).status == "refused"
    assert "per client" in one.homes[-1].refusals()[0].reason


def test_a_delta_that_would_publish_an_example_is_refused(node: Make) -> None:
    one = node(max_epsilon=1e6, delta=0.03)
    reply = one.join(private_experiment())
    assert reply.detail == "BudgetExhausted: refused by the budget of the data's owner"
    assert "delta = 0.03 for 40 units" in one.homes[-1].refusals()[0].reason


def test_other_data_of_the_same_lineage_are_noted_and_buy_nothing(node: Make, tmp_path: Path) -> None:
    made, one = private_experiment(), node(max_epsilon=cost())
    one.join(made)
    assert one.ask(made, model_of(made))[0].status == "done"
    data_file(tmp_path / "rows.npz", seed=1)
    one.start()
    one.join(made)
    assert one.ask(made, model_of(made), round=2)[0].status == "done"
    assert any("are not those that 'clinic' was before" in event for event in one.events)
    assert one.join(private_experiment(seed=8), OTHER_RUN).status == "refused"


def test_a_ledger_that_was_put_back_stops_the_node(node: Make) -> None:
    made, one = private_experiment(training={**PRIVATE_TRAINING, "rounds": 3}), node()
    one.join(made)
    one.ask(made, model_of(made))
    one.close()
    path = one.settings.folder / "ledger.sqlite"
    earlier = path.read_bytes()
    one.start()
    one.join(made)
    one.ask(made, model_of(made), round=2)
    one.close()
    path.write_bytes(earlier)
    with pytest.raises(RunError, match="it is older, or another one"):
        one.start()


def test_what_is_in_the_ledger_cannot_be_changed_through_the_home(node: Make) -> None:
    one = node()
    with sqlite3.connect(one.settings.folder / "ledger.sqlite") as database, pytest.raises(sqlite3.IntegrityError):
        database.execute("DELETE FROM entries")
    database.close()
