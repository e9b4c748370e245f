"""Secure aggregation between real processes: clients that are killed in a session, a coordinator that is killed."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from tests.end_to_end.federation import Federation, Running, federation, last_json, leptonic, wait_for

from leptonic.experiment_file import load
from leptonic.integers import from_fixed
from leptonic.wire import Request, inline
from leptonic_server.evaluation import Evaluator
from leptonic_server.optimizers import optimizer_for
from leptonic_server.state import RoundState
from leptonic_server.store import RunStore
from leptonic_simulations.clients import FederatedData, SimulatedClients

CLIENTS = 6
SLOW = """
seed = 2
data = { name = "digits" }
model = { name = "mlp", hidden = [64] }
secure_aggregation = { colluders = 1 }
[federation]
clients = 6
deadline = 18
[federation.partition]
scheme = "quantity"
alpha = 2.0
[training]
rounds = 2
local_epochs = 40
batch_size = 8
learning_rate = 0.01
"""
QUICK = SLOW.replace("local_epochs = 40", "local_epochs = 1").replace("rounds = 2", "rounds = 4")


def nodes(made: Federation, count: int = CLIENTS) -> list[tuple[str, ...]]:
    """Keys, node files and a signed roster; returns the arguments that start each node."""
    folder = made.folder
    authority = leptonic("roster", "authority", cwd=folder).stdout.strip()
    coordinator = leptonic("server", made.experiment, "--show-key", cwd=folder).stdout.strip()
    lines = ["[clients]"]
    for index in range(count):
        (folder / f"node-{index}.toml").write_text(
            f'server = "{made.address}"\nname = "client-{index}"\ndata = "exports/client-{index}.npz"\n'
            f'insecure = true\n[secure]\nfederation = "wards"\nauthority = "{authority}"\ncolluders = 1\n'
        )
        key = leptonic("client", f"node-{index}.toml", "--show-key", cwd=folder).stdout.strip()
        lines.append(f'client-{index} = "{key}"')
    (folder / "clients.toml").write_text("\n".join(lines) + "\n")
    named = ("--federation", "wards", "--coordinator", coordinator)
    leptonic("roster", "sign", "clients.toml", *named, cwd=folder)
    return [("client", f"node-{index}.toml", "--once") for index in range(count)]


def said(running: Running, words: str) -> bool:
    return words in running.stderr.read_text()


def clear_text_model(path: Path, survivors: list[list[int]], folder: Path) -> str:
    """The model that these survivors' updates give when they are added in the clear, one after another."""
    experiment = load(path)
    clients, evaluator = SimulatedClients(experiment, folder, FederatedData.of(experiment)), Evaluator(experiment)
    trainer = clients.trainer
    optimizer = optimizer_for(experiment.server_optimizer)
    state = RoundState.first(evaluator.initial(), trainer.algorithm, optimizer)
    for number, cohort in enumerate(survivors, start=1):
        content, total = state.broadcast(trainer.algorithm), trainer.pipeline.zero()
        for client in cohort:
            request = Request(
                run="clear", experiment=experiment.hash, round=number, step="train", attempt=1, client=client,
                payload=inline(content), counted=number - 1,
            )  # fmt: skip
            _, answer = clients.respond(request, content)
            total.add(trainer.pipeline.from_bytes(answer))
        assert from_fixed(total.scalars)[0] == len(cohort)
        mean = trainer.pipeline.decode(total)
        state = state.step(mean, trainer.algorithm, optimizer, clients=CLIENTS)
    clients.close()
    return hashlib.sha256(evaluator.model_file(state.model)).hexdigest()


@pytest.mark.slow
def test_the_sum_of_the_survivors_is_opened_when_clients_are_killed_in_a_session(tmp_path: Path) -> None:
    """One is killed after it has shared its secrets, one after its masked update has left."""
    with federation(tmp_path, SLOW) as made:
        made.export()
        sizes = [len(np.load(tmp_path / f"exports/client-{index}.npz")["label"]) for index in range(CLIENTS)]
        after_sharing, after_masking = int(np.argmax(sizes)), int(np.argmin(sizes))
        arguments = nodes(made)
        server = made.server("--roster", "federation.roster")
        clients = [made.start(f"client-{index}", *start) for index, start in enumerate(arguments)]
        wait_for(lambda: said(clients[after_sharing], "round 1: shares its secrets"), seconds=150, what="shares")
        clients[after_sharing].kill()
        wait_for(lambda: said(clients[after_masking], "round 1: its update has left"), seconds=150, what="an update")
        clients[after_masking].kill()
        deployed = last_json(server.finish())
    store = RunStore(tmp_path / "deployed")
    counted = [
        sorted(record.client for number, _, record in store.clients() if number == which and record.status == "counted")
        for which in (1, 2)
    ]
    store.close()
    alive = set(range(CLIENTS)) - {after_sharing, after_masking}
    assert set(counted[0]) == alive | {after_masking}
    assert set(counted[1]) == alive
    assert deployed["model_sha256"] == clear_text_model(made.experiment, counted, tmp_path / "clear")
    (alive_one, *_) = alive
    for index, rounds in ((alive_one, 2), (after_masking, 1), (after_sharing, 0)):
        verified = leptonic(
            "verify", "deployed", "--as", f"client-{index}", "--node", f"nodes/client-{index}", cwd=tmp_path
        ).stdout
        assert f"client-{index} in {rounds or 'none'} of 2 rounds" in verified
        shown = {2: 2, 1: 0, 0: 0}[rounds]
        assert f"the records of {shown} rounds to its node, all as they are here" in verified


@pytest.mark.slow
def test_a_killed_coordinator_goes_on_with_the_same_sums(tmp_path: Path) -> None:
    with federation(tmp_path, QUICK) as made:
        made.export()
        arguments = nodes(made)
        first = made.server("--roster", "federation.roster")
        clients = [made.start(f"client-{index}", *start) for index, start in enumerate(arguments)]
        wait_for(lambda: said(clients[0], "round 2: train done"), seconds=150, what="round 2")
        first.kill()
        server = made.server("--roster", "federation.roster", "--resume")
        deployed = last_json(server.finish())
        for client in clients:
            client.finish(seconds=120)
        simulated = made.simulate("--set", "simulation.secure_aggregation=ideal")
    assert deployed["model_sha256"] == simulated["model_sha256"]


@pytest.mark.slow
def test_a_node_joins_no_run_that_its_owner_does_not_allow(tmp_path: Path) -> None:
    """Another authority, and a run without secure aggregation: refused with the reason, on both sides."""
    with federation(tmp_path, QUICK) as made:
        made.export()
        arguments = nodes(made)
        pinned = tmp_path / "node-0.toml"
        lines = pinned.read_text().splitlines()
        other = [f'authority = "{"ab" * 32}"' if line.startswith("authority") else line for line in lines]
        pinned.write_text("\n".join(other) + "\n")
        server = made.server("--roster", "federation.roster")
        client = made.start("client-0", *arguments[0])
        wait_for(lambda: said(client, "another authority"), seconds=150, what="the refusal")
        wait_for(lambda: said(server, "client-0 does not join: BadSignature"), seconds=120, what="the server's word")
    kept = leptonic("client", "node-0.toml", "--show-refusals", cwd=tmp_path).stdout
    assert "join: BadSignature: the roster is signed by another authority" in kept.replace(", 2 times", "")
    store = RunStore(tmp_path / "deployed", read_only=True)
    assert [(name, reason.partition(":")[0]) for name, reason in store.refusals()] == [("client-0", "BadSignature")]
    store.close()
