"""``leptonic simulate`` on the command line: its last line, its exit codes, and never a traceback."""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from leptonic.command import main

EXPERIMENT = """
data = { name = "digits" }
model = { name = "logistic" }
federation = { clients = 3 }
outputs = { report = false, tensorboard = false }
training = { rounds = 2, local_steps = 2, batch_size = 32 }
"""


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture
def simulate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run ``leptonic simulate`` in a folder with one small experiment."""
    (tmp_path / "small.toml").write_text(EXPERIMENT)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["leptonic", "simulate", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        code = ended.value.code
        return Done(code if isinstance(code, int) else int(code is not None), captured.out, captured.err)

    return run


def test_the_last_line_is_the_result_as_json(simulate: Run, tmp_path: Path) -> None:
    done = simulate("small.toml", "--json", "--quiet", "--run-dir", "run")
    assert done.code == 0
    result = json.loads(done.out.splitlines()[-1])
    wanted = {"accuracy", "model_sha256", "rounds", "seconds", "bytes_up", "bytes_down", "run_dir"}
    assert wanted <= set(result)
    assert 0 <= result["accuracy"] <= 1
    assert len(result["model_sha256"]) == 64
    assert result["rounds"] == 2
    assert result["seconds"] > 0
    assert result["bytes_up"] > 2 * 3 * 650 * 4
    assert result["bytes_down"] > 2 * 3 * 650 * 4
    assert Path(result["run_dir"]) == (tmp_path / "run").resolve()


def test_a_used_folder_is_refused_and_resumed(simulate: Run) -> None:
    first = simulate("small.toml", "--json", "--quiet", "--run-dir", "run")
    again = simulate("small.toml", "--json", "--quiet", "--run-dir", "run")
    assert again.code == 7
    assert "--resume" in again.err
    resumed = simulate("small.toml", "--json", "--quiet", "--run-dir", "run", "--resume")
    assert json.loads(resumed.out.splitlines()[-1]) == json.loads(first.out.splitlines()[-1])


def test_values_set_on_the_command_line_count(simulate: Run) -> None:
    plain = simulate("small.toml", "--json", "--quiet")
    other = simulate("small.toml", "--json", "--quiet", "--set", "seed=7", "--set", "training.rounds=1")
    results = [json.loads(done.out.splitlines()[-1]) for done in (plain, other)]
    assert [result["rounds"] for result in results] == [2, 1]
    assert results[0]["model_sha256"] != results[1]["model_sha256"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("none.toml",), 3, "none.toml: no such experiment file"),
        (("small.toml", "--set", "training.rounds=0"), 3, "training.rounds = 0"),
        (("small.toml", "--set", "trainig.rounds=1"), 3, "trainig"),
        (("small.toml", "--set", "rounds"), 3, "section.key=value"),
        (("small.toml", "--set", "model.name=mpl"), 3, "mlp"),
        (("small.toml", "--set", "training.device=cuda"), 3, "training.device = 'cuda'"),
        (("small.toml", "--set", "model.name=no_such.module:net"), 3, "no_such"),
        (("small.toml", "--set", "federation.clients=5000"), 4, "5000"),
        (("small.toml", "--set", 'data={name="mnist"}', "--set", "model.name=mlp"), 4, "leptonic data fetch"),
        (("small.toml", "--resume"), 7, "resume"),
        (("small.toml", "--resume", "--run-dir", "nothing"), 7, "nothing"),
    ],
)
def test_a_mistake_ends_with_its_branchs_code_and_leaves_no_run(
    simulate: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], code: int, said: str
) -> None:
    import torch

    if "cuda" in str(arguments) and torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    monkeypatch.setenv("LEPTONIC_DATA", str(tmp_path / "empty"))
    done = simulate(*arguments)
    assert (done.code, said in done.err) == (code, True), done.err
    assert done.err.count("\n") < 12
    assert not list(tmp_path.rglob("metrics.jsonl"))


def test_privacy_that_cannot_be_kept_ends_with_its_code(simulate: Run) -> None:
    impossible = 'privacy={unit="example", epsilon=1.0, delta=0.5}'
    done = simulate("small.toml", "--quiet", "--set", impossible)
    assert done.code == 6
    assert "privacy.delta" in done.err


@pytest.mark.parametrize("where", ["small.toml", "small.toml/run"])
def test_a_folder_that_cannot_be_made_ends_without_a_traceback(simulate: Run, where: str) -> None:
    done = simulate("small.toml", "--quiet", "--run-dir", where)
    assert done.code not in (0, 1)
    assert "small.toml" in done.err


@pytest.mark.skipif(os.name != "posix" or os.getuid() == 0, reason="needs a user whom permissions bind")
def test_a_folder_that_may_not_be_written_ends_without_a_traceback(simulate: Run, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    assert simulate("small.toml", "--quiet", "--run-dir", "closed/run").code == 7


def test_quiet_is_quiet(simulate: Run) -> None:
    assert simulate("small.toml", "--quiet").err == ""


def test_ctrl_c_says_how_to_go_on(simulate: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from leptonic_server.progress import RunListener

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(RunListener, "round_begins", interrupt)
        done = simulate("small.toml", "--quiet", "--run-dir", "run")
    assert done.code == 130
    assert "--resume" in done.err
    assert simulate("small.toml", "--quiet", "--run-dir", "run", "--resume").code == 0
