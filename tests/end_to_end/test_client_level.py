"""Client-level privacy between real processes: noise within secure aggregation, charged, opened as sums, verified."""

import json
from pathlib import Path

import pytest
from tests.end_to_end.federation import federation, last_json, leptonic, wait_for
from tests.end_to_end.test_secure import nodes, said

from leptonic.privacy.client_level import client_plan
from leptonic_server.store import RunStore

NOISED = """
seed = 2
data = { name = "digits" }
model = { name = "logistic" }
secure_aggregation = { colluders = 1, bits = 24, retain = "sums" }
aggregation = { rule = "mean", weighting = "uniform" }
[federation]
clients = 6
deadline = 18
[training]
rounds = 4
local_epochs = 1
batch_size = 8
learning_rate = 0.05
[privacy]
unit = "client"
mechanism = "distributed"
epsilon = 200.0
delta = 0.01
participations = 10
"""


@pytest.mark.slow
def test_noise_is_added_by_clients_charged_by_their_ledgers_and_replayed_by_verify(tmp_path: Path) -> None:
    """Through a killed coordinator, whose next life goes on with the noised sum or asks for a new one."""
    with federation(tmp_path, NOISED) as made:
        made.export()
        arguments = nodes(made)
        first = made.server("--roster", "federation.roster")
        clients = [made.start(f"client-{index}", *start) for index, start in enumerate(arguments)]
        wait_for(lambda: said(clients[0], "round 2: train done"), seconds=150, what="round 2")
        first.kill()
        deployed = last_json(made.server("--roster", "federation.roster", "--resume").finish())
        for client in clients:
            client.finish(seconds=120)
    store = RunStore(tmp_path / "deployed", read_only=True)
    records, experiment = list(store.rounds()), store.experiment
    store.close()
    plan = client_plan(experiment, 650)
    assert deployed["rounds"] == 4
    assert records[-1].epsilon == pytest.approx(deployed["epsilon"])
    verified = leptonic("verify", "deployed", "--as", "client-0", "--node", "nodes/client-0", cwd=tmp_path).stdout
    assert "client-0 in 4 of 4 rounds" in verified
    for index in range(6):
        leptonic("ledger", "verify", f"nodes/client-{index}", cwd=tmp_path)
        exported = leptonic("ledger", "export", f"nodes/client-{index}", cwd=tmp_path).stdout
        charges = [entry for entry in json.loads(exported)["entries"] if entry["kind"] == "reserve"]
        # One for each session in which its update left: four rounds, and what a killed coordinator asked for again.
        assert 4 <= len(charges) <= 6
        assert {(each["mechanism"], each["unit"], each["adjacency"]) for each in charges} == {
            ("skellam", "client", "zero_out")
        }
        assert len({each["session"] for each in charges}) == len(charges)
        assert charges[0]["curve"] == plan.composition(1).renyi().to_json()
