"""``leptonic sweep --search`` as a user runs it: its space, its trials, its failures."""

import json
from pathlib import Path

import pytest
from tests.simulations.sweep.running import SEARCH, Run, models


def test_a_search_can_be_made_longer(sweep: Run, rounds_run: list[int]) -> None:
    sweep(*SEARCH, "--trials", "2", "--quiet", "--sweep-dir", "search")
    assert len(rounds_run) == 2 * 2 * 2
    longer = sweep(*SEARCH, "--trials", "4", "--quiet", "--json", "--sweep-dir", "search")
    assert len(rounds_run) == 4 * 2 * 2
    assert longer.last["cells"] == 4
    at_once = sweep(*SEARCH, "--trials", "4", "--quiet", "--json", "--sweep-dir", "at_once")
    assert models(Path("search")) == models(Path("at_once"))
    assert at_once.last["best_settings"] == longer.last["best_settings"]


@pytest.mark.slow
def test_a_search_stays_in_its_space(sweep: Run) -> None:
    choices = ("--search", "training.momentum=0..0.5", "--search", "training.optimizer=sgd", "--search", "seed=1..9")
    assert "LOW..HIGH" in sweep(*choices, "--quiet").err
    choices = ("--search", "training.momentum=0..1", "--quiet")
    assert "training.momentum = 1" in sweep(*choices).err
    options = ("--search", "training.momentum=0..0.5", "--search", "model.name=logistic,mlp", "--search", "seed=1..9")
    sweep(*options, "--trials", "6", "--quiet", "--metric", "loss", "--sweep-dir", "search")
    cells = json.loads(Path("search/results.json").read_text())["cells"]
    settings = [cell["settings"] for cell in cells]
    assert all(0 <= each["training.momentum"] <= 0.5 for each in settings)
    assert any(0 < each["training.momentum"] < 0.5 for each in settings)
    assert {each["model.name"] for each in settings} <= {"logistic", "mlp"}
    assert all(isinstance(each["seed"], int) and 1 <= each["seed"] <= 9 for each in settings)
    assert [cell["loss"] for cell in cells] == sorted(cell["loss"] for cell in cells)


def test_a_trial_that_fails_is_recorded(sweep: Run) -> None:
    """A combination that is refused, of ends that are not."""
    options = ("--search", "federation.clients=2..9", "--search", "federation.cohort=2..9", "--trials", "8")
    done = sweep(*options, "--quiet", "--json", "--sweep-dir", "search")
    assert done.code == 0
    cells = json.loads(Path("search/results.json").read_text())["cells"]
    refused = [cell for cell in cells if cell["settings"]["federation.cohort"] > cell["settings"]["federation.clients"]]
    assert {cell["cell"] for cell in refused} == {cell["cell"] for cell in cells if cell["error"]}
    assert refused
    assert all("federation.cohort" in cell["error"] for cell in refused)
    assert done.last["failed"] == len(refused)
    assert sweep(*options, "--quiet", "--json", "--sweep-dir", "search").last == done.last


def test_a_damaged_study_is_refused(sweep: Run) -> None:
    sweep(*SEARCH, "--trials", "1", "--quiet", "--sweep-dir", "search")
    Path("search/study.sqlite").write_bytes(b"not a database, but long enough to be read as one" * 100)
    done = sweep(*SEARCH, "--trials", "1", "--quiet", "--sweep-dir", "search")
    assert done.code == 7
    assert "study.sqlite: not an Optuna study" in done.err


def test_a_folder_may_have_any_name(sweep: Run) -> None:
    name = "what? 100% #1"
    assert sweep(*SEARCH, "--trials", "1", "--quiet", "--sweep-dir", name).code == 0
    assert (Path(name) / "study.sqlite").stat().st_size > 0


@pytest.mark.slow
def test_a_trial_that_was_killed_while_it_was_drawn_is_drawn_anew(sweep: Run) -> None:
    import optuna

    options = (*SEARCH, "--quiet", "--json", "--sweep-dir", "search", "--trials")
    sweep(*options, "1")
    storage = optuna.storages.RDBStorage(f"sqlite:///{Path('search/study.sqlite').resolve()}")
    optuna.load_study(storage=storage, study_name="sweep").ask()
    storage.remove_session()
    storage.engine.dispose()
    broken = sweep(*options, "3")
    whole = sweep(*SEARCH, "--quiet", "--json", "--sweep-dir", "whole", "--trials", "3")
    assert broken.last["cells"] == 3
    assert broken.last["best_settings"] == whole.last["best_settings"]
    assert sorted(models(Path("search")).values()) == sorted(models(Path("whole")).values())
