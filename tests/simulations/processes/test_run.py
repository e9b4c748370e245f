"""Whole runs with workers: the sequential engine's model, and an end that leaves nothing behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.simulations.small import PRIVACY, TRAINING, experiment

from leptonic_server.outputs import Result
from leptonic_simulations.run import simulate

pytestmark = pytest.mark.slow

SKEWED = {"scheme": "dirichlet", "alpha": 0.3, "minimum_examples": 1}
CASES: dict[str, dict[str, Any]] = {
    "fedavg": {},
    "over-selection": {"federation": {"clients": 12, "cohort": 4, "over_selection": 0.5, "partition": SKEWED}},
    "scaffold": {"algorithm": {"name": "scaffold"}},
    "median": {"aggregation": {"rule": "median"}},
    "sampled": {
        "federation": {
            "clients": 1_000_000,
            "cohort": 5,
            "partition": {"scheme": "sampled", "examples": 30, "alpha": 0.5},
        },
        "evaluation": {"on": ["server", "clients"], "holdout": 0.2},
    },
    "private": {"federation": {"clients": 3}, "privacy": PRIVACY, "training": {**TRAINING, "local_steps": 2}},
}


@pytest.mark.parametrize("case", CASES)
def test_a_run_gives_the_sequential_engines_bits(tmp_path: Path, case: str) -> None:
    sections = {
        "federation": {"clients": 10, "cohort": 5, "partition": SKEWED},
        "training": {**TRAINING, "rounds": 6},
        **CASES[case],
    }
    results: list[Result] = []
    for engine in ("sequential", "processes"):
        made = experiment(**sections, simulation={"engine": engine, "workers": 2, "seeded_noise": case == "private"})
        results.append(simulate(made, folder=tmp_path / engine, quiet=True))
    assert results[0].model_sha256 == results[1].model_sha256
    assert results[0].accuracy == results[1].accuracy


FILE = """
name = "broken-off"
seed = 4
data = {{ name = "digits" }}
model = {{ name = "mlp", hidden = [32] }}
algorithm = {{ name = "scaffold" }}
federation = {{ clients = 6, cohort = 4, over_selection = 0.5 }}
training = {{ rounds = 12, local_steps = 80, batch_size = 32, learning_rate = 0.05 }}
outputs = {{ report = false, tensorboard = false }}
simulation = {{ engine = "{engine}", workers = 2 }}
"""
COMMAND = [sys.executable, "-c", "from leptonic.command import main; main()", "simulate"]


def begun(file: Path, folder: Path, *options: str) -> subprocess.Popen[str]:
    command = [*COMMAND, str(file), "--run-dir", str(folder), *options]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)


def wait_for(run: subprocess.Popen[str], words: str) -> None:
    assert run.stderr is not None
    for line in run.stderr:
        if words in line:
            return
    raise AssertionError(f"the run ended before it said {words!r}")


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_gone(pid: int) -> bool:
    """Ended; who has nobody that asks for its exit code stays listed as Z."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def assert_soon_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + 20
    while not all(is_gone(pid) for pid in pids):
        assert time.monotonic() < deadline, "workers outlive their run"
        time.sleep(0.05)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "experiment.toml"
    path.write_text(FILE.format(engine="processes"))
    return path


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds workers in /proc")
@pytest.mark.parametrize("how", ["Ctrl-C", "Ctrl-C at the start", "killed"])
def test_a_run_that_is_broken_off_leaves_no_worker_and_is_resumed_to_the_same_model(
    tmp_path: Path, file: Path, how: str
) -> None:
    folder = tmp_path / "run"
    with begun(file, folder) as run:
        if how == "Ctrl-C at the start":
            while len(workers := children_of(run.pid)) < 2:
                time.sleep(0.02)
        else:
            wait_for(run, "round 3/12")
            workers = children_of(run.pid)
        assert len(workers) == 2
        if how == "killed":
            os.kill(run.pid, signal.SIGKILL)
        else:
            os.killpg(run.pid, signal.SIGINT)
        _, said = run.communicate(timeout=30)
        assert run.returncode != 0
        assert "Traceback" not in said
    assert_soon_gone(workers)
    with begun(file, folder, "--resume") as again:
        again.communicate(timeout=120)
    assert again.returncode == 0
    file.write_text(FILE.format(engine="sequential"))
    with begun(file, tmp_path / "unbroken") as unbroken:
        unbroken.communicate(timeout=120)
    models = [(each / "model.safetensors").read_bytes() for each in (folder, tmp_path / "unbroken")]
    assert models[0] == models[1]
