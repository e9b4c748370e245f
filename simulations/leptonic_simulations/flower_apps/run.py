"""One run of an unmodified Flower app: its ServerApp over the in-process grid, its ClientApp behind it."""

import json
import random
from bdb import BdbQuit
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import numpy as np
from flwr.app import Context, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

from leptonic.errors import LeptonicError, RunError
from leptonic_simulations.flower_apps.clients import InTurn
from leptonic_simulations.flower_apps.grid import SERVER_NODE, FlowerGrid
from leptonic_simulations.flower_apps.loading import load, on_the_path
from leptonic_simulations.flower_apps.progress import AppProgress
from leptonic_simulations.flower_apps.project import Project
from leptonic_simulations.flower_apps.run_config import RunConfig, overridden

__all__ = ["Summary", "simulate_app"]

_CLIENTS = 10


@dataclass(frozen=True)
class Summary:
    """What a run did. messages: answered by clients, errors among them. seconds: of the whole run."""

    server_app: str
    client_app: str
    clients: int
    messages: int
    errors: int
    seconds: float

    def __str__(self) -> str:
        rate = self.messages / max(self.seconds, 1e-9)
        return (
            f"{self.messages} messages to {self.clients} clients in {self.seconds:.1f} s ({rate:.1f} per second); "
            f"errors: {self.errors}"
        )

    def to_json(self) -> str:
        """One JSON object."""
        return json.dumps(asdict(self))


def simulate_app(
    project: Project,
    *,
    progress: AppProgress,
    clients: int | None = None,
    run_config: RunConfig | None = None,
    seed: int = 0,
    debug: bool = False,
) -> Summary:
    """Run the app. clients: as the project states, or else ten.

    seed: of Python's and numpy's global generators, from which Flower samples nodes; as before after the run.
    debug: the first error of a client or of the ServerApp is raised as it is. Otherwise a client's error is answered
    to the ServerApp, and its own becomes a RunError. Raises ExperimentError if the apps cannot be had.
    """
    config = _configured(project, run_config or {})
    count = clients or project.clients or _CLIENTS
    with on_the_path(project.folder), _seeded(seed), progress.running():
        server, client = (
            load(project.server, ServerApp, project.folder),
            load(project.client, ClientApp, project.folder),
        )
        engine = InTurn(client, count=count, run_config=config)
        grid = FlowerGrid(engine, progress, stop_at_error=debug)
        context = Context(grid.run.run_id, SERVER_NODE, {}, RecordDict(), dict(config))
        try:
            server(grid, context)
            grid.work()
        except (LeptonicError, BdbQuit):
            raise
        except Exception as error:
            if grid.stopped is not None:
                # Also where the ServerApp took it for a failed client, and stumbled over that later.
                raise grid.stopped from None
            if debug:
                raise
            progress.server_failed(error)
            raise RunError(f"the ServerApp {project.server} raised {type(error).__name__}: {error}") from error
        if grid.stopped is not None:
            raise grid.stopped
        return Summary(
            project.server, project.client, count, progress.messages, progress.errors, round(progress.seconds, 3)
        )


def _configured(project: Project, overrides: RunConfig) -> RunConfig:
    if project.config is None:
        return overrides
    return overridden(project.config, overrides, where=str(project.folder / "pyproject.toml"))


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    before, numpy_before = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)
        np.random.set_state(numpy_before)
