"""What tests of whole simulations share."""

from pathlib import Path
from typing import Any

import pytest
from tests.simulations.small import Run

from leptonic.experiment import Experiment
from leptonic_server.outputs import Result
from leptonic_simulations.run import simulate


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Each call is a quiet simulation in a folder of its own."""
    count = 0

    def simulated(made: Experiment, **options: Any) -> Result:
        nonlocal count
        count += 1
        return simulate(made, **{"folder": tmp_path / f"run-{count}", "quiet": True, **options})

    return simulated
