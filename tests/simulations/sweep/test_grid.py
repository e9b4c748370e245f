"""``leptonic sweep --over`` as a user runs it: cells, seeds, failures, and nothing twice."""

import csv
import json
import shutil
from pathlib import Path
from statistics import fmean, stdev

import pytest
from tests.simulations.sweep.running import EXPERIMENT, GRID, Run

from leptonic.experiment_file import load
from leptonic_simulations.run import simulate

DIVERGES = ("--over", "training.learning_rate=0.1,1e30")


def test_every_cell_is_the_simulation_it_stands_for(sweep: Run, tmp_path: Path) -> None:
    done = sweep(*GRID, "--json", "--quiet", "--sweep-dir", "grid")
    assert (done.code, done.err) == (0, "")
    cells = json.loads((tmp_path / "grid" / "results.json").read_text())["cells"]
    assert [cell["rank"] for cell in cells] == [1, 2, 3, 4]
    assert [cell["accuracy"] for cell in cells] == sorted((cell["accuracy"] for cell in cells), reverse=True)
    for cell in cells:
        overrides = [f"{key}={value}" for key, value in cell["settings"].items()]
        alone = simulate(load(Path("small.toml"), overrides), folder=tmp_path / str(cell["cell"]), quiet=True)
        assert cell["runs"][0]["model_sha256"] == alone.model_sha256
        assert cell["accuracy"] == alone.accuracy
        assert (tmp_path / "grid" / "cells" / cell["runs"][0]["folder"] / "model.safetensors").exists()
    best = done.last
    assert best["best_settings"] == cells[0]["settings"]
    assert best["accuracy"] == cells[0]["accuracy"]
    assert (best["cells"], best["failed"], best["std"]) == (4, 0, None)
    assert Path(best["folder"]) == (tmp_path / "grid").resolve()
    assert (tmp_path / "grid" / "sweep.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_call_runs_nothing_twice(sweep: Run, rounds_run: list[int]) -> None:
    first = sweep(*GRID, "--json", "--quiet")
    assert len(rounds_run) == 4 * 2 * 2
    again = sweep(*GRID, "--json")
    assert len(rounds_run) == 4 * 2 * 2
    assert again.out == first.out
    assert "4 of 4 runs ended before" in again.err


def test_another_metric_ranks_the_same_grid(sweep: Run, rounds_run: list[int]) -> None:
    sweep(*GRID, "--quiet", "--sweep-dir", "grid")
    count = len(rounds_run)
    done = sweep(*GRID, "--quiet", "--json", "--metric", "loss", "--sweep-dir", "grid")
    assert len(rounds_run) == count
    cells = json.loads(Path("grid/results.json").read_text())["cells"]
    assert [cell["loss"] for cell in cells] == sorted(cell["loss"] for cell in cells)
    assert done.last["metric"] == "loss"


def test_other_axes_are_refused_in_the_same_folder(sweep: Run) -> None:
    sweep("--over", "training.learning_rate=0.1", "--quiet", "--sweep-dir", "grid")
    other = sweep("--over", "training.learning_rate=0.1,0.2", "--quiet", "--sweep-dir", "grid")
    assert other.code == 7
    assert "training.learning_rate=0.1 there, training.learning_rate=0.1,0.2 now" in other.err
    changed = sweep("--over", "training.learning_rate=0.1", "--set", "seed=9", "--quiet", "--sweep-dir", "grid")
    assert changed.code == 7
    assert "experiment: hash" in changed.err


def test_seeds_give_mean_and_standard_deviation(sweep: Run) -> None:
    done = sweep("--over", "training.learning_rate=0.1", "--seeds", "3", "--json", "--quiet", "--sweep-dir", "grid")
    with Path("grid/results.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["seed"] for row in rows] == ["1", "2", "3"]
    accuracies = [float(row["accuracy"]) for row in rows]
    for row in rows:
        alone = simulate(load(Path("small.toml"), [f"seed={row['seed']}"]), folder=Path(row["seed"]), quiet=True)
        assert row["model_sha256"] == alone.model_sha256
    assert done.last["accuracy"] == pytest.approx(fmean(accuracies))
    assert done.last["std"] == pytest.approx(stdev(accuracies))


def test_a_cell_that_diverges_is_recorded_and_the_sweep_goes_on(sweep: Run, rounds_run: list[int]) -> None:
    done = sweep(*DIVERGES, "--over", "training.local_steps=3,4", "--json", "--sweep-dir", "grid")
    assert done.code == 0
    assert (done.last["cells"], done.last["failed"]) == (4, 2)
    assert done.last["best_settings"]["training.learning_rate"] == 0.1
    assert "diverged" in done.out
    cells = json.loads(Path("grid/results.json").read_text())["cells"]
    assert [cell["rank"] for cell in cells] == [1, 2, None, None]
    assert "RunError" in cells[2]["error"]
    count = len(rounds_run)
    assert sweep(*DIVERGES, "--over", "training.local_steps=3,4", "--json", "--sweep-dir", "grid").last == done.last
    assert len(rounds_run) == count


def test_a_sweep_whose_every_cell_fails_ends_with_an_error(sweep: Run) -> None:
    done = sweep("--over", "training.learning_rate=1e30", "--quiet")
    assert done.code == 7
    assert "every cell failed" in done.err
    assert "diverged" in done.err


def test_editing_the_file_starts_another_sweep(sweep: Run) -> None:
    first = sweep("--over", "training.rounds=1", "--quiet", "--json")
    Path("small.toml").write_text(EXPERIMENT.replace("clients = 2", "clients = 3"))
    second = sweep("--over", "training.rounds=1", "--quiet", "--json")
    assert first.last["folder"] != second.last["folder"]


def test_progress_names_every_run_where_there_is_no_terminal(sweep: Run) -> None:
    lines = sweep(*GRID).err.splitlines()
    assert [line.split("  ")[0] for line in lines] == [f"run {n}/4" for n in range(1, 5)]
    assert all("accuracy" in line for line in lines)


def test_a_failed_cell_is_tried_again_once_its_folder_is_deleted(sweep: Run, rounds_run: list[int]) -> None:
    first = sweep(*DIVERGES, "--json", "--sweep-dir", "grid")
    assert "delete a cell's folder to try it again" in first.out
    count = len(rounds_run)
    shutil.rmtree("grid/cells/0002")
    assert sweep(*DIVERGES, "--json", "--sweep-dir", "grid").last == first.last
    assert len(rounds_run) > count


def test_a_damaged_outcome_is_refused(sweep: Run) -> None:
    sweep("--over", "training.rounds=1", "--quiet", "--sweep-dir", "grid")
    Path("grid/cells/0001/outcome.json").write_text("{}")
    done = sweep("--over", "training.rounds=1", "--quiet", "--sweep-dir", "grid")
    assert done.code == 7
    assert "outcome.json: not the outcome of a run" in done.err
