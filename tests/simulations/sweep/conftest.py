"""The command line in a folder of its own, and a count of the work that it does."""

import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from tests.simulations.sweep.running import EXPERIMENT, Done, Run

from leptonic import command
from leptonic.command import main
from leptonic_client.participant import Participant

ROOT = Path(__file__).parents[3]


def commands_of_this_tree() -> list[EntryPoint]:
    """Those that pyproject.toml names, whatever is installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    group = "leptonic.commands"
    return [EntryPoint(name, value, group) for name, value in project["entry-points"][group].items()]


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run ``leptonic sweep small.toml ...`` in a folder of its own."""
    (tmp_path / "small.toml").write_text(EXPERIMENT)
    monkeypatch.chdir(tmp_path)
    points = commands_of_this_tree()
    monkeypatch.setattr(command, "entry_points", lambda group: points)

    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["leptonic", "sweep", "small.toml", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        code = ended.value.code
        return Done(code if isinstance(code, int) else int(code is not None), captured.out, captured.err)

    return run


@pytest.fixture
def rounds_run(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """One item for every request that a simulated client answered."""
    answered: list[int] = []
    answer = Participant.answer

    def counting(participant: Participant, *arguments: Any) -> Any:
        answered.append(1)
        return answer(participant, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(Participant, "answer", counting)
        yield answered
