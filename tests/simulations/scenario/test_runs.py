"""Whole runs by virtual time: they repeat and resume, engines agree, and time alone decides who is counted."""

import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.simulations.small import PRIVACY, TRAINING, Run, experiment, stopped_at

from leptonic.errors import ExperimentError, RunError
from leptonic_client.participant import Participant
from leptonic_server.serve import serve
from leptonic_server.store import RoundRecord, RunStore
from leptonic_simulations.run import simulate
from leptonic_simulations.scenario.availability import Availability

SLOW = {"examples_per_second": 10.0, "compute_spread": 1.0, "bytes_per_second": 1000.0, "jitter": 0.1}
CROWD = {"clients": 12, "cohort": 4, "over_selection": 0.5, "deadline": 30.0, "minimum": 2}
BUSY = {
    "stragglers": SLOW,
    "drop_outs": {"probability": 0.2, "at": "after_training"},
    "availability": {"online": 0.5, "stay": 20.0, "day": 240.0},
}


def rounds_of(folder: Path) -> list[RoundRecord]:
    store = RunStore(folder)
    try:
        return store.rounds()
    finally:
        store.close()


def statuses(folder: Path) -> list[dict[int, str]]:
    store = RunStore(folder)
    try:
        found: dict[tuple[int, int], dict[int, str]] = {}
        for number, attempt, record in store.clients():
            found.setdefault((number, attempt), {})[record.client] = record.status
        return list(found.values())
    finally:
        store.close()


def test_an_empty_scenario_takes_no_time_and_changes_nothing(run: Run, tmp_path: Path) -> None:
    federation = {"clients": 6, "cohort": 3, "over_selection": 0.5}
    plain = run(experiment(federation=federation))
    timed = run(experiment(federation=federation, scenario={}), folder=tmp_path / "timed")
    assert timed.model_sha256 == plain.model_sha256
    assert [record.virtual_seconds for record in rounds_of(tmp_path / "timed")] == [0.0] * 3


def test_the_fastest_are_counted_and_the_round_ends_with_the_last_of_them(run: Run, tmp_path: Path) -> None:
    exact = {"examples_per_second": 10.0, "compute_spread": 0.0, "bytes_per_second": 1e12, "link_spread": 0.0}
    training = {**{k: v for k, v in TRAINING.items() if k != "local_steps"}, "local_epochs": 1, "rounds": 1}
    partition = {"scheme": "quantity", "alpha": 1.0}
    federation = {"clients": 6, "cohort": 3, "over_selection": 1.0, "partition": partition, "deadline": 1e4}
    made = experiment(federation=federation, training=training, scenario={"stragglers": exact})
    run(made, folder=tmp_path / "run")
    from leptonic_simulations.clients import FederatedData

    sizes = {client: len(rows) for client, rows in enumerate(FederatedData.of(made).rows)}
    fastest = sorted(sizes, key=sizes.__getitem__)[:3]
    (became,) = statuses(tmp_path / "run")
    assert {client for client, status in became.items() if status == "counted"} == set(fastest)
    last = rounds_of(tmp_path / "run")[-1]
    assert last.virtual_seconds == pytest.approx(sizes[fastest[-1]] / 10.0, rel=1e-6)


def test_nobody_trains_whose_answer_comes_too_late(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[int] = []
    answer = Participant.answer

    def watched(engine: Participant, *arguments: Any) -> Any:
        trained.append(engine.index)
        return answer(engine, *arguments)

    monkeypatch.setattr(Participant, "answer", watched)
    scenario = {"stragglers": SLOW, "drop_outs": {"probability": 0.3}}
    made = experiment(federation={**CROWD, "deadline": 12.0}, scenario=scenario)
    run(made, folder=tmp_path / "run")
    became = statuses(tmp_path / "run")
    counted = [client for each in became for client, status in each.items() if status == "counted"]
    assert sorted(trained) == sorted(counted)
    assert any("late" in each.values() for each in became)
    assert len(rounds_of(tmp_path / "run")) == 3


def test_a_round_that_lacks_clients_lasts_until_its_deadline(run: Run, tmp_path: Path) -> None:
    made = experiment(federation={"clients": 6, "deadline": 30.0}, scenario={"drop_outs": {"probability": 0.3}})
    run(made, folder=tmp_path / "run")
    expected, time = [], 0.0
    for each in statuses(tmp_path / "run"):
        time += 30.0 if "late" in each.values() else 0.0
        expected.append(time)
    assert [record.virtual_seconds for record in rounds_of(tmp_path / "run")[1:]] == expected
    assert expected[-1] > 0


def test_only_who_is_online_is_invited(run: Run, tmp_path: Path) -> None:
    from leptonic import experiment as settings

    chosen = {"online": 0.4, "stay": 20.0, "day": 240.0}
    federation = {"clients": 40, "cohort": 8, "deadline": 60.0, "minimum": 2}
    made = experiment(federation=federation, scenario={"availability": chosen, "stragglers": SLOW})
    run(made, folder=tmp_path / "run")
    wave, time = Availability(settings.Availability(**chosen), made.seed), 0.0
    for became, record in zip(statuses(tmp_path / "run"), rounds_of(tmp_path / "run")[1:], strict=True):
        assert all(wave.is_online(client, wave.slot(time)) for client in became)
        assert len(became) == 8
        assert record.virtual_seconds is not None
        time = record.virtual_seconds


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["fedavg", "scaffold"])
def test_the_processes_engine_ends_with_the_same_bits(run: Run, algorithm: str) -> None:
    sections: dict[str, Any] = {"federation": CROWD, "scenario": BUSY, "algorithm": {"name": algorithm}}
    one = run(experiment(**sections))
    other = run(experiment(**sections, simulation={"engine": "processes", "workers": 2}))
    assert one.model_sha256 == other.model_sha256
    assert run(experiment(**sections)).model_sha256 == one.model_sha256
    assert run(experiment(**sections, seed=5)).model_sha256 != one.model_sha256


@pytest.mark.parametrize("algorithm", ["fedavg", "scaffold"])
@pytest.mark.parametrize("where", ["client_answered", "round_committed"])
def test_a_run_that_broke_off_is_resumed_to_the_same_model_at_the_same_time(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, algorithm: str, where: str
) -> None:
    """Rounds that need several attempts included: those that failed took their time as well."""
    made = experiment(
        federation={**CROWD, "clients": 30, "minimum": 4, "deadline": 19.0, "attempts": 30},
        scenario=BUSY,
        algorithm={"name": algorithm},
        training={**TRAINING, "rounds": 4},
        seed=1,
    )
    unbroken = run(made, folder=tmp_path / "unbroken")
    assert any(record.attempt > 1 for record in rounds_of(tmp_path / "unbroken"))
    folder = tmp_path / "broken"
    for stop_at in (2, 5, 1, 3):
        with stopped_at(monkeypatch, where, stop_at), suppress(KeyboardInterrupt):
            simulate(made, folder=folder, resume=folder.exists(), quiet=True)
    resumed = simulate(made, folder=folder, resume=True, quiet=True)
    assert resumed.model_sha256 == unbroken.model_sha256
    times = [[record.virtual_seconds for record in rounds_of(tmp_path / name)] for name in ("unbroken", "broken")]
    assert times[0] == times[1]


def test_an_evaluation_takes_its_time(run: Run, tmp_path: Path) -> None:
    exact = {"examples_per_second": 10.0, "compute_spread": 0.0, "bytes_per_second": 1e12, "link_spread": 0.0}
    training = {**TRAINING, "rounds": 1}
    for name, evaluation in (("without", {"on": ["server"]}), ("with", {"on": ["server", "clients"], "holdout": 0.2})):
        made = experiment(scenario={"stragglers": exact}, evaluation=evaluation, training=training)
        run(made, folder=tmp_path / name)
    without, evaluated = (rounds_of(tmp_path / name)[-1] for name in ("without", "with"))
    assert without.virtual_seconds == pytest.approx(96 / 10, rel=1e-6)
    # 1437 examples over three clients, a fifth of 479 held out.
    assert evaluated.virtual_seconds == pytest.approx(96 / 10 + 96 / 10, rel=1e-6)
    assert "accuracy" in evaluated.client_metrics


def test_a_lost_update_has_cost_its_client_the_privacy_that_a_late_one_has_not(run: Run, tmp_path: Path) -> None:
    spent = {}
    for at in ("before_training", "after_training"):
        made = experiment(
            privacy=PRIVACY,
            training={**TRAINING, "rounds": 4},
            federation={"clients": 3, "minimum": 1, "deadline": 10.0, "attempts": 9},
            scenario={"drop_outs": {"probability": 0.5, "at": at}},
            simulation={"seeded_noise": True, "engine": "sequential"},
        )
        run(made, folder=tmp_path / at)
        home = sqlite3.connect(tmp_path / at / "clients" / "home.sqlite")
        spent[at] = home.execute("SELECT count(*) FROM rounds").fetchone()[0]
        home.close()
    assert spent["before_training"] < spent["after_training"] == 12


def test_a_million_clients_cost_no_more_than_a_few(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = 0
    is_online = Availability.is_online

    def watched(wave: Availability, client: int, slot: int) -> bool:
        nonlocal looked
        looked += 1
        return is_online(wave, client, slot)

    monkeypatch.setattr(Availability, "is_online", watched)
    federation = {"clients": 10**6, "cohort": 10, "deadline": 60.0, "partition": {"scheme": "sampled"}}
    made = experiment(federation=federation, scenario={"availability": {"online": 0.2}, "stragglers": SLOW})
    run(made, folder=tmp_path / "run")
    assert len(rounds_of(tmp_path / "run")) == 3
    assert looked < 1000


def test_a_night_longer_than_the_deadline_ends_the_run_as_it_would_in_a_deployment(run: Run) -> None:
    scenario = {"availability": {"online": 0.01, "swing": 0.0, "stay": 1e6, "day": 1e7}}
    with pytest.raises(RunError, match="clients are reachable"):
        run(experiment(federation={"clients": 5, "minimum": 5}, scenario=scenario))


def test_a_server_refuses_a_scenario_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match=r"leave \[scenario\] out"):
        serve(
            experiment(scenario={}),
            host="127.0.0.1",
            port=1,
            admitted=None,
            folder=tmp_path / "run",
            resume=False,
            quiet=True,
            on_event=lambda _: None,
        )
    assert not (tmp_path / "run").exists()
