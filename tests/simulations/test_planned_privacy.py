"""What a plan says beforehand is what a run records."""

from pathlib import Path
from typing import Any

import pytest
from tests.simulations.small import TRAINING, Run, experiment

from leptonic.privacy.forecast import forecast_clients
from leptonic_server.store import RunStore

MECHANISMS: list[dict[str, Any]] = [
    {"mechanism": "server"},
    {"mechanism": "correlated", "band": 2},
    {"mechanism": "local"},
]


@pytest.mark.parametrize("privacy", MECHANISMS, ids=lambda privacy: privacy["mechanism"])
def test_a_run_costs_what_its_plan_says(run: Run, privacy: dict[str, Any]) -> None:
    made = experiment(
        federation={"clients": 6, "cohort": 3},
        training={**TRAINING, "rounds": 4},
        aggregation={"rule": "mean", "weighting": "uniform"},
        privacy={"unit": "client", "epsilon": 20.0, "delta": 1e-3, **privacy},
    )
    plan = forecast_clients(made, 650)
    result = run(made)
    store = RunStore(Path(result.run_dir), read_only=True)
    records = [record.privacy for record in store.rounds()[1:]]
    store.close()
    assert [record["epsilon"] for record in records] == [point.epsilon for point in plan.curve]
    assert [record["joined"] for record in records] == [point.joined for point in plan.curve]
    assert records[-1].items() >= plan.stated.items()
    assert result.epsilon == plan.epsilon
