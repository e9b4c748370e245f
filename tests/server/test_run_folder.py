"""A run's folder: found, made, locked; never overwritten, and never mistaken for another's."""

import json
import multiprocessing
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from leptonic.errors import LeptonicError, RunError
from leptonic.experiment import Experiment
from leptonic.experiment_file import from_mapping
from leptonic_server.run_folder import open_run

LAYOUT = "ab" * 32


def experiment(tmp_path: Path, **sections: Any) -> Experiment:
    return from_mapping({"name": "x", "outputs": {"directory": str(tmp_path / "runs")}, **sections})


def opened(made: Experiment, **changes: Any) -> Any:
    return open_run(made, **{"layout": LAYOUT, "mode": "simulated", "folder": None, "resume": False, **changes})


def test_a_new_run_gets_a_folder_of_its_own(tmp_path: Path) -> None:
    made = experiment(tmp_path)
    with opened(made) as first, opened(made) as second:
        assert first.folder != second.folder
        assert first.run != second.run
        assert first.folder.parent == tmp_path / "runs"
        assert first.experiment.hash == made.hash
        assert first.mode == "simulated"


def test_a_used_folder_is_refused_with_the_way_out(tmp_path: Path) -> None:
    made, folder = experiment(tmp_path), tmp_path / "run"
    with opened(made, folder=folder):
        pass
    with pytest.raises(RunError, match=r"--resume.*--run-dir"), opened(made, folder=folder):
        pass


def test_a_folder_with_other_files_is_taken(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with opened(experiment(tmp_path), folder=tmp_path) as store:
        assert store.run is not None
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_resume_continues_the_same_run(tmp_path: Path) -> None:
    made, folder = experiment(tmp_path), tmp_path / "run"
    with opened(made, folder=folder) as store:
        run = store.run
    with opened(made, folder=folder, resume=True) as store:
        assert store.run == run


def test_resume_without_a_folder_takes_the_newest_run_of_the_same_experiment(tmp_path: Path) -> None:
    made, other = experiment(tmp_path), experiment(tmp_path, seed=5)
    runs = []
    for index, wanted in enumerate((made, made, other)):
        folder = tmp_path / "runs" / f"run-{index}"
        with opened(wanted, folder=folder) as store:
            runs.append(store.run)
        for path in folder.iterdir():
            os.utime(path, (1000 + index, 1000 + index))
    with opened(made, resume=True) as store:
        assert store.run == runs[1]
    with opened(other, resume=True) as store:
        assert store.run == runs[2]


def test_resume_does_not_take_a_run_of_another_mode(tmp_path: Path) -> None:
    made = experiment(tmp_path)
    with opened(made):
        pass
    with pytest.raises(RunError, match="no deployed run"), opened(made, resume=True, mode="deployed"):
        pass


@pytest.mark.parametrize("folder", ["nothing-here", None])
def test_nothing_to_resume_is_said(tmp_path: Path, folder: str | None) -> None:
    chosen = None if folder is None else tmp_path / folder
    with pytest.raises(RunError, match="resume"), opened(experiment(tmp_path), folder=chosen, resume=True):
        pass
    assert chosen is None or not chosen.exists()


@pytest.mark.parametrize("change", [{"seed": 1}, {"training": {"rounds": 11}}])
def test_another_experiment_does_not_continue_the_run(tmp_path: Path, change: dict[str, Any]) -> None:
    folder = tmp_path / "run"
    with opened(experiment(tmp_path), folder=folder):
        pass
    with (
        pytest.raises(RunError, match="experiment has changed"),
        opened(experiment(tmp_path, **change), folder=folder, resume=True),
    ):
        pass


def test_another_model_layout_does_not_continue_the_run(tmp_path: Path) -> None:
    made, folder = experiment(tmp_path), tmp_path / "run"
    with opened(made, folder=folder):
        pass
    with pytest.raises(RunError), opened(made, folder=folder, resume=True, layout="cd" * 32):
        pass


def test_outputs_may_change_between_start_and_resume(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with opened(experiment(tmp_path), folder=folder):
        pass
    with opened(experiment(tmp_path, outputs={"report": False}), folder=folder, resume=True) as store:
        assert store.run is not None


def _try_to_open(folder: Path, answers: Any) -> None:
    try:
        with opened(experiment(folder.parent), folder=folder, resume=True):
            answers.put("opened")
    except RunError as error:
        answers.put(str(error))


def test_two_processes_cannot_work_on_one_run(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    with opened(experiment(tmp_path), folder=folder):
        process = context.Process(target=_try_to_open, args=(folder, answers))
        process.start()
        said = answers.get(timeout=60)
        process.join()
    assert "another process is working on this run" in said
    with opened(experiment(tmp_path), folder=folder, resume=True):
        pass


def test_the_lock_is_free_again_after_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(ValueError, match="stop"), opened(experiment(tmp_path), folder=folder):
        raise ValueError("stop")
    with opened(experiment(tmp_path), folder=folder, resume=True):
        pass


def test_a_run_that_was_killed_before_it_was_recorded_begins_on_resume(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    sqlite3.connect(folder / "run.sqlite").close()
    (folder / "run.sqlite").touch()
    with opened(experiment(tmp_path), folder=folder, resume=True) as store:
        assert store.run is not None


def test_a_run_store_that_is_none_is_an_error_that_names_it(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "run.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(RunError, match=r"run\.sqlite"), opened(experiment(tmp_path), folder=folder, resume=True):
        pass


def test_a_run_of_another_version_beside_it_does_not_stop_a_resume(tmp_path: Path) -> None:
    """Its stored experiment has settings that this version does not know."""
    made = experiment(tmp_path)
    with opened(made) as store:
        run = store.run
    stranger = tmp_path / "runs" / "stranger"
    with opened(experiment(tmp_path, seed=9), folder=stranger):
        pass
    database = sqlite3.connect(stranger / "run.sqlite")
    content = json.loads(database.execute("SELECT experiment FROM run").fetchone()[0])
    database.execute("UPDATE run SET experiment = ?", (json.dumps({**content, "unheard_of": 1}),))
    database.commit()
    database.close()
    with opened(made, resume=True) as store:
        assert store.run == run


@pytest.mark.parametrize("where", ["file", "file/run"])
def test_a_folder_that_cannot_be_made_is_a_named_error(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LeptonicError, match="file"), opened(experiment(tmp_path), folder=tmp_path / where):
        pass
