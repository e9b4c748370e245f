"""A local Ray cluster of two workers: the sequential engine's bits, traffic that grows with workers alone."""

import os
import signal
import warnings
from collections.abc import Iterator
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
from tests.simulations.small import PRIVACY, TRAINING, experiment

from leptonic.errors import ExperimentError, RunError
from leptonic_server.outputs import Result
from leptonic_simulations.clients import SimulatedClients
from leptonic_simulations.cluster import RayEngine
from leptonic_simulations.cluster.machines import imported
from leptonic_simulations.run import simulate
from leptonic_simulations.sequential import SequentialEngine

pytest.importorskip("ray")
ray = imported()
pytestmark = pytest.mark.slow

SIZES = (40, 7, 120, 1, 33, 64, 90, 12)
EVERYONE = range(len(SIZES))
ORDERED = {"clients": len(SIZES), "cohort": 5, "over_selection": 0.4}
SKEWED = {"scheme": "dirichlet", "alpha": 0.3, "minimum_examples": 1}


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """One for all engines of this module: a connection that was there before."""
    with warnings.catch_warnings():
        # Ray lets go of processes and files of its own without closing them.
        warnings.simplefilter("ignore", ResourceWarning)
        ray.init(address="local", num_cpus=6, include_dashboard=False, log_to_driver=False)
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        ray.shutdown()


Both = tuple[SimulatedClients, RayEngine]


@contextmanager
def started(folder: Path, sizes: tuple[int, ...] = SIZES, **sections: Any) -> Iterator[Both]:
    made = experiment(**{"federation": {"clients": len(sizes)}, "simulation": {"workers": 2}, **sections})
    with (
        closing(clients_of_sizes(made, folder, sizes)) as clients,
        closing(RayEngine(clients, cores=2)) as engine,
    ):
        yield clients, engine


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, cluster: None) -> Iterator[Both]:
    """Sums of each worker's clients; every test leaves it usable."""
    with started(tmp_path_factory.mktemp("running"), evaluation={"on": ["clients"], "holdout": 0.2}) as both:
        yield both


@pytest.fixture(scope="module")
def ordered(tmp_path_factory: pytest.TempPathFactory, cluster: None) -> Iterator[Both]:
    """Replies in the order of the requests, since more are invited than wanted."""
    with started(tmp_path_factory.mktemp("ordered"), federation=ORDERED) as both:
        yield both


def pids(engine: RayEngine) -> list[int]:
    return [int(pid) for pid in ray.get([w.__ray_call__.remote(lambda _: os.getpid()) for w in engine._workers])]


CASES: dict[str, dict[str, Any]] = {
    "fedavg": {},
    "scaffold": {"algorithm": {"name": "scaffold"}},
    "over-selection": {"federation": {"clients": 12, "cohort": 4, "over_selection": 0.5, "partition": SKEWED}},
    "median": {"aggregation": {"rule": "median"}},
    "private": {"federation": {"clients": 3}, "privacy": PRIVACY, "training": {**TRAINING, "local_steps": 2}},
}


@pytest.mark.parametrize("case", CASES)
def test_a_run_gives_the_sequential_engines_bits(tmp_path: Path, case: str) -> None:
    sections = {
        "federation": {"clients": 10, "cohort": 5, "minimum": 2, "partition": SKEWED},
        "training": {**TRAINING, "rounds": 4},
        **CASES[case],
    }
    results: list[Result] = []
    for engine in ("sequential", "ray"):
        made = experiment(**sections, simulation={"engine": engine, "workers": 2, "seeded_noise": case == "private"})
        results.append(simulate(made, folder=tmp_path / engine, quiet=True))
    assert results[0].model_sha256 == results[1].model_sha256
    assert results[0].accuracy == results[1].accuracy


def test_traffic_grows_with_workers_and_not_with_clients(running: Both) -> None:
    clients, engine = running
    content, length = content_for(clients), clients.trainer.pipeline.encoded_length
    for asked in ([6, 2], [0, 1, 2, 3], EVERYONE):
        found = answered(engine, requests_for(clients.experiment, asked, content), content)
        assert sum(len(answer) for _, answer in found.values()) == 2 * length
        alone = [reply.client for reply, _ in found.values() if reply.carried_by is None]
        assert [len(found[client][1]) for client in alone] == [length, length]
        assert {reply.carried_by for reply, _ in found.values()} <= {None, *alone}


def test_the_sums_are_those_of_the_sequential_engine(running: Both) -> None:
    clients, engine = running
    content, totals = content_for(clients), []
    for each in (engine, SequentialEngine(clients)):
        total = clients.trainer.pipeline.zero()
        for _, answer in each.answers(requests_for(clients.experiment, EVERYONE, content), content):
            if len(answer):
                total.add(clients.trainer.pipeline.from_bytes(answer))
        totals.append(total.to_bytes())
    assert totals[0] == totals[1]


def test_an_evaluation_is_answered_one_by_one(running: Both) -> None:
    clients, engine = running
    content = content_for(clients)
    asked = requests_for(clients.experiment, EVERYONE, content, step="evaluate")
    expected = answered(SequentialEngine(clients), asked, content)
    assert without_time(answered(engine, asked, content)) == without_time(expected)


def test_replies_are_single_and_in_order_where_the_order_decides_who_is_counted(ordered: Both) -> None:
    clients, engine = ordered
    content, order = content_for(clients), [3, 2, 6, 0, 1, 7, 5, 4]
    asked = requests_for(clients.experiment, order, content)
    assert [(r.client, r.carried_by) for r, _ in engine.answers(asked, content)] == [(c, None) for c in order]


def test_steps_that_end_early_leave_the_engine_usable(ordered: Both) -> None:
    clients, engine = ordered
    answers_after_leaving(clients, engine, EVERYONE, steps=5, pulled=1)
    assert list(engine.answers([], b"")) == []


def test_a_request_that_cannot_be_answered_is_a_reply(running: Both) -> None:
    clients, engine = running
    refused = answered(engine, requests_for(clients.experiment, EVERYONE, b"short"), b"short")
    assert {(reply.status, reply.carried_by) for reply, _ in refused.values()} == {("refused", None)}


def test_a_worker_that_is_killed_fails_its_share_and_is_replaced(running: Both) -> None:
    clients, engine = running
    victim, other = pids(engine)
    os.kill(victim, signal.SIGKILL)
    content = content_for(clients)
    asked = requests_for(clients.experiment, EVERYONE, content)
    found = answered(engine, asked, content)
    failed = [reply for reply, _ in found.values() if reply.status == "failed"]
    assert 1 <= len(failed) < len(SIZES)
    assert all("was lost" in reply.detail for reply in failed)
    # Nobody's contribution is inside one that did not come.
    carriers = {reply.carried_by for reply, _ in found.values() if reply.status == "done"} - {None}
    assert not carriers & {reply.client for reply in failed}
    assert victim not in pids(engine)
    assert other in pids(engine)
    again = answered(engine, asked, content)
    assert {reply.status for reply, _ in again.values()} == {"done"}


def test_a_worker_that_is_killed_in_the_midst_costs_its_tasks(tmp_path: Path) -> None:
    training = {**TRAINING, "local_steps": 2000}
    with started(tmp_path, training=training, federation=ORDERED) as (clients, engine):
        victim = pids(engine)[0]
        content = content_for(clients)
        replies = engine.answers(requests_for(clients.experiment, EVERYONE, content), content)
        first = next(replies)[0]
        os.kill(victim, signal.SIGKILL)
        others = [reply for reply, _ in replies]
        assert [first.client, *(reply.client for reply in others)] == list(EVERYONE)
        assert 1 <= len([reply for reply in others if reply.status == "failed"]) <= 2


def test_a_defect_of_the_model_ends_the_run_with_a_named_error(tmp_path: Path) -> None:
    with started(tmp_path, model={"name": "tests.simulations.own_models:failing"}) as (clients, engine):
        content = content_for(clients)
        with pytest.raises(RunError, match="a defect of the model"):
            answered(engine, requests_for(clients.experiment, EVERYONE, content), content)


def test_more_workers_than_cores_are_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(ExperimentError, match=r"simulation.workers = 7.*cores"),
        started(tmp_path, simulation={"workers": 7}),
    ):
        pass


def test_a_closed_engine_leaves_no_worker_and_the_cluster_as_it_was(tmp_path: Path) -> None:
    with started(tmp_path, training={**TRAINING, "local_steps": 2000}, federation=ORDERED) as (clients, engine):
        workers = pids(engine)
        content = content_for(clients)
        replies = engine.answers(requests_for(clients.experiment, EVERYONE, content), content)
        next(replies)
        replies.close()
    assert ray.is_initialized()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("seen")] == []
    with started(tmp_path / "next") as (_, after):
        assert not set(pids(after)) & set(workers)
