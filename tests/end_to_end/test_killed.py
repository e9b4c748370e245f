"""Killed at any instant and started again, a run ends with the same model as one that was never killed."""

import os
import re
import signal
from pathlib import Path

import pytest
from tests.end_to_end.federation import Federation, Running, federation, last_json, leptonic, wait_for

EXPERIMENT = """
seed = 5
data = { name = "digits" }
model = { name = "mlp", hidden = [64] }
algorithm = { name = "scaffold" }
server_optimizer = { name = "sgd" }
federation = { clients = 3 }
[training]
rounds = 5
local_epochs = 12
learning_rate = 0.03
momentum = 0.9
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The model of a simulation that nobody killed."""
    with federation(tmp_path_factory.mktemp("unbroken"), EXPERIMENT) as made:
        return str(made.simulate()["model_sha256"])


def in_the_middle_of_round(made: Federation, server: Running, number: int) -> None:
    """Wait until a client has trained round ``number`` while the server has not committed it."""
    wait_for(
        lambda: (
            re.search(rf"round {number}: train done", (made.folder / "client-0.err").read_text())
            or f"round {number}/" in server.stderr.read_text()
        ),
        seconds=150,
        what=f"round {number}",
    )


def test_server_and_link_killed_in_a_round(tmp_path: Path, unbroken: str) -> None:
    with federation(tmp_path, EXPERIMENT) as made:
        made.export()
        server = made.server()
        clients = [made.client(index) for index in range(3)]
        in_the_middle_of_round(made, server, 2)
        server.kill()
        resumed = made.server("--resume")
        deployed = last_json(resumed.finish())
        for client in clients:
            client.finish(seconds=120)
    assert deployed["model_sha256"] == unbroken


def test_all_processes_killed_in_a_round(tmp_path: Path, unbroken: str) -> None:
    with federation(tmp_path, EXPERIMENT) as made:
        made.export()
        server = made.server()
        clients = [made.client(index) for index in range(3)]
        in_the_middle_of_round(made, server, 2)
        for running in (server, *clients):
            running.kill()
        resumed = made.server("--resume")
        again = [made.client(index) for index in range(3)]
        deployed = last_json(resumed.finish())
        for client in again:
            client.finish(seconds=120)
    assert deployed["model_sha256"] == unbroken


def test_client_killed_in_a_round_comes_back(tmp_path: Path, unbroken: str) -> None:
    with federation(tmp_path, EXPERIMENT) as made:
        made.export()
        server = made.server("--set", "federation.minimum=3")
        clients = [made.client(index) for index in range(3)]
        in_the_middle_of_round(made, server, 1)
        clients[1].kill()
        clients[1] = made.client(1)
        deployed = last_json(server.finish())
    assert deployed["model_sha256"] == unbroken


def test_link_killed_in_a_round_is_started_again(tmp_path: Path, unbroken: str) -> None:
    with federation(tmp_path, EXPERIMENT) as made:
        made.export()
        server = made.server("--set", "federation.minimum=3")
        for index in range(3):
            made.client(index)
        in_the_middle_of_round(made, server, 2)
        children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
        assert len(children) == 1
        os.kill(int(children[0]), signal.SIGKILL)
        deployed = last_json(server.finish())
    assert deployed["model_sha256"] == unbroken


def test_simulation_interrupted_by_ctrl_c_is_resumed(tmp_path: Path) -> None:
    with federation(tmp_path, EXPERIMENT) as made:
        long = (made.experiment, "--set", "training.rounds=15")  # it must not end before it is interrupted
        running = made.start("simulate", "simulate", *long, "--run-dir", tmp_path / "broken", "--json")
        wait_for(lambda: "round 2/" in running.stderr.read_text(), seconds=150, what="round 2")
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(timeout=120) == 130
        assert "--resume" in running.stderr.read_text()
        again = ("simulate", *long, "--run-dir", tmp_path / "broken", "--resume", "--json")
        resumed = last_json(leptonic(*again, cwd=tmp_path).stdout)
        whole = made.simulate("--set", "training.rounds=15")
    assert resumed["model_sha256"] == whole["model_sha256"]
    lines = (tmp_path / "broken" / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 16
