"""Whole simulations: repeatable, resumable, every combination runs, and privacy is what it says."""

from pathlib import Path
from typing import Any

import pytest
from tests.simulations.small import PRIVACY, TRAINING, Run, experiment

from leptonic.errors import DataError, ExperimentError, LeptonicError, RunError
from leptonic_client.participant import Participant
from leptonic_server.progress import RunListener
from leptonic_server.store import RunStore
from leptonic_simulations.run import simulate


def test_the_same_seed_gives_the_same_model_and_another_seed_another(run: Run) -> None:
    first, second, other = run(experiment()), run(experiment()), run(experiment(seed=5))
    assert first.model_sha256 == second.model_sha256 != other.model_sha256
    assert first.accuracy == second.accuracy
    assert first.bytes_down == second.bytes_down


def test_it_learns(run: Run) -> None:
    made = experiment(model={"name": "mlp", "hidden": [32]}, training={**TRAINING, "rounds": 6, "local_steps": 40})
    result = run(made)
    assert result.accuracy is not None
    assert result.accuracy > 0.8
    assert result.rounds == 6


def test_what_the_model_does_not_depend_on_changes_nothing(run: Run) -> None:
    plain = run(experiment())
    noisy = run(experiment(outputs={"report": True, "tensorboard": True}), quiet=False)
    assert plain.model_sha256 == noisy.model_sha256


@pytest.mark.parametrize("algorithm", ["fedavg", "fedprox", "scaffold", "fednova", "feddyn"])
def test_every_algorithm_runs(run: Run, algorithm: str) -> None:
    result = run(experiment(algorithm={"name": algorithm}))
    assert result.rounds == 2
    assert result.accuracy is not None


@pytest.mark.parametrize("server", ["sgd", "adam", "yogi", "adagrad"])
def test_every_server_optimizer_runs(run: Run, server: str) -> None:
    assert run(experiment(server_optimizer={"name": server})).rounds == 2


@pytest.mark.parametrize("local", ["sgd", "adam", "adamw"])
def test_every_local_optimizer_runs(run: Run, local: str) -> None:
    assert run(experiment(training={**TRAINING, "optimizer": local})).rounds == 2


RULES: list[dict[str, Any]] = [
    {"rule": "mean", "weighting": "uniform"},
    {"rule": "mean", "weight_cap": 100},
    {"rule": "median"},
    {"rule": "trimmed_mean", "trim": 0.2},
    {"rule": "krum", "byzantine": 1},
    {"rule": "krum", "byzantine": 1, "select": 3},
    {"rule": "geometric_median"},
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: "-".join(map(str, rule.values())))
def test_every_rule_runs(run: Run, rule: dict[str, Any]) -> None:
    assert run(experiment(aggregation=rule, federation={"clients": 5, "minimum": 5})).rounds == 2


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_every_precision_runs(run: Run, precision: str) -> None:
    assert run(experiment(training={**TRAINING, "precision": precision})).rounds == 2


@pytest.mark.parametrize("schedule", ["constant", "cosine", "step", "exponential"])
def test_every_schedule_runs(run: Run, schedule: str) -> None:
    made = experiment(training={**TRAINING, "schedule": {"kind": schedule, "warmup_rounds": 1}})
    assert run(made).rounds == 2


def test_a_cohort_with_over_selection_takes_as_many_as_are_wanted(run: Run, tmp_path: Path) -> None:
    made = experiment(federation={"clients": 6, "cohort": 2, "over_selection": 0.5})
    run(made, folder=tmp_path / "cohort")
    store = RunStore(tmp_path / "cohort")
    assert [(record.cohort, record.survivors) for record in store.rounds()[1:]] == [(3, 2)] * 2
    store.close()


INTERRUPTIONS = ["round_begins", "client_answered", "round_committed"]


@pytest.mark.parametrize("algorithm", ["fedavg", "scaffold", "feddyn"])
@pytest.mark.parametrize("where", INTERRUPTIONS)
def test_a_run_that_broke_off_is_resumed_to_the_same_model(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, algorithm: str
) -> None:
    """Broken off at each of the events between the first and the last."""
    training = {**TRAINING, "rounds": 4}
    made = experiment(algorithm={"name": algorithm}, federation={"clients": 3, "cohort": 2}, training=training)
    unbroken = run(made)
    folder = tmp_path / "broken"
    for stop_at in (2, 3, 1):
        with monkeypatch.context() as patched:
            _break(patched, where, stop_at)
            with pytest.raises((KeyboardInterrupt, ZeroDivisionError)):
                simulate(made, folder=folder, resume=folder.exists(), quiet=True)
    resumed = simulate(made, folder=folder, resume=True, quiet=True)
    assert resumed.model_sha256 == unbroken.model_sha256
    assert resumed.accuracy == unbroken.accuracy


def _break(patched: pytest.MonkeyPatch, where: str, stop_at: int) -> None:
    original, seen = getattr(RunListener, where), 0

    def event(listener: RunListener, *arguments: Any) -> None:
        nonlocal seen
        seen += 1
        if seen >= stop_at or where == "round_committed":
            raise KeyboardInterrupt if stop_at % 2 else ZeroDivisionError
        original(listener, *arguments)

    patched.setattr(RunListener, where, event)


def test_broken_off_in_the_middle_of_a_clients_work_it_is_resumed_to_the_same_model(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = experiment(algorithm={"name": "scaffold"})
    unbroken, folder = run(made), tmp_path / "broken"
    answer, seen = Participant.answer, 0

    def interrupted(engine: Participant, *arguments: Any) -> Any:
        nonlocal seen
        seen += 1
        replied = answer(engine, *arguments)
        if seen == 5:
            raise KeyboardInterrupt
        return replied

    with monkeypatch.context() as patched:
        patched.setattr(Participant, "answer", interrupted)
        with pytest.raises(KeyboardInterrupt):
            simulate(made, folder=folder, quiet=True)
    assert simulate(made, folder=folder, resume=True, quiet=True).model_sha256 == unbroken.model_sha256


def test_a_finished_run_is_resumed_to_the_same_result(run: Run, tmp_path: Path) -> None:
    made = experiment()
    first = run(made, folder=tmp_path / "done")
    again = run(made, folder=tmp_path / "done", resume=True)
    assert first == again


def test_the_clock_does_not_decide_who_is_counted(run: Run) -> None:
    """A simulated client is late if its scenario says so, not because this machine is slow today."""
    patient = run(experiment())
    hurried = run(experiment(federation={"clients": 3, "deadline": 0.001}))
    assert hurried.model_sha256 == patient.model_sha256


PRIVATE = {**TRAINING, "local_steps": 2}


def test_a_private_run_stays_below_its_target_and_is_never_the_same(run: Run) -> None:
    made = experiment(privacy=PRIVACY, training=PRIVATE)
    first, second = run(made), run(made)
    for result in (first, second):
        assert result.epsilon is not None
        assert 0 < result.epsilon <= PRIVACY["epsilon"]  # type: ignore[operator]
    assert first.model_sha256 != second.model_sha256


def test_seeded_noise_repeats(run: Run) -> None:
    made = experiment(privacy=PRIVACY, training=PRIVATE, simulation={"seeded_noise": True})
    assert run(made).model_sha256 == run(made).model_sha256


def test_seeded_noise_is_marked_in_what_the_run_prints(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """Invariant 6: it exists only in a simulation that says so in its output, and the report may be off."""
    from leptonic_server.closing import closing_words

    made = experiment(privacy=PRIVACY, training=PRIVATE, simulation={"seeded_noise": True})
    result = run(made, quiet=False)
    with closing_words(as_json=True) as done:
        done(result)
    printed = capsys.readouterr()
    text = (printed.out + printed.err).replace(result.run_dir, "").replace("\n", "")
    assert "seed" in text


def test_a_private_run_that_broke_off_does_not_spend_more(run: Run, tmp_path: Path) -> None:
    made, folder = experiment(privacy=PRIVACY, training=PRIVATE), tmp_path / "broken"
    answer, seen = Participant.answer, 0

    def interrupted(engine: Participant, *arguments: Any) -> Any:
        nonlocal seen
        seen += 1
        if seen == 5:
            raise KeyboardInterrupt
        return answer(engine, *arguments)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Participant, "answer", interrupted)
        with pytest.raises(KeyboardInterrupt):
            simulate(made, folder=folder, quiet=True)
    result = simulate(made, folder=folder, resume=True, quiet=True)
    assert result.epsilon is not None
    assert result.epsilon <= PRIVACY["epsilon"]  # type: ignore[operator]


def test_a_second_run_in_a_used_folder_is_refused(run: Run, tmp_path: Path) -> None:
    run(experiment(), folder=tmp_path / "used")
    with pytest.raises(RunError, match="holds a run already"):
        run(experiment(), folder=tmp_path / "used")


def test_own_data_without_a_path_is_an_experiment_error(run: Run) -> None:
    own = {"name": "own", "shape": [1, 8, 8], "classes": 10}
    made = experiment(data=own, aggregation={"rule": "mean", "weighting": "uniform"})
    with pytest.raises(ExperimentError, match=r"data\.path"):
        run(made)


def test_own_data_that_is_not_there_is_a_data_error(run: Run, tmp_path: Path) -> None:
    own = {"name": "own", "shape": [1, 8, 8], "classes": 10, "path": str(tmp_path / "rows.npz")}
    made = experiment(data=own, aggregation={"rule": "mean", "weighting": "uniform"})
    with pytest.raises(DataError, match=r"rows\.npz"):
        run(made)


def test_a_run_whose_every_client_fails_says_why(run: Run) -> None:
    made = experiment(training={**TRAINING, "learning_rate": 1e30, "momentum": 0.9})
    with pytest.raises(LeptonicError, match="diverged"):
        run(made)
