"""``leptonic audit`` on the command line: what it leaves, its exit codes, and the model that it lets out or keeps."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file
from tests.simulations.small import experiment

from leptonic.command import main
from leptonic_simulations.run import simulate

FILE = """
data = { name = "digits" }
model = { name = "logistic" }
federation = { clients = 200, cohort = 30 }
aggregation = { rule = "mean", weighting = "uniform" }
training = { rounds = 2, local_steps = 1, batch_size = 2 }
outputs = { report = false, tensorboard = false }
privacy = { unit = "client", mechanism = "server", epsilon = 8.0, delta = 1e-3, clip_norm = 0.5 }
"""
PRIVACY = {"unit": "client", "mechanism": "server", "epsilon": 8.0, "delta": 1e-3, "clip_norm": 0.5}


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str


Audit = Callable[..., Done]


@pytest.fixture
def audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Audit:
    """Run ``leptonic audit`` in a folder with one small experiment."""
    (tmp_path / "small.toml").write_text(FILE)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["leptonic", "audit", *arguments])
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return Done(code, captured.out, captured.err)

    return run


def run_of(folder: Path, **simulation: Any) -> Path:
    made = experiment(
        federation={"clients": 200, "cohort": 30},
        aggregation={"rule": "mean", "weighting": "uniform"},
        training={"rounds": 2, "local_steps": 1, "batch_size": 2},
        privacy=PRIVACY,
        simulation={"engine": "sequential", **simulation},
    )
    simulate(made, folder=folder, quiet=True)
    return folder


def test_a_file_is_audited_and_what_was_found_is_kept(audit: Audit) -> None:
    done = audit("small.toml", "--quick")
    assert done.code == 0, done.err
    assert "nothing contradicts the claim" in done.out
    folder = Path("runs/small-audit")
    found = json.loads((folder / "audit.json").read_text())
    assert (found["contradicted"], found["run"], found["level"]) == (False, None, 1e-3)
    audits = {finding["audit"] for finding in found["findings"]}
    assert audits == {
        "accounting",
        "neighbouring inputs",
        "noise",
        "guesses who was there",
        "canary clients",
        "gradient inversion",
    }
    page = (folder / "audit.md").read_text()
    assert "does not prove the claim" in page
    assert "(audit.png)" in page
    assert (folder / "audit.png").exists()


def test_an_experiment_without_privacy_is_shown_what_its_updates_tell(audit: Audit) -> None:
    (Path("plain.toml")).write_text("\n".join(line for line in FILE.splitlines() if "privacy" not in line))
    done = audit("plain.toml", "--quick", "--json", "--quiet", "--out", "here")
    assert done.code == 0, done.err
    assert done.err == ""
    found = json.loads(done.out)
    assert {finding["verdict"] for finding in found["findings"]} == {"shown"}
    assert found == json.loads(Path("here/audit.json").read_text())


def test_the_model_of_a_run_is_exported_if_nothing_is_contradicted(audit: Audit, tmp_path: Path) -> None:
    folder = run_of(tmp_path / "run")
    done = audit("run", "--quick", "--quiet", "--export", "out/model.safetensors")
    assert done.code == 0, done.err
    exported, delivered = load_file("out/model.safetensors"), load_file(folder / "model.safetensors")
    assert exported.keys() == delivered.keys()
    assert (folder / "audit.json").exists()


def test_a_run_whose_noise_was_not_secret_is_accused_and_its_model_stays(audit: Audit, tmp_path: Path) -> None:
    run_of(tmp_path / "run", seeded_noise=True)
    done = audit("run", "--quick", "--quiet", "--export", "model.safetensors")
    assert done.code == 6
    assert "its noise was secret" in done.err
    assert "was not exported" in done.err
    assert not Path("model.safetensors").exists()
    assert json.loads(Path("run/audit.json").read_text())["contradicted"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("none.toml",), 3, "none.toml: no such experiment file"),
        (("small.toml", "--export", "model.safetensors"), 3, "--export"),
        (("empty",), 7, "run.sqlite"),
        (("small.toml", "--set", "training.rounds=0"), 3, "training.rounds = 0"),
    ],
)
def test_a_mistake_ends_with_its_branchs_code(audit: Audit, arguments: tuple[str, ...], code: int, said: str) -> None:
    Path("empty").mkdir()
    done = audit(*arguments)
    assert (done.code, said in done.err) == (code, True), done.err
