"""The batched engine gives what the sequential one gives, but for rounding."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.simulations.asking import (
    answered,
    clients_of_sizes,
    content_for,
    decoded,
    distance,
    requests_for,
)
from tests.simulations.small import TRAINING, experiment

from leptonic.errors import RunError
from leptonic.experiment import Experiment
from leptonic.update import Mean
from leptonic_client.participant import Answer, Participant
from leptonic_simulations.batched import BatchedEngine
from leptonic_simulations.batched.group import GroupTrainer
from leptonic_simulations.clients import SimulatedClients
from leptonic_simulations.grid import Engine
from leptonic_simulations.sequential import SequentialEngine

ALGORITHMS = ("fedavg", "fedprox", "scaffold", "fednova", "feddyn")
SIZES = (33, 1, 100, 5, 32, 31, 64)
"""One example, fewer than a batch, a batch, a batch and one more, several."""

TOLERANCE = {"fedavg": 2e-5, "fedprox": 2e-5, "scaffold": 2e-5, "fednova": 2e-5, "feddyn": 2e-5}
"""Relative distance of an update's vectors in float32 under SGD, by algorithm."""
LOOSER = {"adam": 2e-3, "adamw": 2e-3, "bfloat16": 5e-2}
"""Adam divides gradients by their own size, so that rounding of small ones shows; bfloat16 has eight bits."""

SGD: dict[str, Any] = {"rounds": 3, "batch_size": 32, "learning_rate": 0.1}
OPTIONS: dict[str, dict[str, Any]] = {
    "epochs": {**SGD, "local_epochs": 2},
    "steps beyond a pass": {**SGD, "local_steps": 5},
    "few small steps": {**SGD, "local_steps": 6, "batch_size": 4},
    "momentum": {**SGD, "local_epochs": 2, "momentum": 0.9},
    "weight decay": {**SGD, "local_epochs": 2, "momentum": 0.5, "weight_decay": 0.01},
    "clipped": {**SGD, "local_epochs": 2, "gradient_clip_norm": 0.5},
    "accumulated": {**SGD, "local_epochs": 2, "accumulation_steps": 3},
    "adam": {**SGD, "local_epochs": 2, "optimizer": "adam", "learning_rate": 0.01},
    "adamw": {**SGD, "local_epochs": 2, "optimizer": "adamw", "learning_rate": 0.01, "weight_decay": 0.1},
    "bfloat16": {**SGD, "local_epochs": 1, "precision": "bfloat16"},
}
MODELS: list[dict[str, Any]] = [
    {"name": "logistic"},
    {"name": "mlp", "hidden": [16]},
    {"name": "cnn", "channels": [4, 6], "hidden": 12},
    {"name": "resnet", "width": 4},
    {"name": "tests.simulations.own_models:Odd"},
]
MLP = {"name": "mlp", "hidden": [16]}


def made_of(algorithm: str = "fedavg", **sections: Any) -> Experiment:
    """Uniform weights, since the lattice is coarse for a client that weighs a thousandth of the heaviest."""
    return experiment(
        **{
            "algorithm": {"name": algorithm},
            "model": MLP,
            "federation": {"clients": len(SIZES)},
            "aggregation": {"rule": "mean", "weighting": "uniform"},
            **sections,
        }
    )


def differences(found: dict[int, Mean], expected: dict[int, Mean], tolerance: float) -> list[str]:
    """Where two sets of updates differ by more than the tolerance. Sums of metrics stand for all their examples."""
    wrong = []
    for client, mean in expected.items():
        for name, vector in mean.vectors.items():
            off = distance(found[client].vectors[name], vector)
            if not off <= tolerance:
                wrong.append(f"client {client}: {name} is off by {off:.1e}")
        for name, value in mean.sums.items():
            if not abs(found[client].sums[name] - value) <= tolerance * (1 + abs(value)):
                wrong.append(f"client {client}: {name} is {found[client].sums[name]}, not {value}")
    return wrong


def both(
    folder: Path, made: Experiment, sizes: tuple[int, ...] = SIZES, *, threads: int = 1
) -> tuple[dict[int, Mean], dict[int, Mean]]:
    """The updates of one round by the batched and the sequential engine."""
    found = []
    for name, engine in (("batched", lambda c: BatchedEngine(c, threads=threads)), ("sequential", SequentialEngine)):
        clients = clients_of_sizes(made, folder / name, sizes)
        content = content_for(clients)
        replies = answered(engine(clients), requests_for(made, range(len(sizes)), content), content)
        found.append(decoded(clients, replies))
        clients.close()
    return found[0], found[1]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("option", OPTIONS)
def test_it_agrees_with_the_sequential_engine(tmp_path: Path, algorithm: str, option: str) -> None:
    training = OPTIONS[option]
    if training.get("optimizer", "sgd") != "sgd" and algorithm not in ("fedavg", "fedprox"):
        pytest.skip("the algorithm is defined for sgd")
    found, expected = both(tmp_path, made_of(algorithm, training=training))
    assert differences(found, expected, LOOSER.get(option, TOLERANCE[algorithm])) == []


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model["name"].split(":")[-1])
@pytest.mark.parametrize("algorithm", ["fedprox", "scaffold"])
@pytest.mark.parametrize("option", ["few small steps", "weight decay"])
def test_every_model_agrees(tmp_path: Path, model: dict[str, Any], algorithm: str, option: str) -> None:
    # With some seeds, 4 among them, a ReLU of the resnet stands at its kink: a start that is moved by 1e-7 then ends a
    # hundredth away, with any engine. With this one it ends 5e-6 away.
    found, expected = both(tmp_path, made_of(algorithm, model=model, training=OPTIONS[option], seed=6))
    assert differences(found, expected, 3 * TOLERANCE[algorithm]) == []


def test_what_the_loss_does_not_reach_is_left_alone_as_by_one_client(tmp_path: Path) -> None:
    """Weight decay moves no parameter that has no gradient."""
    odd = {"name": "tests.simulations.own_models:Odd"}
    found, expected = both(tmp_path, made_of(model=odd, training=OPTIONS["weight decay"]))
    assert differences(found, expected, 3 * TOLERANCE["fedavg"]) == []


def test_lenet_agrees(tmp_path: Path) -> None:
    made = made_of(model={"name": "lenet"}, **of_images(tmp_path), training=OPTIONS["momentum"])
    found, expected = both(tmp_path, made)
    assert differences(found, expected, TOLERANCE["fedavg"]) == []


def of_images(folder: Path, channels: int = 1) -> dict[str, Any]:
    """Sections of an experiment on made-up images."""
    random, shape = np.random.default_rng(3), [channels, 16, 16]
    rows = {"features": random.random((200, *shape), np.float32), "label": random.integers(0, 4, 200)}
    np.savez(folder / "rows.npz", **rows)
    return {
        "data": {"name": "own", "shape": shape, "classes": 4, "path": str(folder / "rows.npz")},
        "aggregation": {"rule": "mean", "weight_cap": 100},
    }


@pytest.fixture
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also small convolutions are trained client by client, under what all have in common."""
    monkeypatch.setattr("leptonic_simulations.batched.trunk.LEAST_VALUES", 0)


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("option", ["steps beyond a pass", "few small steps", "momentum", "weight decay", "clipped"])
def test_convolutions_that_are_taken_one_by_one_agree(tmp_path: Path, algorithm: str, option: str) -> None:
    made = made_of(algorithm, model={"name": "cnn", "channels": [4, 6], "hidden": 12}, training=OPTIONS[option])
    clients = clients_of_sizes(made, tmp_path / "asked", SIZES)
    assert GroupTrainer(clients.trainer, clients.data.features, clients.data.labels).in_parts
    clients.close()
    found, expected = both(tmp_path, made, threads=1 if option == "clipped" else 3)
    assert differences(found, expected, TOLERANCE[algorithm]) == []


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("option", ["few small steps", "weight decay"])
def test_lenet_taken_one_by_one_agrees(tmp_path: Path, channels: int, option: str) -> None:
    made = made_of("scaffold", model={"name": "lenet"}, **of_images(tmp_path, channels), training=OPTIONS[option])
    found, expected = both(tmp_path, made, threads=2)
    assert differences(found, expected, TOLERANCE["scaffold"]) == []


@settings(max_examples=25)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    batch=st.integers(1, 20),
    work=st.one_of(
        st.fixed_dictionaries({"local_epochs": st.integers(1, 3)}),
        st.fixed_dictionaries({"local_steps": st.integers(1, 12)}),
    ),
    algorithm=st.sampled_from(ALGORITHMS),
)
def test_any_sizes_agree(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], batch: int, work: dict[str, int], algorithm: str
) -> None:
    training = {"rounds": 1, "batch_size": batch, "learning_rate": 0.05, "momentum": 0.5, **work}
    made = made_of(algorithm, training=training, federation={"clients": len(sizes)}, model={"name": "logistic"})
    found, expected = both(tmp_path_factory.mktemp("any"), made, tuple(sizes))
    assert differences(found, expected, 10 * TOLERANCE[algorithm]) == []


@pytest.mark.parametrize("algorithm", ["scaffold", "feddyn"])
@pytest.mark.parametrize("option", ["few small steps", "epochs"])
def test_clients_go_on_from_their_states(tmp_path: Path, algorithm: str, option: str) -> None:
    """Also where some of a group were never counted before, and have nothing to go on from."""
    made = made_of(algorithm, training=OPTIONS[option])
    cohorts = [(0, 2, 4), (1, 2, 3, 0), (6, 5, 4, 3, 2, 1, 0)]
    engines: list[tuple[SimulatedClients, Engine]] = []
    for name in ("batched", "sequential"):
        clients = clients_of_sizes(made, tmp_path / name, SIZES)
        engine = BatchedEngine(clients, threads=1) if name == "batched" else SequentialEngine(clients)
        engines.append((clients, engine))
    counted: dict[int, int] = {}
    for number, cohort in enumerate(cohorts, start=1):
        content = content_for(engines[0][0], seed=number)
        asked = requests_for(made, cohort, content, counted=counted, round=number)
        found, expected = (decoded(clients, answered(engine, asked, content)) for clients, engine in engines)
        assert differences(found, expected, 2 * TOLERANCE[algorithm]) == []
        counted |= dict.fromkeys(cohort, number)
    for clients, _ in engines:
        clients.close()


@pytest.mark.parametrize("option", ["few small steps", "epochs"])
def test_who_stands_beside_a_client_does_not_matter(tmp_path: Path, option: str) -> None:
    made = made_of("scaffold", training=OPTIONS[option])
    clients = clients_of_sizes(made, tmp_path, SIZES)
    content, engine = content_for(clients), BatchedEngine(clients, threads=1)
    together = decoded(clients, answered(engine, requests_for(made, range(7), content), content))
    for order in ([6, 5, 4, 3, 2, 1, 0], [3, 0], [1]):
        others = decoded(clients, answered(engine, requests_for(made, order, content), content))
        assert differences(others, {client: together[client] for client in order}, TOLERANCE["scaffold"]) == []
    clients.close()


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model["name"].split(":")[-1])
@pytest.mark.parametrize("option", ["few small steps", "epochs"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_client_that_diverges_fails_alone(tmp_path: Path, model: dict[str, Any], option: str, bad: float) -> None:
    """To the last bit: what is not finite stays with its client."""
    made = made_of(model=model, training=OPTIONS[option])
    clients = clients_of_sizes(made, tmp_path, SIZES)
    alone = set(clients.data.rows[0].tolist()).difference(*(rows.tolist() for rows in clients.data.rows[1:]))
    content, engine = content_for(clients), BatchedEngine(clients, threads=1)
    asked = requests_for(made, range(7), content)
    healthy = answered(engine, asked, content)
    clients.data.features[torch.tensor(sorted(alone))] = bad
    found = answered(engine, asked, content)
    assert (found[0][0].status, found[0][1]) == ("failed", b"")
    assert "diverged" in found[0][0].detail or "finite" in found[0][0].detail
    for client in range(1, 7):
        assert found[client][1] == healthy[client][1]
    clients.close()


def test_a_learning_rate_at_which_clients_diverge_fails_the_same_clients(tmp_path: Path) -> None:
    made = made_of(
        training={**SGD, "local_epochs": 3, "learning_rate": 1e19, "batch_size": 8}, model={"name": "logistic"}
    )
    clients = clients_of_sizes(made, tmp_path, SIZES)
    content = content_for(clients)
    asked = requests_for(made, range(7), content)
    found, expected = (
        {client: (reply.status, reply.detail) for client, (reply, _) in answered(engine, asked, content).items()}
        for engine in (BatchedEngine(clients, threads=1), SequentialEngine(clients))
    )
    assert found == expected
    assert "failed" in {status for status, _ in found.values()}
    clients.close()


def test_where_all_clients_of_a_group_fail_each_says_so(tmp_path: Path) -> None:
    made = made_of("scaffold")
    clients = clients_of_sizes(made, tmp_path, SIZES)
    content = content_for(clients)
    engine = BatchedEngine(clients, threads=1)
    lost = answered(engine, requests_for(made, range(7), content, counted=dict.fromkeys(range(7), 1), round=2), content)
    assert {reply.status for reply, _ in lost.values()} == {"failed"}
    refused = answered(engine, requests_for(made, range(7), b"short"), b"short")
    assert {reply.status for reply, _ in refused.values()} == {"refused"}
    some = answered(engine, requests_for(made, range(3), content, counted={1: 1}, round=2), content)
    assert [some[client][0].status for client in range(3)] == ["done", "failed", "done"]
    clients.close()


@pytest.mark.parametrize("algorithm", ["fedavg", "scaffold"])
def test_where_only_sums_count_the_last_reply_brings_that_of_all(tmp_path: Path, algorithm: str) -> None:
    """The sum of what each would have sent alone, to the last bit, and the same states."""
    made, sums = made_of(algorithm), {}
    for together in (False, True):
        clients = clients_of_sizes(made, tmp_path / str(together), SIZES)
        engine, content = BatchedEngine(clients, threads=1, sums=together), content_for(clients)
        pipeline = clients.trainer.pipeline
        for number in (1, 2):
            counted = dict.fromkeys(range(7), number - 1)
            asked = requests_for(made, range(7), content, counted=counted, round=number)
            replies = list(engine.answers(asked, content))
            assert [reply.client for reply, _ in replies] == list(range(7))
            assert {reply.status for reply, _ in replies} == {"done"}
            total = pipeline.zero()
            for _, answer in replies[-1:] if together else replies:
                total.add(pipeline.from_bytes(answer))
            sums[together, number] = total.to_bytes()
        if together:
            assert [reply.carried_by for reply, _ in replies] == [6] * 6 + [None]
            assert [answer for _, answer in replies[:-1]] == [b""] * 6
        clients.close()
    assert sums[False, 1] == sums[True, 1]
    assert sums[False, 2] == sums[True, 2]


@pytest.mark.parametrize("bad", ["features", "state"])
def test_who_fails_is_not_in_the_sum(tmp_path: Path, bad: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether training fails, or what follows it: the others' sum, or each by itself, as if it had not been asked."""
    made = made_of()
    clients = clients_of_sizes(made, tmp_path, SIZES)
    engine, content = BatchedEngine(clients, threads=1, sums=True), content_for(clients)
    pipeline, asked = clients.trainer.pipeline, requests_for(made, range(7), content)
    *_, (_, expected) = engine.answers(asked[1:], content)
    if bad == "features":
        rows = set(clients.data.rows[0].tolist()).difference(*(own.tolist() for own in clients.data.rows[1:]))
        clients.data.features[torch.tensor(sorted(rows))] = np.nan
    else:
        settle = Participant.settle

        def failing(self: Participant, *arguments: Any) -> Answer:
            if self.index == 0:
                raise RunError("the disk is full")
            return settle(self, *arguments)

        monkeypatch.setattr(Participant, "settle", failing)
    replies = {reply.client: (reply, answer) for reply, answer in engine.answers(asked, content)}
    assert (replies[0][0].status, replies[0][1]) == ("failed", b"")
    total = pipeline.zero()
    for reply, answer in replies.values():
        if reply.status == "done" and reply.carried_by is None:
            total.add(pipeline.from_bytes(answer))
    assert total.to_bytes() == expected
    clients.close()


def test_nobody_to_ask_is_no_work(tmp_path: Path) -> None:
    made = made_of()
    clients = clients_of_sizes(made, tmp_path, SIZES)
    assert list(BatchedEngine(clients, threads=1).answers([], b"")) == []
    clients.close()


def test_a_cohort_larger_than_a_group_is_answered_in_the_order_of_its_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leptonic_simulations.batched.engine.MOST_CLIENTS", 3)
    made = made_of(training=TRAINING)
    clients = clients_of_sizes(made, tmp_path, SIZES)
    content, engine = content_for(clients), BatchedEngine(clients, threads=1)
    order = [4, 1, 6, 0, 2, 5, 3]
    assert [r.client for r, _ in engine.answers(requests_for(made, order, content), content)] == order
    found = decoded(clients, answered(engine, requests_for(made, order, content), content))
    expected = decoded(clients, answered(SequentialEngine(clients), requests_for(made, order, content), content))
    assert differences(found, expected, TOLERANCE["fedavg"]) == []
    clients.close()


def test_evaluation_is_each_clients_own(tmp_path: Path) -> None:
    made = made_of(evaluation={"on": ["clients"], "holdout": 0.2})
    clients = clients_of_sizes(made, tmp_path, SIZES)
    content = content_for(clients)
    asked = requests_for(made, range(7), content, step="evaluate")
    found, expected = (
        answered(e, asked, content) for e in (BatchedEngine(clients, threads=1), SequentialEngine(clients))
    )
    assert {client: answer for client, (_, answer) in found.items()} == {
        c: answer for c, (_, answer) in expected.items()
    }
    clients.close()


def test_threads_and_the_received_model_are_left_as_they_were(tmp_path: Path) -> None:
    made = made_of(federation={"clients": 1})
    clients = clients_of_sizes(made, tmp_path, (10,))
    content = bytearray(content_for(clients))
    before, threads = bytes(content), torch.get_num_threads()
    list(BatchedEngine(clients, threads=threads + 1).answers(requests_for(made, [0], before), memoryview(content)))
    assert bytes(content) == before
    assert torch.get_num_threads() == threads
    clients.close()
