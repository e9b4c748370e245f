"""The sequential engine: one trainer for all, each client with rows and state of its own."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.simulations.small import experiment

from leptonic.data.experiment_data import client_examples, client_rows, training_examples
from leptonic.errors import RunError
from leptonic.experiment import Experiment
from leptonic.wire import Reply, Request, inline
from leptonic_client.data import local_data
from leptonic_client.home import ClientHome
from leptonic_client.participant import Participant, respond
from leptonic_client.training import LocalTrainer
from leptonic_simulations.clients import FederatedData, SimulatedClients
from leptonic_simulations.grid import InPlace
from leptonic_simulations.sequential import SequentialEngine


def request(made: Experiment, client: int, content: bytes, **changes: Any) -> Request:
    numbers = {"run": "0123456789abcdef", "experiment": made.hash, "round": 1, "step": "train", "attempt": 1}
    return Request.model_validate({**numbers, "client": client, "payload": inline(content), **changes})


def answer_to(clients: SimulatedClients, asked: Request, content: bytes) -> tuple[Reply, bytes]:
    (only,) = SequentialEngine(clients).answers([asked], content)
    return only


CONTENT = np.random.default_rng(0).normal(0, 0.05, 650).astype(np.float32).tobytes()


@pytest.mark.parametrize("partition", [{"scheme": "iid"}, {"scheme": "dirichlet", "alpha": 0.5}])
def test_a_simulated_client_answers_as_a_deployed_one(tmp_path: Path, partition: dict[str, Any]) -> None:
    """The same bytes as a participant that holds only its own exported examples."""
    made = experiment(federation={"clients": 3, "partition": partition}, evaluation={"on": ["clients"], "holdout": 0.2})
    clients = SimulatedClients(made, tmp_path / "simulated", FederatedData.of(made))
    alone = client_examples(made)
    for client in (2, 0, 1):
        home = ClientHome(tmp_path / f"client-{client}")
        deployed = Participant(LocalTrainer(made), local_data(made, client, alone[client]), client, home)
        for step in ("train", "evaluate"):
            asked = request(made, client, CONTENT, step=step)
            _, expected = respond(deployed, asked, CONTENT)
            reply, answer = answer_to(clients, asked, CONTENT)
            assert reply.status == "done"
            assert answer == expected
        home.close()
    clients.close()


def test_a_client_encodes_where_it_is_told_to(tmp_path: Path) -> None:
    made = experiment(evaluation={"on": ["clients"], "holdout": 0.2})
    clients = SimulatedClients(made, tmp_path, FederatedData.of(made))
    asked = request(made, 1, CONTENT)
    _, expected = answer_to(clients, asked, CONTENT)
    engine, room = SequentialEngine(clients), memoryview(bytearray(b"x" * len(expected)))
    assert isinstance(engine, InPlace)
    engine.room = lambda: room
    ((reply, answer),) = engine.answers([asked], CONTENT)
    assert reply.status == "done"
    assert answer is room
    assert bytes(room) == expected
    for other in (request(made, 1, CONTENT, step="evaluate"), request(made, 1, b"short")):
        ((_, answer),) = engine.answers([other], CONTENT if other.step == "evaluate" else b"short")
        assert answer is not room
        assert bytes(room) == expected
    clients.close()


def test_clients_divide_the_examples_between_them(tmp_path: Path) -> None:
    made = experiment()
    clients = SimulatedClients(made, tmp_path, FederatedData.of(made))
    rows = client_rows(made, training_examples(made))
    assert clients.data.label_counts(10).sum(axis=1).tolist() == [len(part) for part in rows]
    assert sorted(np.concatenate(rows).tolist()) == list(range(1437))
    clients.close()


def test_clients_keep_states_of_their_own(tmp_path: Path) -> None:
    made = experiment(algorithm={"name": "scaffold"})
    clients = SimulatedClients(made, tmp_path, FederatedData.of(made))
    content = CONTENT + bytes(len(CONTENT))
    for client in (0, 2):
        assert answer_to(clients, request(made, client, content), content)[0].status == "done"
    home = clients.client(0).home
    kept = [home.load_state("0123456789abcdef", client, 1) for client in (0, 2)]
    assert not np.array_equal(kept[0]["control"], kept[1]["control"])
    with pytest.raises(RunError, match="no state of client 1"):
        home.load_state("0123456789abcdef", 1, 1)
    clients.close()


def test_a_request_that_is_wrong_is_answered_not_raised(tmp_path: Path) -> None:
    made = experiment()
    clients = SimulatedClients(made, tmp_path, FederatedData.of(made))
    reply, answer = answer_to(clients, request(made, 0, b"short"), b"short")
    assert (reply.status, answer) == ("refused", b"")
    clients.close()
