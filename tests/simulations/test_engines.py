"""Which engine a run gets, what is said of it, and that every engine gives the same result."""

from pathlib import Path
from typing import Any

import pytest
from tests.simulations.small import TRAINING, experiment

from leptonic.experiment import Experiment
from leptonic_server.store import RunStore
from leptonic_simulations.automatic import AutomaticEngine
from leptonic_simulations.batched import BatchedEngine
from leptonic_simulations.clients import FederatedData, SimulatedClients
from leptonic_simulations.engines import cores, engine_for
from leptonic_simulations.grid import Engine
from leptonic_simulations.processes import ProcessesEngine
from leptonic_simulations.run import simulate
from leptonic_simulations.sequential import SequentialEngine

OWN = "tests.simulations.own_models"
UNBATCHABLE: dict[str, dict[str, Any]] = {
    "dropout": {"model": {"name": f"{OWN}:dropout"}},
    "mixing": {"model": {"name": f"{OWN}:mixing"}},
    "deciding": {"model": {"name": f"{OWN}:Deciding"}},
    "float16": {"training": {**TRAINING, "precision": "float16"}},
}


def engine_of(made: Experiment, folder: Path, chosen: str | None = None) -> tuple[Engine, list[str], list[str]]:
    """The engine, what it says, and what it keeps; closed when it is returned."""
    said: list[str] = []
    kept: list[str] = []
    clients = SimulatedClients(made, folder, FederatedData.of(made))
    engine = engine_for(clients, rounds=2, chosen=chosen, keep=lambda name, why: kept.append(name), say=said.append)
    engine.close()
    clients.close()
    return engine, said, kept


def test_a_named_engine_is_taken_without_a_word(tmp_path: Path) -> None:
    for name, kind in (("sequential", SequentialEngine), ("batched", BatchedEngine), ("processes", ProcessesEngine)):
        made = experiment(simulation={"engine": name, "workers": 1})
        assert type(engine_of(made, tmp_path)[0]) is kind
        assert engine_of(made, tmp_path, chosen="sequential")[1:] == ([], [])


@pytest.mark.parametrize("wanted", ["auto", "exact"])
def test_several_candidates_are_tried_and_a_choice_that_was_made_is_kept(tmp_path: Path, wanted: str) -> None:
    made = experiment(simulation={"engine": wanted, "workers": 2})
    assert type(engine_of(made, tmp_path)[0]) is AutomaticEngine
    assert type(engine_of(made, tmp_path, chosen="sequential")[0]) is SequentialEngine
    assert type(engine_of(made, tmp_path, chosen="processes")[0]) is ProcessesEngine
    batched = engine_of(made, tmp_path, chosen="batched")[0]
    assert type(batched) is (BatchedEngine if wanted == "auto" else AutomaticEngine)


def test_exact_on_one_core_is_sequential(tmp_path: Path) -> None:
    assert type(engine_of(experiment(simulation={"engine": "exact", "workers": 1}), tmp_path)[0]) is SequentialEngine
    assert cores() >= 1


@pytest.mark.parametrize("case", UNBATCHABLE)
def test_what_cannot_be_batched_falls_back_with_a_line_and_the_same_result(tmp_path: Path, case: str) -> None:
    sections = {"simulation": {"engine": "batched"}, **UNBATCHABLE[case]}
    engine, said, _ = engine_of(experiment(**sections), tmp_path)
    assert type(engine) is SequentialEngine
    assert len(said) == 1
    assert said[0].startswith("engine: sequential, since ")
    result = simulate(experiment(**sections), folder=tmp_path / "batched", quiet=True)
    plain = {**sections, "simulation": {**sections["simulation"], "engine": "sequential"}}
    assert simulate(experiment(**plain), folder=tmp_path / "plain", quiet=True).model_sha256 == result.model_sha256


def test_auto_says_why_it_leaves_the_batched_engine_out(tmp_path: Path) -> None:
    made = experiment(model={"name": f"{OWN}:mixing"}, simulation={"engine": "auto", "workers": 1})
    engine, said, _ = engine_of(made, tmp_path)
    assert type(engine) is SequentialEngine
    assert said == ["engine: batched is left out, since the model mixes the examples of a batch"]


@pytest.mark.parametrize("algorithm", ["fedavg", "fedprox", "scaffold", "fednova", "feddyn"])
def test_whole_runs_of_the_batched_engine_agree(tmp_path: Path, algorithm: str) -> None:
    """To three digits after several rounds, of metrics as well: rounding grows from round to round."""
    skewed = {"scheme": "dirichlet", "alpha": 0.3, "minimum_examples": 1}
    records = []
    for engine in ("sequential", "batched"):
        made = experiment(
            algorithm={"name": algorithm},
            model={"name": "mlp", "hidden": [24]},
            federation={"clients": 12, "cohort": 5, "partition": skewed},
            training={"rounds": 4, "local_epochs": 1, "batch_size": 16, "learning_rate": 0.05},
            simulation={"engine": engine},
        )
        simulate(made, folder=tmp_path / engine, quiet=True)
        store = RunStore(tmp_path / engine)
        records.append(store.rounds()[-1])
        store.close()
    assert records[1].metrics == pytest.approx(records[0].metrics, rel=1e-3)
    assert records[1].train == pytest.approx(records[0].train, rel=1e-3)
    assert records[1].survivors == records[0].survivors


def test_the_choice_stands_in_the_run_store_and_is_kept_on_resume(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = experiment(
        federation={"clients": 40}, training={**TRAINING, "rounds": 2}, simulation={"engine": "auto", "workers": 1}
    )
    simulate(made, folder=tmp_path / "run")
    store = RunStore(tmp_path / "run")
    chosen, why = store.note("engine"), store.note("engine's reason")
    assert chosen in ("sequential", "batched")
    assert f"engine: {chosen} ({why})" in capsys.readouterr().err
    other = "sequential" if chosen == "batched" else "batched"
    store.keep("engine", other)
    store.close()
    assert type(engine_of(made, tmp_path / "clients", chosen=other)[0]).__name__.lower().startswith(other)


@pytest.mark.slow
def test_an_own_model_works_in_every_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that only this process's search path leads to."""
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "models.py").write_text(
        "from torch import nn\n\n\ndef small(spec, width):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.Tanh(), nn.Linear(width, spec.classes))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    results = {}
    for engine in ("sequential", "batched", "processes"):
        made = experiment(
            model={"name": "my_package.models:small", "options": {"width": 6}},
            simulation={"engine": engine, "workers": 2},
        )
        results[engine] = simulate(made, folder=tmp_path / engine, quiet=True)
    assert results["processes"].model_sha256 == results["sequential"].model_sha256
    assert results["batched"].accuracy == pytest.approx(results["sequential"].accuracy, abs=0.01)
