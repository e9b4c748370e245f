"""Finds or makes a run's folder and opens its store, fresh or to be resumed."""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path

from leptonic import __version__
from leptonic.errors import LeptonicError, RunError
from leptonic.experiment import Experiment
from leptonic_server.store import RunStore

__all__ = ["locked", "open_run"]


@contextmanager
def open_run(
    experiment: Experiment, *, layout: str, mode: str, folder: Path | None, resume: bool
) -> Iterator[RunStore]:
    """The store of a new run, or with ``resume`` of one that can continue; locked while open.

    layout: hash of the model's layout. mode: simulated or deployed. folder: of the run; default: a new one
    under outputs.directory, or with ``resume`` the newest there that runs the same experiment.
    Raises RunError when there is nothing to resume, when a new run would overwrite another, or when
    another process holds the run.
    """
    if resume:
        chosen = folder or _newest(experiment, mode)
        if not (chosen / "run.sqlite").exists():
            raise RunError(f"{chosen}: no run to resume here")
    else:
        chosen = folder or _fresh(experiment)
        if (chosen / "run.sqlite").exists():
            raise RunError(f"{chosen}: holds a run already; continue it with --resume, or choose another --run-dir")
        try:
            chosen.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{chosen}: cannot be a run's folder: {error.strerror}") from None
    with locked(chosen / "run.lock"):
        store = RunStore(chosen)
        try:
            if store.run is None:
                store.begin(secrets.token_hex(8), experiment, layout=layout, mode=mode, version=__version__)
            else:
                store.check(experiment, layout=layout, mode=mode)
            yield store
        finally:
            store.close()


def _fresh(experiment: Experiment) -> Path:
    stamp = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    base = Path(experiment.outputs.directory)
    names = (f"{experiment.name}-{stamp}{suffix}" for suffix in ("", *(f"-{n}" for n in range(2, 1000))))
    return next(base / name for name in names if not (base / name).exists())


def _newest(experiment: Experiment, mode: str) -> Path:
    base = Path(experiment.outputs.directory)
    folders = {path.parent: path.stat().st_mtime for path in sorted(base.glob("*/run.sqlite*"))}
    for folder in sorted(folders, key=folders.__getitem__, reverse=True):
        with suppress(LeptonicError), closing(RunStore(folder)) as store:
            if store.run is not None and store.mode == mode and store.experiment.hash == experiment.hash:
                return folder
    raise RunError(f"{base}: no {mode} run of this experiment to resume; name its folder with --run-dir")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file ``path`` of a folder. Raises RunError when another process does."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise RunError(f"{path.parent}: another process is working on this {path.stem}") from None
    try:
        yield
    finally:
        os.close(descriptor)
