"""Writes a simulated client's rows to a file that a deployed client reads.

So the experiment that was simulated can be run between machines on exactly the same rows: the arrays that
the deployed client reads are bit for bit those of the simulation's client.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leptonic.data.catalogue import spec_of
from leptonic.data.examples import Examples
from leptonic.data.experiment_data import array_names, client_rows, training_examples
from leptonic.errors import DataError, ExperimentError
from leptonic.experiment import Experiment
from leptonic.files import write_atomic

__all__ = ["export", "export_clients"]

CONTRACT_VERSION = 1
NO_DATE = (1980, 1, 1, 0, 0, 0)  # the zip format's earliest: same rows, same bytes


def export(experiment: Experiment, client: int, out: Path) -> Path:
    """Write ``client-K.npz`` and its contract ``client-K.json`` into the folder ``out``; returns the npz.

    The npz holds ``features`` as they were read, the class, and the natural client where the data has one;
    the class array has the name that ``data.target`` gives it (``label`` for a catalogue data set).
    Raises ExperimentError for a client that the federation does not have, DataError as client_examples.
    """
    return export_clients(experiment, [client], out)[0]


def export_clients(experiment: Experiment, clients: Sequence[int], out: Path) -> list[Path]:
    """:func:`export` for several clients; the data is read and divided once."""
    count = experiment.federation.clients
    for client in clients:
        if not 0 <= client < count:
            raise ExperimentError(f"no client {client}: federation.clients = {count}, so clients are 0 to {count - 1}")
    examples = training_examples(experiment)
    parts = client_rows(experiment, examples)
    return [_write(experiment, client, examples.take(parts[client]), out) for client in clients]


def _write(experiment: Experiment, client: int, examples: Examples, out: Path) -> Path:
    target, key = array_names(experiment.data)
    arrays: dict[str, NDArray[Any]] = {"features": examples.features, target: examples.labels}
    if key is not None and examples.clients is not None:
        arrays[key] = examples.clients
    content = _npz(arrays)
    path = out / f"client-{client}.npz"
    contract = _contract(experiment, client, examples)
    contract |= {"file": path.name, "arrays": list(arrays), "sha256": hashlib.sha256(content).hexdigest()}
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_atomic(path, content, private=True)
        write_atomic(path.with_suffix(".json"), (json.dumps(contract, indent=2) + "\n").encode(), private=True)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror}") from None
    return path


def _contract(experiment: Experiment, client: int, examples: Examples) -> dict[str, Any]:
    """What the file holds; with the label counts, so it stays with the rows and is as private as they are."""
    spec = spec_of(experiment.data)
    return {
        "version": CONTRACT_VERSION,
        "experiment": experiment.name,
        "experiment_sha256": experiment.hash,
        "data": experiment.data.name,
        "client": client,
        "clients": experiment.federation.clients,
        "rows": len(examples),
        "label_counts": np.bincount(examples.labels, minlength=spec.classes).tolist(),
        "spec": {
            "shape": list(spec.shape),
            "dtype": str(examples.features.dtype),
            "classes": spec.classes,
            "class_names": list(spec.class_names),
            "mean": list(spec.mean),
            "std": list(spec.std),
        },
    }


def _npz(arrays: dict[str, NDArray[Any]]) -> bytes:
    """An npz file as numpy.savez writes it, but for the time stamps."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy", NO_DATE), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)
    return content.getvalue()
