"""A worker of the ray engine, which Ray makes on some machine of the cluster: answers requests of any client.

What crosses is bytes, text, numbers and numpy arrays, which Ray carries. Clients keep their state in the run's
folder, so a worker must see it where there is something to keep.
"""

import json
import platform
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leptonic import __version__
from leptonic.algorithms import algorithm_for
from leptonic.errors import ExperimentError, VersionMismatch
from leptonic.experiment import Experiment
from leptonic.experiment_file import from_mapping
from leptonic.wire import Reply, Request
from leptonic_simulations.clients import FederatedData, SimulatedClients
from leptonic_simulations.sums import summed

__all__ = ["MARK", "Answered", "ClusterWorker", "machine"]

MARK = "seen-from-the-cluster"
"""A file in the clients' folder with a random word in it: who reads that word sees the folder."""
BOOT = Path("/proc/sys/kernel/random/boot_id")

Answered = tuple[bytes, NDArray[np.uint8]]
"""A reply as JSON, and its payload."""


def machine() -> str:
    """A name of the present machine. Containers on one are the same, since what they share of its memory is."""
    return BOOT.read_text().strip() if BOOT.exists() else platform.node()


class ClusterWorker:
    """Trains for the whole run. Made empty, so that what is wrong is the error of :meth:`begin`."""

    def begin(
        self,
        experiment: str,
        home: tuple[str, str, str],
        version: str,
        features: NDArray[np.float32],
        labels: NDArray[np.int64],
        rows: NDArray[np.intp] | None,
        ends: NDArray[np.intp] | None,
    ) -> None:
        """Take what is needed once.

        experiment: as JSON, engine settings included. home: the clients' folder, the word in it, and the machine
        that holds it. rows, ends: as :meth:`FederatedData.packed_rows`. Raises ExperimentError if the clients
        keep something and this machine cannot see the folder, VersionMismatch for another version of this package.
        """
        if version != __version__:
            raise VersionMismatch(
                f"{platform.node()} has leptonic {__version__}, the run {version}: install the same version everywhere"
            )
        made = from_mapping(json.loads(experiment))
        with warnings.catch_warnings():
            # Ray's arrays cannot be written; batches are gathered from them, and nobody writes to examples.
            warnings.filterwarnings("ignore", "The given NumPy array is not writ", UserWarning)
            packed = None if rows is None or ends is None else (rows, ends)
            data = FederatedData.of_arrays(made, features, labels, packed)
        self._own: tempfile.TemporaryDirectory[str] | None = None
        self._clients = SimulatedClients(made, self._home(made, *home), data, alone=False)

    def work(self, content: NDArray[np.uint8], requests: Sequence[bytes], *, together: bool) -> list[Answered]:
        """Answer these requests, as JSON, all with the same content. together: the contributions as one sum."""
        answers = self._answers(content, requests)
        if together:
            answers = summed(self._clients.trainer.pipeline, answers)
        return [(reply.model_dump_json().encode(), np.frombuffer(answer, np.uint8)) for reply, answer in answers]

    def leave(self) -> None:
        """The run has ended."""
        self._clients.close()
        if self._own is not None:
            self._own.cleanup()

    def _answers(self, content: NDArray[np.uint8], requests: Sequence[bytes]) -> Iterator[tuple[Reply, bytes]]:
        for line in requests:
            yield self._clients.respond(Request.model_validate_json(line), content.data)

    def _home(self, made: Experiment, folder: str, word: str, where: str) -> Path:
        """The run's own folder; on another machine one of this worker's, with the states of the run's."""
        mark, state = Path(folder) / MARK, Path(folder) / "state"
        sees = mark.exists() and mark.read_text() == word
        if sees and machine() == where:
            return Path(folder)
        # Reservations stand in a database whose users share memory, so that no other machine may open it.
        if made.privacy is not None:
            raise ExperimentError(
                f"simulation.engine: under [privacy] all of ray's workers must be on the machine of the run's folder, "
                f"{folder}, and {platform.node()} is another; choose processes"
            )
        stateful = algorithm_for(made).stateful
        if stateful and not sees:
            raise ExperimentError(
                f"simulation.engine: {made.algorithm.name} keeps a state of each client in the run's folder, and "
                f"{platform.node()} cannot see {folder}; put it on a file system that all machines share (--run-dir)"
            )
        self._own = tempfile.TemporaryDirectory(prefix="leptonic-")
        own = Path(self._own.name)
        if stateful:
            state.mkdir(exist_ok=True)
            (own / "state").symlink_to(state)
        return own
