"""Client-level privacy in simulations: every mechanism, every engine, stopped and resumed, and nothing that leaks."""

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.simulations.small import TRAINING, Run, experiment, stopped_at

from leptonic.errors import LeptonicError
from leptonic.experiment import Experiment
from leptonic_server.store import RunStore
from leptonic_simulations.run import simulate

CASES: dict[str, dict[str, Any]] = {
    "distributed": {"secure_aggregation": {"bits": 20}},
    "local": {},
    "server": {},
    "adaptive": {"privacy": {"mechanism": "server", "adaptive_clip": {}}},
    "correlated": {"privacy": {"band": 2}},
    "server, hidden from it": {"privacy": {"mechanism": "server"}, "secure_aggregation": {}},
    "discrete Gaussian": {
        "privacy": {"mechanism": "distributed", "noise": "discrete_gaussian"},
        "secure_aggregation": {"bits": 24},
    },
}


def private(case: str, *, seeded: bool = True, epsilon: float = 100.0, **changes: Any) -> Experiment:
    sections = dict(CASES[case])
    privacy = {"unit": "client", "mechanism": case, "epsilon": epsilon, "delta": 1e-3, "clip_norm": 1.0}
    simulation = {"engine": "sequential", "seeded_noise": seeded, **changes.pop("simulation", {})}
    return experiment(
        federation={"clients": 12, "cohort": 6},
        training={**TRAINING, "rounds": 4, **changes.pop("training", {})},
        aggregation={"rule": "mean", "weighting": "uniform"},
        simulation=simulation,
        **{**sections, "privacy": {**privacy, **sections.get("privacy", {})}, **changes},
    )


@pytest.mark.parametrize("case", CASES)
def test_every_mechanism_learns_within_its_target(run: Run, case: str) -> None:
    result = run(private(case, epsilon=300.0))
    assert result.accuracy is not None
    assert result.accuracy > 0.6
    assert result.epsilon is not None
    assert 290 < result.epsilon <= 300


@pytest.mark.parametrize("case", CASES)
def test_secret_noise_makes_every_run_another(run: Run, case: str) -> None:
    assert run(private(case, seeded=False)).model_sha256 != run(private(case, seeded=False)).model_sha256


@pytest.mark.parametrize("case", ["distributed", "local", "adaptive", "correlated"])
def test_processes_give_the_same_bits(run: Run, case: str) -> None:
    alone = run(private(case))
    together = run(private(case, simulation={"engine": "processes", "workers": 2}))
    assert together.model_sha256 == alone.model_sha256


@pytest.mark.parametrize("case", ["distributed", "server"])
def test_batched_training_agrees_but_for_rounding(run: Run, case: str) -> None:
    """A rounded update may round another way with the same draws, so accuracies are compared, not bits."""
    alone = run(private(case, epsilon=1000.0))
    together = run(private(case, epsilon=1000.0, simulation={"engine": "batched"}))
    assert together.accuracy == pytest.approx(alone.accuracy, abs=0.03)


@pytest.mark.parametrize("case", ["distributed", "discrete Gaussian", "server, hidden from it"])
def test_masks_change_nothing(run: Run, case: str) -> None:
    ideal = run(private(case, simulation={"secure_aggregation": "ideal"}))
    assert run(private(case)).model_sha256 == ideal.model_sha256


@pytest.mark.parametrize("case", ["distributed", "adaptive", "correlated"])
def test_a_stopped_run_goes_on_as_if_it_had_not(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = private(case)
    whole = simulate(made, folder=tmp_path / "whole", quiet=True)
    with stopped_at(monkeypatch, "round_committed", 3), pytest.raises(KeyboardInterrupt):
        simulate(made, folder=tmp_path / "stopped", quiet=True)
    resumed = simulate(made, folder=tmp_path / "stopped", resume=True, quiet=True)
    assert resumed.model_sha256 == whole.model_sha256


def test_what_the_noise_was_made_from_is_for_the_server_alone(tmp_path: Path) -> None:
    simulate(private("correlated"), folder=tmp_path / "run", quiet=True)
    kept = sorted((tmp_path / "run").glob("*.safetensors"))
    secret = [path for path in kept if b"privacy.sums" in path.read_bytes()]
    assert secret
    assert all(path.stat().st_mode & 0o077 == 0 for path in secret)
    assert b"privacy" not in (tmp_path / "run" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("case", ["distributed", "server"])
def test_nothing_else_of_a_client_leaves_it(case: str, tmp_path: Path) -> None:
    simulate(private(case), folder=tmp_path / "run", quiet=True)
    with closing(RunStore(tmp_path / "run")) as store:
        for record in store.rounds():
            assert record.train == {}
            assert record.client_metrics == {}
            assert (record.clamped, record.capped) == (0, 0)


@pytest.mark.parametrize("case", ["distributed", "server"])
def test_a_client_whose_training_diverges_counts_as_one_that_sends_zeros(run: Run, case: str) -> None:
    """An error would tell everybody about its data."""
    diverging = private(case, training={"rounds": 1, "learning_rate": 1e30, "local_steps": 50})
    result = run(diverging)
    assert result.rounds == 1


def test_a_client_joins_no_more_rounds_than_its_noise_is_for(run: Run) -> None:
    with pytest.raises(LeptonicError, match="0 clients were counted"):
        run(private("server", privacy={**_server(), "participations": 1}))


def _server() -> dict[str, Any]:
    return {"unit": "client", "mechanism": "server", "epsilon": 100.0, "delta": 1e-3, "clip_norm": 1.0}
