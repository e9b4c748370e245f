"""What a node answers to a coordinator that may lie: it never trains twice, runs nothing it was sent, tells nothing."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Error, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity
from tests.client.samples import RUN, data_file, experiment, private_experiment, request, start_of

from leptonic.experiment import Experiment
from leptonic.identity import signing_key
from leptonic.privacy.accounting import epsilon_spent
from leptonic.wire import Reply, Request
from leptonic_client.fleet import Incoming
from leptonic_client.home import ClientHome
from leptonic_client.node import Node
from leptonic_client.participant import Participant
from leptonic_client.responder import Responder
from leptonic_client.secure import Membership
from leptonic_client.settings import NodeSettings, node_settings
from leptonic_client.training import LocalTrainer

OTHER_RUN = "fedcba9876543210"


class OneNode:
    """A responder with its home, and how often it trained."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> None:
        data = settings.pop("data", None) or str(data_file(folder / "rows.npz"))
        home = str(folder / "home")
        declared = {"server": "127.0.0.1:1", "name": "clinic", "data": data, "home": home, "public_size": 40}
        content = {key: value for key, value in {**declared, **settings}.items() if value is not None}
        self.settings: NodeSettings = node_settings(content)
        self.events: list[str] = []
        self.trainings = 0
        self.homes: list[ClientHome] = []
        train = LocalTrainer.train

        def counted(trainer: LocalTrainer, *arguments: Any, **keywords: Any) -> Any:
            self.trainings += 1
            return train(trainer, *arguments, **keywords)

        monkeypatch.setattr(LocalTrainer, "train", counted)
        self.start()

    def start(self) -> None:
        """As after a restart of the node's process."""
        self.close()
        owned = {"lineage": self.settings.lineage, "limits": self.settings.limits}
        self.homes.append(ClientHome(self.settings.folder, **owned))
        membership = Membership(self.settings, signing_key(self.settings.folder / "node.key", "the node's"))
        self.responder = Responder(self.settings, self.homes[-1], membership, self.events.append)

    def close(self) -> None:
        for home in self.homes:
            home.close()
        self.homes.clear()

    def join(self, made: Experiment, run: str = RUN) -> Reply:
        asked = request(made, made.canonical, run=run, round=0, step="join", client=-1, attempt=17)
        return self.responder.respond(asked, made.canonical)[0]

    def ask(self, made: Experiment, content: bytes, **changes: Any) -> tuple[Reply, bytes]:
        asked = request(made, content, **changes)
        reply, answer = self.responder.respond(asked, content)
        assert reply.answers(asked)
        return reply, answer


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OneNode]:
    made = OneNode(tmp_path, monkeypatch)
    yield made
    made.close()


def model_of(made: Experiment, seed: int = 1) -> bytes:
    return start_of(LocalTrainer(made), seed).tobytes()


def test_a_repeated_request_gets_the_same_bytes_and_trains_nothing(node: OneNode) -> None:
    made = experiment()
    node.join(made)
    content = model_of(made)
    first, answer = node.ask(made, content)
    again, repeated = node.ask(made, content, attempt=2)
    assert (first.status, again.status) == ("done", "done")
    assert (first.attempt, again.attempt) == (1, 2)
    assert answer == repeated
    assert node.trainings == 1


def test_another_request_trains(node: OneNode) -> None:
    made = experiment()
    node.join(made)
    answers = [node.ask(made, model_of(made, seed), round=number)[1] for number, seed in ((1, 1), (2, 1), (2, 2))]
    assert len(set(answers)) == 3
    assert node.trainings == 3


def test_private_bytes_are_the_same_after_a_restart_and_nothing_trains_again(node: OneNode) -> None:
    made = private_experiment()
    node.join(made)
    content = model_of(made)
    first, answer = node.ask(made, content)
    node.start()
    node.join(made)
    again, repeated = node.ask(made, content, attempt=2)
    assert answer == repeated
    assert again.epsilon == first.epsilon is not None
    assert node.trainings == 1


def test_an_evaluation_between_does_not_push_the_update_out(node: OneNode) -> None:
    made = experiment(evaluation={"on": ["clients"], "holdout": 0.2})
    node.join(made)
    content = model_of(made)
    _, answer = node.ask(made, content)
    assert node.ask(made, model_of(made, 5), step="evaluate")[0].status == "done"
    assert node.ask(made, content)[1] == answer
    assert node.trainings == 1


def done(replies: list[tuple[Reply, bytes]]) -> list[bytes]:
    return [content for reply, content in replies if reply.status == "done"]


def test_one_private_round_is_released_once_whatever_model_it_comes_with(node: OneNode) -> None:
    """Each other model would get an update with noise of its own: that many releases, counted as one."""
    made = private_experiment()
    node.join(made)
    released = set(done([node.ask(made, model_of(made, seed)) for seed in range(1, 7)]))
    assert len(released) <= made.training.rounds


def test_one_private_round_is_released_once_whatever_state_it_claims(node: OneNode) -> None:
    made = private_experiment()
    node.join(made)
    content = model_of(made)
    released = set(done([node.ask(made, content, counted=counted) for counted in range(6)]))
    assert len(released) <= made.training.rounds


def test_going_back_to_an_earlier_private_round_releases_nothing_new(node: OneNode) -> None:
    """Only the newest reply is kept; the same requests in turn must not draw fresh noise each time."""
    made = private_experiment()
    node.join(made)
    content = model_of(made)
    released = set(done([node.ask(made, content, round=number) for number in (1, 2, 1, 2, 1, 2)]))
    assert len(released) <= made.training.rounds


def test_a_new_index_in_the_same_run_gives_no_new_budget(node: OneNode) -> None:
    """The coordinator chooses the index, and joining another run between makes the node forget it."""
    made = private_experiment()
    content = model_of(made)
    replies = []
    for index in range(3):
        node.join(made, OTHER_RUN)
        node.join(made, RUN)
        replies += [node.ask(made, content, client=index, round=number) for number in (1, 2)]
    assert len(set(done(replies))) <= made.training.rounds


def test_a_new_index_after_a_restart_gives_no_new_budget(node: OneNode) -> None:
    made = private_experiment()
    content = model_of(made)
    replies = []
    for index in range(3):
        node.start()
        node.join(made)
        replies += [node.ask(made, content, client=index, round=number) for number in (1, 2)]
    assert len(set(done(replies))) <= made.training.rounds


def test_epsilon_is_not_told_too_low_when_a_run_comes_with_another_experiment(node: OneNode) -> None:
    """A round spent under a loose target must not be reckoned under a strict one."""
    loose, strict = private_experiment(), private_experiment(privacy={"unit": "example", "epsilon": 1.0, "delta": 1e-3})
    content = model_of(loose)
    node.join(loose)
    first, _ = node.ask(loose, content, round=1)
    node.join(strict, OTHER_RUN)
    node.join(strict)
    second, _ = node.ask(strict, content, round=2)
    assert first.epsilon is not None
    assert second.status != "done" or (second.epsilon is not None and second.epsilon >= first.epsilon)


@pytest.mark.parametrize("private", [False, True])
def test_under_privacy_a_client_does_not_say_how_long_it_has_worked(node: OneNode, private: bool) -> None:
    made = private_experiment() if private else experiment()
    node.join(made)
    reply, _ = node.ask(made, model_of(made), round=1)
    assert reply.status == "done"
    assert (reply.seconds == 0.0) == private


def test_a_run_that_is_joined_cannot_be_joined_with_another_experiment(node: OneNode) -> None:
    assert node.join(experiment()).status == "done"
    assert node.join(experiment(seed=8)).status == "refused"


def test_a_hash_that_is_not_the_experiments_is_refused(node: OneNode) -> None:
    made = experiment()
    asked = request(made, made.canonical, round=0, step="join", client=-1, experiment="0" * 64)
    reply, _ = node.responder.respond(asked, made.canonical)
    assert reply.status == "refused"
    assert "VersionMismatch" in reply.detail
    assert node.ask(made, model_of(made))[0].status == "refused"


@pytest.mark.parametrize("content", [b"", b"not json", b"[]", b'{"name": "x", "unknown": 1}', b"\xff", b"[" * 100_000])
def test_what_is_no_experiment_is_refused(node: OneNode, content: bytes) -> None:
    asked = request(experiment(), content, round=0, step="join", client=-1)
    assert node.responder.respond(asked, content)[0].status == "refused"


def test_example_level_privacy_takes_a_declared_number_of_examples_not_the_one_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = OneNode(tmp_path, monkeypatch, public_size=None)
    refused = one.join(private_experiment())
    assert refused.status == "refused"
    assert "set public_size" in refused.detail
    assert one.join(experiment()).status == "done"


def test_an_unknown_run_is_refused_with_the_reason(node: OneNode) -> None:
    reply, answer = node.ask(experiment(), b"\0" * 2600)
    assert (reply.status, answer) == ("refused", b"")
    (kept,) = node.homes[-1].refusals()
    assert (kept.step, kept.reason) == ("train", reply.detail)
    assert f"has not joined run {RUN}" in reply.detail


def test_the_index_that_was_given_first_stays(node: OneNode) -> None:
    made = experiment()
    node.join(made)
    content = model_of(made)
    assert node.ask(made, content)[0].status == "done"
    assert node.ask(made, content, client=1)[0].status == "refused"


TRAP = """
import pathlib
pathlib.Path({marker!r}).write_text("imported")
def make(*_, **__):
    raise SystemExit("ran")
"""


@pytest.mark.parametrize("section", ["model", "task"])
def test_an_entry_that_the_owner_did_not_allow_is_refused_and_not_imported(
    node: OneNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, section: str
) -> None:
    marker = tmp_path / "marker"
    (tmp_path / "leptonic_trap.py").write_text(TRAP.format(marker=str(marker)))
    monkeypatch.syspath_prepend(tmp_path)
    entry = "leptonic_trap:make"
    made = experiment(**({"model": {"name": entry}} if section == "model" else {"task": {"kind": entry}}))
    reply = node.join(made)
    assert reply.status == "refused"
    assert entry in reply.detail
    assert node.ask(made, b"\0" * 2600)[0].status == "refused"
    assert not marker.exists()
    assert "leptonic_trap" not in sys.modules


def test_an_entry_that_the_owner_allowed_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "leptonic_allowed.py").write_text(
        "from torch import nn\ndef net(spec):\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    made = experiment(model={"name": "leptonic_allowed:net"})
    node = OneNode(tmp_path, monkeypatch, allow=["leptonic_allowed:net"])
    assert node.join(made).status == "done"
    assert node.ask(made, b"\0" * 2600)[0].status == "done"
    node.close()


ROWS = "age,diagnosis\n41,angina\n52,stroke\n"


@pytest.mark.parametrize("private", [False, True])
def test_an_error_does_not_carry_rows_to_the_coordinator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, private: bool
) -> None:
    """Invariant 1. The coordinator chooses the target, so it could read the cells of a column one by one."""
    path = tmp_path / "rows.csv"
    path.write_text(ROWS)
    node = OneNode(tmp_path, monkeypatch, data=str(path))
    own = {"name": "own", "shape": [1], "classes": 2, "target": "diagnosis"}
    made = (private_experiment if private else experiment)(
        data=own, task={"kind": "tabular_classification"}, aggregation={"rule": "mean", "weight_cap": 10}
    )
    node.join(made)
    reply, _ = node.ask(made, b"\0" * 16)
    assert reply.status != "done"
    assert not any(word in reply.detail for word in ("angina", "stroke", "41", "age", str(tmp_path)))
    assert any("angina" in event for event in node.events)
    node.close()


def test_a_defect_of_a_model_is_told_by_its_kind_alone_and_the_node_lives(
    node: OneNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = experiment()
    node.join(made)

    def fail(*_: Any, **__: Any) -> None:
        raise IndexError("patient 4711")

    with monkeypatch.context() as patched:
        patched.setattr(Participant, "answer", fail)
        reply, _ = node.ask(made, model_of(made))
    assert reply.status == "failed"
    assert reply.detail.startswith("IndexError")
    assert "4711" not in reply.detail
    assert any("4711" in event for event in node.events)
    assert node.ask(made, model_of(made))[0].status == "done"


def test_a_failure_is_not_kept_as_the_answer(node: OneNode, monkeypatch: pytest.MonkeyPatch) -> None:
    from leptonic.errors import RunError

    made = experiment()
    node.join(made)

    def fail(*_: Any, **__: Any) -> None:
        raise RunError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(LocalTrainer, "train", fail)
        assert node.ask(made, model_of(made))[0].status == "failed"
    assert node.ask(made, model_of(made))[0].status == "done"


def test_the_end_of_a_joined_run_ends_it_and_of_another_does_not(node: OneNode) -> None:
    made = experiment()
    node.join(made)
    node.ask(made, b"", run=OTHER_RUN, step="end")
    assert not node.responder.ended
    assert node.ask(made, b"", step="end")[0].status == "done"
    assert node.responder.ended
    assert node.ask(made, model_of(made))[0].status == "refused"


def test_a_model_of_absurd_size_does_not_end_the_node(node: OneNode) -> None:
    made = experiment(model={"name": "mlp", "hidden": [2**40]})
    node.join(made)
    assert node.ask(made, b"")[0].status in ("failed", "refused")


class StubFleet:
    """Takes what a node sends."""

    def __init__(self) -> None:
        self.confirmed = 0

    def confirm(self, incoming: Incoming) -> None:
        self.confirmed += 1


def test_a_message_with_an_error_in_place_of_content_does_not_end_the_node(tmp_path: Path) -> None:
    events: list[str] = []
    settings = {"server": "127.0.0.1:1", "name": "clinic", "data": "rows.npz", "home": str(tmp_path)}
    node = Node(node_settings(settings), on_event=events.append)
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1
    asking = Message(RecordDict(), dst_node_id=5, message_type="train")
    fleet = StubFleet()
    try:
        node._answer(fleet, Incoming(Message(Error(code=0, reason="x"), reply_to=asking), "name"))  # type: ignore[arg-type]
    finally:
        node._home.close()
    assert fleet.confirmed == 1
    assert len(events) == 1


def test_the_epsilon_told_is_the_accountants(node: OneNode) -> None:
    made = private_experiment()
    node.join(made)
    reply, _ = node.ask(made, model_of(made))
    taking = node.responder._runs[RUN].participant
    assert taking is not None
    assert taking.plan is not None
    assert reply.epsilon == epsilon_spent(taking.plan, 1)


def test_requests_come_from_the_wire(node: OneNode) -> None:
    """The sample requests of these tests are ones that the wire lets through."""
    made = experiment()
    content = np.zeros(650, np.float32).tobytes()
    assert Request.model_validate_json(request(made, content).model_dump_json()) == request(made, content)
