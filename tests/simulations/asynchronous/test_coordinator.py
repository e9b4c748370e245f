"""Asynchronous runs: the mean by hand, the bits of synchronous ones, determinism, resuming, what is dropped."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.simulations.small import TRAINING, Run, experiment, stopped_at

from leptonic.errors import RunError
from leptonic.experiment import Experiment
from leptonic.update import Vector
from leptonic_server.store import ClientRecord, RoundRecord, RunStore
from leptonic_simulations.asynchronous.coordinator import staleness_weight
from leptonic_simulations.clients import FederatedData, SimulatedClients
from leptonic_simulations.run import simulate
from leptonic_simulations.scenario.availability import Availability

SLOW = {"examples_per_second": 10.0, "compute_spread": 1.0, "bytes_per_second": 1000.0, "jitter": 0.1}
CROWD = {"clients": 12, "deadline": 60.0}
BUSY = {
    "stragglers": SLOW,
    "drop_outs": {"probability": 0.2},
    "availability": {"online": 0.5, "stay": 20.0, "day": 240.0},
}


def asynchronous(concurrency: int, buffer: int, **settings: Any) -> dict[str, Any]:
    return {"concurrency": concurrency, "buffer": buffer, **settings}


def stored(folder: Path) -> tuple[list[RoundRecord], list[tuple[int, int, ClientRecord]]]:
    store = RunStore(folder)
    try:
        return store.rounds(), store.clients()
    finally:
        store.close()


def last_model(folder: Path) -> Vector:
    store = RunStore(folder)
    try:
        return store.vectors()["model"]
    finally:
        store.close()


def busy(rounds: int = 6, **sections: Any) -> Experiment:
    scenario = {**BUSY, "asynchronous": asynchronous(5, 3)}
    return experiment(
        **{"federation": CROWD, "training": {**TRAINING, "rounds": rounds}, "scenario": scenario} | sections
    )


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"algorithm": {"name": "fedprox", "mu": 0.1}},
        {"server_optimizer": {"name": "adam"}},
        {"server_optimizer": {"name": "sgd", "momentum": 0.5}},
        {"aggregation": {"rule": "mean", "weighting": "uniform"}},
        {"federation": {"clients": 4, "partition": {"scheme": "quantity"}}, "model": {"name": "mlp", "hidden": [8]}},
    ],
)
def test_with_everyone_in_step_it_is_the_synchronous_run_bit_for_bit(run: Run, sections: dict[str, Any]) -> None:
    clients = sections.get("federation", {"clients": 3})["clients"]
    synchronous = run(experiment(**sections))
    stepped = run(experiment(**sections, scenario={"asynchronous": asynchronous(clients, clients)}))
    assert stepped.model_sha256 == synchronous.model_sha256


@pytest.mark.parametrize(
    ("staleness", "exponent", "weight"), [(0, 0.5, 1.0), (3, 0.5, 0.5), (8, 0.5, 1 / 3), (1, 2.0, 0.25), (7, 0.0, 1.0)]
)
def test_staleness_weights_are_those_of_the_paper(staleness: int, exponent: float, weight: float) -> None:
    assert staleness_weight(staleness, exponent) == pytest.approx(weight, rel=1e-15)


def test_two_steps_on_a_tiny_model_are_those_by_hand(run: Run, tmp_path: Path) -> None:
    """Four clients without time, steps of two: the first two at staleness 0, the others at 1."""
    training = {**TRAINING, "rounds": 3}
    federation = {"clients": 4, "partition": {"scheme": "quantity", "alpha": 1.0}}
    made = experiment(
        federation=federation, training=training, scenario={"asynchronous": asynchronous(4, 2, staleness_exponent=1.0)}
    )
    run(made, folder=tmp_path / "run")
    _, became = stored(tmp_path / "run")
    cohorts = [[r.client for number, _, r in became if number == step] for step in (1, 2, 3)]
    assert sorted(cohorts[0] + cohorts[1]) == [0, 1, 2, 3]

    from leptonic_client.training import LocalWork

    clients = SimulatedClients(made, tmp_path / "clients", FederatedData.of(made))
    trainer = clients.trainer

    def update(client: int, start: Any, version: int) -> tuple[Any, int]:
        data = clients.client(client).data
        return trainer.train(LocalWork(client, version + 1, data, start, {}, {})).vectors["model"], len(data)

    from leptonic_server.evaluation import Evaluator

    models = [Evaluator(made).initial()]
    started = dict.fromkeys(range(4), 0)
    for step, cohort in enumerate(cohorts):
        moved, weights = np.zeros(models[0].size), 0.0
        for client in cohort:
            delta, examples = update(client, models[started[client]], started[client])
            share = 1 / (1 + step - started[client])
            moved, weights = moved + share * examples * delta.astype(np.float64), weights + examples
        if step == 1:
            # Everyone is through at once: the four begin anew together, after the second step.
            started = dict.fromkeys(range(4), 2)
        models.append((models[-1] + moved / weights).astype(np.float32))
    found = last_model(tmp_path / "run")
    np.testing.assert_allclose(found, models[-1], atol=2e-6)
    records, _ = stored(tmp_path / "run")
    assert [record.train["staleness_max"] for record in records[1:]] == [0.0, 1.0, 0.0]
    clients.close()


def test_a_step_is_over_with_its_last_update_by_the_stated_speeds(run: Run, tmp_path: Path) -> None:
    exact = {"examples_per_second": 10.0, "compute_spread": 0.0, "bytes_per_second": 1e12, "link_spread": 0.0}
    training = {"rounds": 4, "local_epochs": 1, "batch_size": 32, "learning_rate": 0.1}
    made = experiment(
        federation={"clients": 4, "partition": {"scheme": "quantity", "alpha": 1.0}, "deadline": 1e4},
        training=training,
        scenario={"stragglers": exact, "asynchronous": asynchronous(4, 1)},
    )
    run(made, folder=tmp_path / "run")
    seconds = {client: len(rows) / 10.0 for client, rows in enumerate(FederatedData.of(made).rows)}
    ends = sorted((k * time, client) for client, time in seconds.items() for k in range(1, 5))[:4]
    records, became = stored(tmp_path / "run")
    assert [record.virtual_seconds for record in records[1:]] == pytest.approx([end for end, _ in ends], rel=1e-6)
    assert [r.client for _, _, r in became] == [client for _, client in ends]


def test_it_repeats_and_depends_on_the_seed_and_the_exponent(run: Run) -> None:
    one = run(busy()).model_sha256
    assert run(busy()).model_sha256 == one
    assert run(busy(seed=5)).model_sha256 != one
    flat = {**BUSY, "asynchronous": asynchronous(5, 3, staleness_exponent=0.0)}
    assert run(busy(scenario=flat)).model_sha256 != one


def test_the_batched_engine_agrees_to_rounding(run: Run, tmp_path: Path) -> None:
    engines = ("sequential", "batched")
    one, other = (run(busy(simulation={"engine": name}), folder=tmp_path / name) for name in engines)
    models = [last_model(tmp_path / name) for name in engines]
    np.testing.assert_allclose(*models, atol=1e-5)
    assert one.accuracy == pytest.approx(other.accuracy, abs=0.01)


@pytest.mark.slow
def test_the_processes_engine_ends_with_the_same_bits(run: Run) -> None:
    one, other = (run(busy(simulation={"engine": engine, "workers": 2})) for engine in ("sequential", "processes"))
    assert one.model_sha256 == other.model_sha256


@pytest.mark.parametrize("where", ["client_answered", "round_committed"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_run_that_broke_off_is_resumed_to_the_same_model_at_the_same_times(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, optimizer: str
) -> None:
    made = busy(
        rounds=16,
        server_optimizer={"name": optimizer},
        federation={"clients": 30, "deadline": 60.0},
        scenario={**BUSY, "asynchronous": asynchronous(8, 2, max_staleness=4)},
    )
    unbroken, folder = run(made, folder=tmp_path / "unbroken"), tmp_path / "broken"
    for stop_at in (2, 5, 1, 3, 4):
        with stopped_at(monkeypatch, where, stop_at), pytest.raises(KeyboardInterrupt):
            simulate(made, folder=folder, resume=folder.exists(), quiet=True)
    resumed = simulate(made, folder=folder, resume=True, quiet=True)
    assert resumed.model_sha256 == unbroken.model_sha256
    (one, clients), (other, same) = stored(tmp_path / "unbroken"), stored(folder)
    assert [r.virtual_seconds for r in one] == [r.virtual_seconds for r in other]
    assert [r.train for r in one] == [r.train for r in other]
    assert [(n, r.client, r.status) for n, _, r in clients] == [(n, r.client, r.status) for n, _, r in same]
    assert max(r.train["staleness_max"] for r in one[1:]) > 1


def test_old_updates_are_dropped_and_recorded(run: Run, tmp_path: Path) -> None:
    strict = {"stragglers": SLOW, "asynchronous": asynchronous(6, 2, max_staleness=1)}
    run(busy(scenario=strict, federation={"clients": 12, "deadline": 1e6}), folder=tmp_path / "run")
    records, became = stored(tmp_path / "run")
    dropped = [record for _, _, record in became if "of max_staleness = 1" in record.detail]
    assert dropped
    assert {record.status for record in dropped} == {"late"}
    assert sum(record.train["stale_dropped"] for record in records[1:]) == len(dropped)
    assert max(record.train["staleness_max"] for record in records[1:]) <= 1
    assert [record.survivors for record in records[1:]] == [2] * 6
    assert all(record.cohort == 2 + record.train["stale_dropped"] for record in records[1:])


def test_only_who_is_online_begins(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from leptonic_simulations.asynchronous.flights import Flights

    begun: list[tuple[int, float]] = []
    original = Flights._begin

    def watched(flights: Flights, client: int) -> None:
        begun.append((client, flights._clock.now()))
        original(flights, client)

    monkeypatch.setattr(Flights, "_begin", watched)
    made = busy()
    run(made)
    assert made.scenario is not None
    assert made.scenario.availability is not None
    wave = Availability(made.scenario.availability, made.seed)
    assert begun
    assert all(wave.is_online(client, wave.slot(time)) for client, time in begun)


def test_clients_evaluate_and_it_takes_no_virtual_time(run: Run, tmp_path: Path) -> None:
    scenario = {"stragglers": SLOW, "asynchronous": asynchronous(3, 2)}
    run(busy(scenario=scenario, evaluation={"on": ["server", "clients"], "holdout": 0.2}), folder=tmp_path / "run")
    records, _ = stored(tmp_path / "run")
    assert all("accuracy" in record.client_metrics for record in records[1:])


def test_who_only_falls_silent_ends_the_run_with_the_reason(run: Run) -> None:
    scenario = {"drop_outs": {"probability": 1.0}, "asynchronous": asynchronous(3, 2)}
    with pytest.raises(RunError, match=r"0 of 2 updates came.*no answer by federation.deadline"):
        run(experiment(scenario=scenario))


def test_a_liar_lies_here_too(run: Run) -> None:
    honest, lying = (
        run(busy(scenario={**BUSY, "asynchronous": asynchronous(5, 3), **liars}))
        for liars in ({}, {"liars": {"fraction": 0.3}})
    )
    assert honest.model_sha256 != lying.model_sha256


def test_a_million_clients_cost_no_more_than_a_few(run: Run) -> None:
    federation = {"clients": 10**6, "deadline": 600.0, "partition": {"scheme": "sampled"}}
    scenario = {"availability": {"online": 0.2}, "stragglers": SLOW, "asynchronous": asynchronous(8, 4)}
    assert run(busy(federation=federation, scenario=scenario)).rounds == 6
