"""What a user is told who has no Ray."""

import sys
from pathlib import Path

import pytest
from tests.simulations.small import experiment

from leptonic.errors import ExperimentError
from leptonic_simulations.run import simulate


def test_without_ray_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ExperimentError, match=r"pip install 'leptonic\[ray\]'"):
        simulate(experiment(simulation={"engine": "ray"}), folder=tmp_path / "run", quiet=True)
