"""Worker processes give the sequential engine's bits, whatever befalls them, and leave nothing behind."""

import gc
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.simulations.asking import (
    answered,
    answers_after_leaving,
    clients_of_sizes,
    content_for,
    requests_for,
    without_time,
)
from tests.simulations.small import TRAINING, experiment

from leptonic.errors import RunError
from leptonic.pipeline import Pipeline
from leptonic_server.accumulator import accumulator_for
from leptonic_server.rules import rule_for
from leptonic_simulations.clients import SimulatedClients
from leptonic_simulations.processes import ProcessesEngine
from leptonic_simulations.sequential import SequentialEngine

pytestmark = pytest.mark.slow

SIZES = (40, 7, 120, 1, 33, 64, 90, 12)
EVERYONE = range(len(SIZES))
EVALUATION = {"on": ["clients"], "holdout": 0.2}
DESCRIPTORS = Path("/proc/self/fd")


@contextmanager
def started(folder: Path, *, workers: int = 2, **sections: Any) -> Iterator[tuple[SimulatedClients, ProcessesEngine]]:
    made = experiment(**{"federation": {"clients": len(SIZES)}, "evaluation": EVALUATION, **sections})
    with (
        closing(clients_of_sizes(made, folder, SIZES)) as clients,
        closing(ProcessesEngine(clients, workers=workers)) as engine,
    ):
        yield clients, engine


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SimulatedClients, ProcessesEngine]]:
    """Replies as they come; every test leaves it usable."""
    with started(tmp_path_factory.mktemp("running")) as both:
        yield both


@pytest.fixture(scope="module")
def ordered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SimulatedClients, ProcessesEngine]]:
    """Replies in the order of the requests, since more are invited than wanted."""
    federation = {"clients": len(SIZES), "cohort": 5, "over_selection": 0.4}
    with started(tmp_path_factory.mktemp("ordered"), federation=federation) as both:
        yield both


def workers_of(engine: ProcessesEngine) -> list[int]:
    return [worker.process.pid for worker in engine._workers]


def test_every_bit_is_that_of_the_sequential_engine(running: tuple[SimulatedClients, ProcessesEngine]) -> None:
    clients, engine = running
    for seed, step in enumerate(("train", "evaluate", "train")):
        content = content_for(clients, seed)
        asked = requests_for(clients.experiment, EVERYONE, content, step=step)
        expected = answered(SequentialEngine(clients), asked, content)
        assert without_time(answered(engine, asked, content)) == without_time(expected)


def test_the_largest_clients_begin_first(
    running: tuple[SimulatedClients, ProcessesEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    clients, engine = running
    handed: list[int] = []
    for worker in engine._workers:
        hand = worker.hand

        def noted(request: Any, length: int, hand: Callable[..., None] = hand) -> None:
            handed.append(request.client)
            hand(request, length)

        monkeypatch.setattr(worker, "hand", noted)
    content = content_for(clients)
    asked = requests_for(clients.experiment, EVERYONE, content)
    answered(engine, asked, content)
    assert handed == [request.client for request in sorted(asked, key=clients.work, reverse=True)]
    assert handed != list(EVERYONE)


def test_replies_are_in_order_where_the_order_decides_who_is_counted(
    ordered: tuple[SimulatedClients, ProcessesEngine],
) -> None:
    clients, engine = ordered
    content, order = content_for(clients), [3, 2, 6, 0, 1, 7, 5, 4]
    asked = requests_for(clients.experiment, order, content)
    assert [reply.client for reply, _ in engine.answers(asked, content)] == order


@pytest.mark.parametrize("pulled", [1, 2, 5, 8])
def test_steps_that_end_early_leave_the_engine_usable(request: pytest.FixtureRequest, pulled: int) -> None:
    """As often as there are slots, and more: none of them may be lost, and no content changed under a client."""
    for name in ("running", "ordered"):
        clients, engine = request.getfixturevalue(name)
        answers_after_leaving(clients, engine, EVERYONE, steps=6, pulled=pulled)


def test_robust_rules_keep_what_they_were_given(running: tuple[SimulatedClients, ProcessesEngine]) -> None:
    """They keep every update, while the memory of its reply is used again."""
    clients, engine = running
    made = experiment(aggregation={"rule": "median"}, federation={"clients": len(SIZES), "minimum": 3})
    content = content_for(clients)
    asked = requests_for(clients.experiment, EVERYONE, content)
    pipeline: Pipeline = clients.trainer.pipeline
    means = []
    for each in (engine, SequentialEngine(clients)):
        total = accumulator_for(pipeline, rule_for(made.aggregation))
        for reply, answer in each.answers(asked, content):
            total.add(reply.client, pipeline.from_bytes(answer))
        means.append(total.result())
    assert (means[0].vectors["model"] == means[1].vectors["model"]).all()
    assert means[0].sums == means[1].sums


def test_a_request_that_cannot_be_answered_is_a_reply(running: tuple[SimulatedClients, ProcessesEngine]) -> None:
    clients, engine = running
    refused = answered(engine, requests_for(clients.experiment, EVERYONE, b"short"), b"short")
    assert {reply.status for reply, _ in refused.values()} == {"refused"}
    assert list(engine.answers([], b"")) == []


@pytest.mark.skipif(not DESCRIPTORS.exists(), reason="counts descriptors in /proc")
def test_nothing_grows_over_many_steps(running: tuple[SimulatedClients, ProcessesEngine]) -> None:
    clients, engine = running
    content = content_for(clients)
    asked = requests_for(clients.experiment, EVERYONE, content)
    before, workers = len(list(DESCRIPTORS.iterdir())), workers_of(engine)
    for _ in range(30):
        answered(engine, asked, content)
    assert len(list(DESCRIPTORS.iterdir())) == before
    assert workers_of(engine) == workers


def test_a_worker_that_is_killed_fails_its_clients_and_is_replaced(tmp_path: Path) -> None:
    training = {**TRAINING, "local_steps": 2000}
    with started(tmp_path, training=training, evaluation={"on": ["server"]}) as (clients, engine):
        content = content_for(clients)
        asked = requests_for(clients.experiment, EVERYONE, content)
        replies = engine.answers(asked, content)
        first = next(replies)[0]
        victim = workers_of(engine)[0]
        os.kill(victim, signal.SIGKILL)
        others = {reply.client: reply for reply, _ in replies}
        assert sorted([first.client, *others]) == list(EVERYONE)
        failed = [reply for reply in others.values() if reply.status == "failed"]
        assert 1 <= len(failed) <= 2
        assert all("signal 9" in reply.detail for reply in failed)
        assert victim not in workers_of(engine)
        again = requests_for(clients.experiment, [reply.client for reply in failed], content, attempt=2)
        expected = answered(SequentialEngine(clients), again, content)
        assert without_time(answered(engine, again, content)) == without_time(expected)


def test_a_defect_of_the_model_ends_the_run_with_a_named_error(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """As in one process, and not as clients that fail again and again."""
    with started(tmp_path, model={"name": "tests.simulations.own_models:failing"}) as (clients, engine):
        content = content_for(clients)
        with pytest.raises(RunError, match="ended by itself"):
            answered(engine, requests_for(clients.experiment, EVERYONE, content), content)
    assert "a defect of the model" in capfd.readouterr().err


def test_a_client_that_cannot_be_made_fails_alone(tmp_path: Path) -> None:
    """The holdout leaves the client with one example none to train on."""
    with started(tmp_path, evaluation={"on": ["clients"], "holdout": 0.6}) as (clients, engine):
        content = content_for(clients)
        asked = requests_for(clients.experiment, EVERYONE, content)
        found = answered(engine, asked, content)
        assert without_time(found) == without_time(answered(SequentialEngine(clients), asked, content))
        assert {client for client, (reply, _) in found.items() if reply.status == "failed"} == {3}
        assert "holdout" in found[3][0].detail


@pytest.mark.skipif(not DESCRIPTORS.exists(), reason="counts descriptors in /proc")
def test_a_closed_engine_leaves_no_process_and_no_descriptor(tmp_path: Path) -> None:
    gc.collect()
    before = len(list(DESCRIPTORS.iterdir()))
    with started(tmp_path) as (clients, engine):
        content, pids = content_for(clients), workers_of(engine)
        replies = engine.answers(requests_for(clients.experiment, EVERYONE, content), content)
        next(replies)
        replies.close()
    del engine, replies, clients
    gc.collect()
    assert len(list(DESCRIPTORS.iterdir())) == before
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
