"""The rows of an experiment: all of them for a simulation and its server, one's own for a deployed client."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leptonic import randomness
from leptonic.data import catalogue
from leptonic.data.examples import Examples
from leptonic.data.partition import partition
from leptonic.data.sources import read_local
from leptonic.errors import ExperimentError
from leptonic.experiment import CatalogueData, Data, Experiment, Iid, OwnData, Sampled

__all__ = [
    "array_names",
    "client_examples",
    "client_rows",
    "client_sizes",
    "local_examples",
    "test_examples",
    "training_examples",
]


def training_examples(experiment: Experiment) -> Examples:
    """All training rows of a simulation, unscaled; with ``data.train_examples`` a seeded choice, in order.

    Raises DataError where the data is absent or breaks its contract, ExperimentError where none is named.
    """
    data = experiment.data
    if isinstance(data, OwnData):
        if data.path is None:
            raise ExperimentError("data.path: a simulation of your own data needs the path of its training rows")
        return local_examples(experiment, Path(data.path))
    examples = catalogue.load(data.name, "train")
    wanted = catalogue.spec_of(data).train_examples
    if wanted is None or wanted == len(examples):
        return examples
    chosen = randomness.generator(experiment.seed, "subset").choice(len(examples), wanted, replace=False)
    return examples.take(np.sort(chosen))


def test_examples(experiment: Experiment) -> Examples | None:
    """The server's test rows, unscaled; None where the experiment has none (own data without a test_path)."""
    data = experiment.data
    if isinstance(data, OwnData):
        return None if data.test_path is None else local_examples(experiment, Path(data.test_path))
    return catalogue.load(data.name, "test")


def client_rows(experiment: Experiment, examples: Examples) -> Sequence[NDArray[np.intp]]:
    """Which rows of the training examples each simulated client holds, ascending. Raises DataError."""
    federation = experiment.federation
    return partition(
        federation.partition,
        examples.labels,
        examples.clients,
        count=federation.clients,
        seed=experiment.seed,
    )


def client_sizes(experiment: Experiment) -> list[int]:
    """The number of rows of each simulated client; read from the data only where the partition depends on them.

    Errors as training_examples.
    """
    federation = experiment.federation
    total = catalogue.spec_of(experiment.data).train_examples
    if isinstance(federation.partition, Sampled):
        return [federation.partition.examples] * federation.clients
    if isinstance(federation.partition, Iid) and isinstance(experiment.data, CatalogueData) and total is not None:
        more = total % federation.clients
        return [total // federation.clients + (client < more) for client in range(federation.clients)]
    return [len(rows) for rows in client_rows(experiment, training_examples(experiment))]


def client_examples(experiment: Experiment) -> list[Examples]:
    """The training rows of each simulated client, by its index. Errors as training_examples."""
    examples = training_examples(experiment)
    return [examples.take(rows) for rows in client_rows(experiment, examples)]


def local_examples(experiment: Experiment, path: Path) -> Examples:
    """A data owner's rows at ``path``, read as the experiment says. Raises DataError as read_local."""
    target, client = array_names(experiment.data)
    client = client if isinstance(experiment.data, OwnData) else None
    return read_local(path, catalogue.spec_of(experiment.data), target=target, client=client)


def array_names(data: Data) -> tuple[str, str | None]:
    """What the arrays (or columns) of the class and of the natural client are called, if there is one."""
    if isinstance(data, OwnData):
        return data.target, data.client
    return "label", catalogue.entry(data.name).natural_client
