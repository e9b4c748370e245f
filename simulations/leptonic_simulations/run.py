"""One simulation from the experiment to its result: the coordinator over the in-process grid."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from leptonic.experiment import Experiment
from leptonic_server.coordinator import Coordinator
from leptonic_server.evaluation import Evaluator
from leptonic_server.outputs import Outputs, Result
from leptonic_server.progress import RunListener
from leptonic_server.run_folder import open_run
from leptonic_server.store import RunStore
from leptonic_simulations.clients import FederatedData, SimulatedClients
from leptonic_simulations.engines import engine_for
from leptonic_simulations.grid import Engine, InProcessGrid

__all__ = ["simulate"]


class Everyone(Mapping[int, int]):
    """The members of a simulation, client -> node: all of them reachable, nobody needs to sign.

    Nothing is stored, so that a million of them cost nothing.
    """

    def __init__(self, nodes: Sequence[int]) -> None:
        self._nodes = nodes

    def __getitem__(self, client: int) -> int:
        if 0 <= client < len(self._nodes):
            return self._nodes[client]
        raise KeyError(client)

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self._nodes)))

    def __len__(self) -> int:
        return len(self._nodes)

    def online(self) -> Mapping[int, int]:
        """Every client."""
        return self

    def key(self, client: int) -> None:
        """No key: the reply never left this process."""
        return

    def name(self, client: int) -> str:
        """Clients are called by their index."""
        return f"client-{client}"


def simulate(
    experiment: Experiment, *, folder: Path | None = None, resume: bool = False, quiet: bool = False
) -> Result:
    """Run, or with ``resume`` continue, a simulation. See :func:`leptonic_server.run_folder.open_run`."""
    evaluator = Evaluator(experiment)
    with open_run(experiment, layout=evaluator.layout.hash, mode="simulated", folder=folder, resume=resume) as store:
        clients = SimulatedClients(experiment, store.folder / "clients", FederatedData.of(experiment))
        outputs = Outputs(experiment, store)
        rounds, done = experiment.training.rounds, store.last_round() or 0
        with (
            closing(clients),
            RunListener(outputs, rounds=rounds, done=done, quiet=quiet) as listener,
            closing(_engine(clients, store, listener)) as engine,
        ):
            grid = InProcessGrid(engine, experiment.federation.clients)
            Coordinator(
                experiment,
                store=store,
                grid=grid,
                members=Everyone(grid.get_node_ids()),
                evaluator=evaluator,
                listener=listener,
                deadline=math.inf,
            ).run()
            counts = clients.data.label_counts(clients.trainer.spec.classes)
        return outputs.finish(evaluator, label_counts=counts)


def _engine(clients: SimulatedClients, store: RunStore, listener: RunListener) -> Engine:
    """The run's engine; one that was chosen by its speed is kept when the run is resumed."""

    def keep(name: str, why: str) -> None:
        store.keep("engine", name)
        store.keep("engine's reason", why)

    return engine_for(clients, chosen=store.note("engine"), keep=keep, say=listener.say)
