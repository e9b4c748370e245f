"""A worker as Ray makes it, here without Ray: what it needs of its machine, and where clients keep their state."""

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.simulations.asking import answered, clients_of_sizes, content_for, requests_for, without_time
from tests.simulations.small import PRIVACY, experiment

from leptonic import __version__
from leptonic.errors import ExperimentError, VersionMismatch
from leptonic.wire import Reply
from leptonic_simulations.clients import SimulatedClients
from leptonic_simulations.cluster.worker import MARK, ClusterWorker, machine
from leptonic_simulations.sequential import SequentialEngine

SIZES = (40, 7, 33)
WORD = "a random word"


@contextmanager
def begun(
    folder: Path, *, word: str = WORD, where: str | None = None, version: str = __version__, **sections: Any
) -> Iterator[tuple[SimulatedClients, ClusterWorker]]:
    """A worker, and the clients of the run it works for. word: as it stands in the folder that the worker sees."""
    made = experiment(**sections)
    with closing(clients_of_sizes(made, folder, SIZES)) as clients:
        (folder / MARK).write_text(word)
        packed = clients.data.packed_rows()
        assert packed is not None
        arrays = [clients.data.features.numpy(), clients.data.labels.numpy(), *packed]
        read_only = [np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape) for array in arrays]
        worker = ClusterWorker()
        home = (str(folder), WORD, where or machine())
        worker.begin(json.dumps(made.model_dump(mode="json")), home, version, *read_only)
        yield clients, worker
        worker.leave()


def worked(clients: SimulatedClients, worker: ClusterWorker, content: bytes) -> dict[int, tuple[Reply, bytes]]:
    lines = [request.model_dump_json().encode() for request in requests_for(clients.experiment, range(3), content)]
    done = worker.work(np.frombuffer(content, np.uint8), lines, together=False)
    replies = [(Reply.model_validate_json(reply), answer.tobytes()) for reply, answer in done]
    return {reply.client: (reply, answer) for reply, answer in replies}


SEEN: dict[str, dict[str, Any]] = {
    "in the run's folder": {},
    "on another machine that sees it": {"where": "elsewhere"},
    "on another machine with a folder of the same name": {"word": "another word", "where": "elsewhere"},
}


@pytest.mark.parametrize("place", SEEN)
def test_answers_are_those_of_the_sequential_engine(tmp_path: Path, place: str) -> None:
    with begun(tmp_path, **SEEN[place]) as (clients, worker):
        content = content_for(clients)
        expected = answered(SequentialEngine(clients), requests_for(clients.experiment, range(3), content), content)
        assert without_time(worked(clients, worker, content)) == without_time(expected)


@pytest.mark.parametrize("where", [None, "elsewhere"])
def test_states_lie_in_the_runs_folder(tmp_path: Path, where: str | None) -> None:
    """Whoever trains the client next finds what it kept."""
    with begun(tmp_path, where=where, algorithm={"name": "scaffold"}) as (clients, worker):
        content = content_for(clients)
        worked(clients, worker, content)
        counted = dict.fromkeys(range(3), 1)
        asked = requests_for(clients.experiment, range(3), content, counted=counted, round=2)
        found = answered(SequentialEngine(clients), asked, content)
        assert {reply.status for reply, _ in found.values()} == {"done"}


def test_a_worker_without_the_runs_folder_keeps_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(ExperimentError, match=r"scaffold keeps a state.*cannot see"),
        begun(tmp_path, word="another word", algorithm={"name": "scaffold"}),
    ):
        pass


@pytest.mark.parametrize("place", [place for place, how in SEEN.items() if how])
def test_privacy_stays_on_the_runs_machine(tmp_path: Path, place: str) -> None:
    with pytest.raises(ExperimentError, match=r"\[privacy\]"), begun(tmp_path, **SEEN[place], privacy=PRIVACY):
        pass


def test_every_machine_has_the_same_version(tmp_path: Path) -> None:
    with pytest.raises(VersionMismatch, match="install the same version"), begun(tmp_path, version="0.0.1"):
        pass
