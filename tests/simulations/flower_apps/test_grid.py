"""Flower's grid in one process: what a ServerApp sees of it, message by message."""

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.supercore.task_identity import TaskIdentity

from leptonic.errors import RunError
from leptonic_simulations.flower_apps.clients import InTurn
from leptonic_simulations.flower_apps.grid import FlowerGrid, described


class Notes:
    """A listener that keeps what it hears."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.errors: list[Exception | str | None] = []

    def sent(self, count: int) -> None:
        self.batches.append(count)

    def answered(self, message: Message, error: Exception | str | None) -> None:
        self.errors.append(error)


Train = Callable[[Message, Context], Message]


def made(train: Train, *, count: int = 3, **options: bool) -> tuple[FlowerGrid, Notes]:
    app, notes = ClientApp(), Notes()
    app.train()(train)
    return FlowerGrid(InTurn(app, count=count, run_config={"lr": 0.5}), notes, **options), notes


def echo(message: Message, context: Context) -> Message:
    return Message(message.content, reply_to=message)


def message(node: int, content: RecordDict | None = None) -> Message:
    records = RecordDict({"config": ConfigRecord({"n": 1})}) if content is None else content
    return Message(records, node, "train", group_id="7")


def test_nodes_are_in_the_order_of_the_partitions() -> None:
    seen: list[tuple[int, object, object]] = []

    def train(message: Message, context: Context) -> Message:
        seen.append((context.node_id, context.node_config["partition-id"], context.node_config["num-partitions"]))
        return echo(message, context)

    grid, _ = made(train, count=4)
    assert grid.get_node_ids() == [2, 3, 4, 5]
    assert [node.node_id for node in grid.get_nodes()] == [2, 3, 4, 5]
    grid.send_and_receive([message(node) for node in grid.get_node_ids()])
    assert seen == [(2, 0, 4), (3, 1, 4), (4, 2, 4), (5, 3, 4)]


def test_work_is_done_in_the_order_of_pushing_whoever_is_pulled_first() -> None:
    seen: list[int] = []

    def train(message: Message, context: Context) -> Message:
        seen.append(context.node_id)
        return echo(message, context)

    grid, notes = made(train)
    names = [*grid.push_messages([message(4)]), *grid.push_messages([message(2), message(3)])]
    assert seen == []
    (last,) = grid.pull_messages(names[2:])
    assert seen == [4, 2, 3]
    assert (last.metadata.src_node_id, last.metadata.dst_node_id) == (3, 1)
    first, second = grid.pull_messages(names)
    assert [reply.metadata.reply_to_message_id for reply in (first, second)] == names[:2]
    assert list(grid.pull_messages([*names, "no such message"])) == []
    assert notes.batches == [3]
    assert len({first.metadata.message_id, second.metadata.message_id, *names}) == 5


def test_a_reply_says_to_what() -> None:
    grid, _ = made(echo)
    (reply,) = grid.send_and_receive([message(3)])
    data = reply.metadata
    assert (data.run_id, data.group_id, data.message_type) == (TaskIdentity.run_id, "7", "train")


def test_one_record_for_all_is_not_shared_by_any() -> None:
    """Strategies put the same records into every message, and change them later."""

    def train(message: Message, context: Context) -> Message:
        message.content["config"]["n"] = int(message.content["config"]["n"]) + 1
        message.content["config"]["list"].append(context.node_id)
        message.content["arrays"]["0"] = message.content["arrays"]["1"]
        return echo(message, context)

    grid, _ = made(train)
    arrays = ArrayRecord([np.zeros(2), np.ones(2)])
    records = RecordDict({"config": ConfigRecord({"n": 1, "list": [0]}), "arrays": arrays})
    names = list(grid.push_messages([message(node, records) for node in (2, 3)]))
    records["config"]["n"] = 100
    replies = list(grid.pull_messages(names))
    assert [reply.content["config"]["n"] for reply in replies] == [2, 2]
    assert [reply.content["config"]["list"] for reply in replies] == [[0, 2], [0, 3]]
    assert arrays["0"].numpy().tolist() == [0.0, 0.0]
    assert records["config"]["list"] == [0]


def test_state_grows_node_by_node_and_only_by_success() -> None:
    fail = {3}

    def train(message: Message, context: Context) -> Message:
        counter = context.state.setdefault("counter", MetricRecord({"calls": 0, "history": [0]}))
        counter["calls"] = int(counter["calls"]) + 1
        counter["history"].append(context.node_id)
        if context.node_id in fail:
            raise ValueError("not today")
        return Message(context.state, reply_to=message)

    grid, _ = made(train)

    def round_() -> list[tuple[object, object] | None]:
        replies = grid.send_and_receive([message(node) for node in (2, 3)])
        found = [None if r.has_error() else (r.content["counter"]["calls"], r.content["counter"]) for r in replies]
        return [None if each is None else (each[0], list(each[1]["history"])) for each in found]

    assert round_() == [(1, [0, 2]), None]
    assert round_() == [(2, [0, 2, 2]), None]
    fail.clear()
    assert round_() == [(3, [0, 2, 2, 2]), (1, [0, 3])]


def test_what_the_server_does_to_a_reply_does_not_reach_the_clients_state() -> None:
    def train(message: Message, context: Context) -> Message:
        context.state.setdefault("kept", MetricRecord({"values": [1]}))
        return Message(context.state, reply_to=message)

    grid, _ = made(train)
    (first,) = grid.send_and_receive([message(2)])
    first.content["kept"]["values"].append(2)
    (second,) = grid.send_and_receive([message(2)])
    assert second.content["kept"]["values"] == [1]


def changes_run_config(message: Message, context: Context) -> Message:
    context.run_config["lr"] = 1.0
    return echo(message, context)


@pytest.mark.parametrize(
    ("train", "reason"),
    [
        (lambda message, context: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda message, context: None, "TypeError: the ClientApp returned NoneType, not a Message"),
        (
            lambda message, context: Message(message.content, 1, "train"),
            "ValueError: the ClientApp's Message answers no",
        ),
        (changes_run_config, "ValueError: the ClientApp changed context.run_config"),
    ],
)
def test_a_client_that_fails_gives_an_error_reply(train: Train, reason: str) -> None:
    grid, notes = made(train)
    replies = list(grid.send_and_receive([message(2), message(3)]))
    assert all(reply.has_error() and reply.error.code == 2 for reply in replies)
    assert all(reply.error.reason.startswith(reason) for reply in replies)
    assert [reply.metadata.src_node_id for reply in replies] == [2, 3]
    assert len(notes.errors) == 2
    assert all(isinstance(error, Exception) for error in notes.errors)


def test_a_clients_own_error_reply_is_passed_on_and_heard_of() -> None:
    grid, notes = made(lambda message, context: Message(Error(6, "too early"), reply_to=message))
    (reply,) = grid.send_and_receive([message(2)])
    assert (reply.error.code, notes.errors) == (6, ["too early"])


def test_a_node_that_does_not_exist_is_unavailable() -> None:
    grid, notes = made(echo)
    known, unknown = grid.send_and_receive([message(2), message(99)])
    assert not known.has_error()
    assert unknown.error.code == 5
    assert notes.errors == ["there is no node 99", None]


def test_at_the_first_error_it_stops_if_it_should() -> None:
    calls = itertools.count()

    def train(message: Message, context: Context) -> Message:
        next(calls)
        raise KeyError("mine")

    grid, _ = made(train, stop_at_error=True)
    with pytest.raises(KeyError) as raised:
        grid.send_and_receive([message(2), message(3)])
    assert raised.traceback[-1].name == "train"
    assert raised.value.__notes__ == ["raised by client 0 (node 2), train, round 7, message-1"]
    with pytest.raises(KeyError):
        grid.send_and_receive([message(4)])
    assert grid.stopped is raised.value
    assert next(calls) == 1


def test_a_message_is_described_by_the_round_that_its_strategy_states() -> None:
    message_ = message(4, RecordDict({"config": ConfigRecord({"server-round": 12})}))
    assert described(message_).startswith("client 2 (node 4), train, round 12")


def test_replies_cannot_be_pushed() -> None:
    grid, _ = made(echo)
    (reply,) = grid.send_and_receive([message(2)])
    with pytest.raises(ValueError, match="only new messages"):
        grid.push_messages([reply])


def test_work_that_nobody_pulls_is_done_too() -> None:
    seen: list[int] = []

    def train(message: Message, context: Context) -> Message:
        seen.append(context.node_id)
        return echo(message, context)

    grid, _ = made(train)
    grid.push_messages([message(3)])
    grid.work()
    assert seen == [3]


def test_threads_of_the_server_never_let_two_clients_work_at_once() -> None:
    working, most = 0, 0

    def train(message: Message, context: Context) -> Message:
        nonlocal working, most
        working += 1
        most = max(most, working)
        np.linalg.svd(np.ones((30, 30)))
        working -= 1
        return echo(message, context)

    grid, _ = made(train, count=8)
    threads = [threading.Thread(target=grid.send_and_receive, args=([message(node)],)) for node in range(2, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_endless_waiting_for_nodes_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count()
    monkeypatch.setattr("leptonic_simulations.flower_apps.grid.time.monotonic", lambda: float(next(ticks)))
    grid, _ = made(echo, count=1)
    for _ in range(30):
        grid.get_node_ids()
        grid.send_and_receive([message(2)])
    for _ in range(9):
        grid.get_node_ids()
    with pytest.raises(RunError, match="more than the 1 there are; give more by --clients"):
        grid.get_node_ids()


def test_an_engine_may_work_on_a_whole_batch() -> None:
    """The seam: an engine gets all that is queued, and its replies are told apart by their order."""

    class Backwards:
        nodes = range(2, 5)

        def answer(self, messages: Sequence[Message]) -> Iterator[Message | Exception]:
            done = {m.metadata.message_id: Message(m.content, reply_to=m) for m in reversed(messages)}
            return (done[m.metadata.message_id] for m in messages)

    grid = FlowerGrid(Backwards(), Notes())
    replies = grid.send_and_receive([message(node) for node in (2, 3, 4)])
    assert [reply.metadata.src_node_id for reply in replies] == [2, 3, 4]
