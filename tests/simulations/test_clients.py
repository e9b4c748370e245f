"""Clients of a simulation are made when they are asked, kept a while, and fail by themselves."""

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from tests.simulations.asking import clients_of_sizes, content_for, requests_for
from tests.simulations.small import experiment

from leptonic.errors import DataError, RunError
from leptonic_simulations.clients import KEPT, FederatedData, SimulatedClients

MILLION = {
    "clients": 1_000_000,
    "cohort": 5,
    "partition": {"scheme": "sampled", "examples": 20},
}


def test_clients_are_made_when_asked_and_only_the_latest_are_kept(tmp_path: Path) -> None:
    made = experiment(federation=MILLION)
    with closing(SimulatedClients(made, tmp_path, FederatedData.of(made))) as clients:
        first = {index: clients.client(index) for index in range(0, 1_000_000, 700)}
        assert all(len(client.data) == 20 for client in first.values())
        assert sum(clients.client(index) is client for index, client in reversed(first.items())) == KEPT
        assert clients.data.label_counts(10).sum(axis=1).tolist() == [20] * 1000


def test_a_client_that_was_forgotten_is_the_same_when_it_is_made_again(tmp_path: Path) -> None:
    made = experiment(federation=MILLION)
    with closing(SimulatedClients(made, tmp_path, FederatedData.of(made))) as clients:
        content = content_for(clients)
        (asked,) = requests_for(made, [123_456], content)
        _, first = clients.respond(asked, content)
        clients.expect(range(KEPT))
        _, again = clients.respond(asked, content)
        assert first == again != b""


@pytest.mark.parametrize("alpha", [None, 0.3])
def test_clients_that_were_expected_are_as_those_that_were_not(tmp_path: Path, alpha: float | None) -> None:
    made = experiment(federation=MILLION | {"partition": {"scheme": "sampled", "examples": 20, "alpha": alpha}})
    with closing(SimulatedClients(made, tmp_path, FederatedData.of(made))) as clients:
        known = clients.client(5)
        clients.expect([5, 999_999, 7])
        assert clients.client(5) is known
        for index in (999_999, 7, 8):
            assert clients.client(index).data.rows.tolist() == clients.data.rows[index].tolist()


def test_a_client_that_cannot_be_made_is_named_when_it_is_asked(tmp_path: Path) -> None:
    sampled = {"scheme": "sampled", "examples": 1}
    made = experiment(
        evaluation={"on": ["clients"], "holdout": 0.6}, federation={"clients": 20, "cohort": 2, "partition": sampled}
    )
    with closing(SimulatedClients(made, tmp_path, FederatedData.of(made))) as clients:
        clients.expect([3])
        with pytest.raises(DataError, match=r"client 3 .*holdout"):
            clients.client(3)


def test_a_client_that_cannot_be_made_answers_that_it_failed(tmp_path: Path) -> None:
    made = experiment(evaluation={"on": ["clients"], "holdout": 0.6}, federation={"clients": 2})
    with closing(clients_of_sizes(made, tmp_path, (1, 30))) as clients:
        content = content_for(clients)
        found = [clients.respond(asked, content)[0] for asked in requests_for(made, [0, 1], content)]
        assert [reply.status for reply in found] == ["failed", "done"]
        assert "holdout" in found[0].detail


def test_the_home_belongs_to_one_run_but_its_workers_share_it(tmp_path: Path) -> None:
    made = experiment()
    data = FederatedData.of(made)
    with closing(SimulatedClients(made, tmp_path, data)):
        with pytest.raises(RunError, match="another process"):
            SimulatedClients(made, tmp_path, data)
        SimulatedClients(made, tmp_path, data, alone=False).close()
    SimulatedClients(made, tmp_path, data).close()


def test_the_data_are_shared_and_not_copied(tmp_path: Path) -> None:
    made = experiment()
    with closing(SimulatedClients(made, tmp_path, FederatedData.of(made))) as clients:
        held = [clients.client(index).data for index in range(3)]
        assert all(each.features is clients.data.features for each in held)
        assert sorted(np.concatenate([each.rows.numpy() for each in held]).tolist()) == list(range(1437))


@pytest.mark.parametrize(
    ("training", "visits"),
    [
        ({"local_epochs": 3, "batch_size": 16}, [3 * 40, 3 * 7]),
        ({"local_steps": 5, "batch_size": 16}, [5 * 16, 5 * 7]),
    ],
)
def test_work_is_measured_in_examples_that_are_visited(
    tmp_path: Path, training: dict[str, int], visits: list[int]
) -> None:
    made = experiment(federation={"clients": 2}, training={"rounds": 1, **training})
    with closing(clients_of_sizes(made, tmp_path, [40, 7])) as clients:
        asked = requests_for(made, range(2), content_for(clients))
        assert [clients.work(request) for request in asked] == visits
