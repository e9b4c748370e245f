"""Studies: measured, resumable, and honest about what broke down."""

import json
from pathlib import Path

import pytest
from tests.simulations.small import TRAINING, experiment

from leptonic.errors import ExperimentError, RunError
from leptonic_server.run_folder import open_run
from leptonic_simulations.robustness.picture import draw
from leptonic_simulations.robustness.plan import Plan, plan_of
from leptonic_simulations.robustness.report import as_json, table, write_json
from leptonic_simulations.robustness.study import Outcome, Study, run_study
from leptonic_simulations.run import simulate


def planned(*, rounds: int = 4, rules: tuple[str, ...] = ("mean", "median")) -> Plan:
    training = {**TRAINING, "rounds": rounds, "local_steps": 20}
    liars = {"fraction": 0.2, "attack": {"name": "gaussian", "deviation": 5.0}}
    made = experiment(federation={"clients": 10}, training=training, scenario={"liars": liars})
    return plan_of(made, rules, ("gaussian",))


def study(plan: Plan, folder: Path, told: list[Outcome] | None = None, within: float = 5.0) -> Study:
    return run_study(plan, folder, within=within, on_outcome=(told if told is not None else []).append)


def test_the_median_survives_the_noise_and_the_mean_does_not(tmp_path: Path) -> None:
    done = study(planned(), tmp_path)
    assert done.survives("median", "gaussian")
    assert not done.survives("mean", "gaussian")
    lost = done.lost("mean", "gaussian")
    assert lost is not None
    assert lost > 20
    alone = simulate(planned().cells[2].experiment, folder=tmp_path / "alone", quiet=True)
    assert done.outcome("mean", "gaussian").model_sha256 == alone.model_sha256


def test_what_is_done_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, told = study(planned(rounds=1), tmp_path), list[Outcome]()

    def never(*_arguments: object, **_options: object) -> None:
        raise AssertionError("a cell was run again")

    with monkeypatch.context() as patched:
        patched.setattr("leptonic_simulations.robustness.study.simulate", never)
        assert study(planned(rounds=1), tmp_path, told) == first
    assert len(told) == 4


def test_a_study_that_was_broken_off_ends_as_an_unbroken_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unbroken = study(planned(), tmp_path / "unbroken")
    for stop_at in (2, 9, 4):
        from leptonic_server.progress import RunListener

        seen, committed = 0, RunListener.round_committed

        def stop(listener: RunListener, record: object) -> None:
            nonlocal seen
            seen += 1
            if seen == stop_at:  # noqa: B023
                raise KeyboardInterrupt
            committed(listener, record)  # type: ignore[arg-type]  # noqa: B023

        with monkeypatch.context() as patched:
            patched.setattr(RunListener, "round_committed", stop)
            with pytest.raises(KeyboardInterrupt):
                study(planned(), tmp_path / "broken")
    broken = study(planned(), tmp_path / "broken")
    models = [[outcome.model_sha256 for outcome in one.outcomes] for one in (unbroken, broken)]
    assert models[0] == models[1]


def test_another_experiments_folder_is_not_taken_for_an_outcome(tmp_path: Path) -> None:
    study(planned(rounds=1, rules=("mean",)), tmp_path)
    with pytest.raises(RunError, match="has changed"):
        study(planned(rounds=2, rules=("mean",)), tmp_path)


def test_a_folder_that_another_process_holds_is_no_break_down(tmp_path: Path) -> None:
    cell = planned().cells[0]
    with (
        open_run(cell.experiment, layout="x", mode="simulated", folder=tmp_path / cell.name, resume=False),
        pytest.raises(RunError, match="another process"),
    ):
        study(planned(), tmp_path)


def test_a_run_that_a_lie_blows_up_has_broken_down(tmp_path: Path) -> None:
    """Rates so large that the honest already stand at the edge of what float32 holds."""
    training = {**TRAINING, "rounds": 3, "learning_rate": 1e30, "momentum": 0.9}
    plan = plan_of(experiment(federation={"clients": 10}, training=training), ("mean",), ("sign_flip",))
    done = study(plan, tmp_path)
    assert [outcome.accuracy for outcome in done.outcomes] == [None, None]
    assert "diverged" in done.outcomes[0].reason
    assert not done.survives("mean", "sign_flip")
    assert study(plan, tmp_path) == done
    assert json.loads(as_json(done))["outcomes"][0]["accuracy"] is None
    draw(done, tmp_path / "picture.png")
    assert "broke down" in [cell for column in table(done).columns for cell in column.cells]


def imagined(plan: Plan, accuracies: dict[str, float]) -> Study:
    outcomes = [
        Outcome(cell.rule, cell.attack, accuracies[cell.name], accuracies[cell.name], "ab", 1.0) for cell in plan.cells
    ]
    return Study(plan, 5.0, tuple(outcomes))


def test_it_survives_at_the_edge_and_not_beyond() -> None:
    accuracies = {"mean-none": 0.8, "median-none": 0.7, "mean-gaussian": 0.75, "median-gaussian": 0.6499}
    one = imagined(planned(), accuracies)
    assert one.survives("mean", "gaussian")
    assert not one.survives("median", "gaussian")
    assert one.lost("mean", "gaussian") == pytest.approx(5.0)
    cells = [list(column.cells) for column in table(one).columns]
    assert cells == [["mean", "median"], ["80.0", "70.0"], ["[green]75.0+[/green]", "[red]65.0 [/red]"]]


def test_what_it_leaves_behind(tmp_path: Path) -> None:
    from matplotlib.image import imread

    plan = planned()
    one = imagined(plan, {"mean-none": 0.8, "median-none": 0.8, "mean-gaussian": 0.1, "median-gaussian": 0.8})
    write_json(one, tmp_path / "robustness.json")
    draw(one, tmp_path / "robustness.png")
    content = json.loads((tmp_path / "robustness.json").read_text())
    assert content["attacks"] == {"gaussian": {"name": "gaussian", "deviation": 5.0}}
    assert [(each["survives"], each["points_lost"]) for each in content["outcomes"]][-2:] == [
        (False, pytest.approx(70.0)),
        (True, pytest.approx(0.0)),
    ]
    assert (content["liars"], content["clients"], content["within_points"]) == (2, 10, 5.0)
    pixels = imread(tmp_path / "robustness.png")
    assert pixels.shape[0] > 300
    assert len({tuple(pixel) for row in pixels[::8, ::8] for pixel in row.tolist()}) > 5


def test_the_command_runs_and_says_what_it_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from leptonic_simulations.robustness.command import robustness

    file = tmp_path / "small.toml"
    file.write_text(
        'data = { name = "digits" }\nmodel = { name = "logistic" }\nfederation = { clients = 10 }\n'
        'training = { rounds = 1, local_steps = 2 }\nsimulation = { engine = "sequential" }\n'
    )
    monkeypatch.chdir(tmp_path)
    robustness(file, rules="mean, median", attacks="scale", within=5.0)
    printed = capsys.readouterr()
    assert "4/4  median against scale" in printed.err
    assert "2 of 10 clients lie" in printed.out
    assert (tmp_path / "runs" / "small-robustness" / "robustness.png").exists()
    robustness(file, rules="mean,median", attacks="scale", within=5.0, as_json=True, quiet=True)
    assert len(json.loads(capsys.readouterr().out)["outcomes"]) == 4
    with pytest.raises(ExperimentError, match="--rules"):
        robustness(file, rules="mode", attacks=None, within=5.0)
