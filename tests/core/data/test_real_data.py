"""Facts that the data sets' own publications state, checked on the real files."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from leptonic.data import catalogue, fetch
from leptonic.data.adult import NUMBERS
from leptonic.data.experiment_data import client_examples, local_examples
from leptonic.data.export import export
from leptonic.experiment_file import from_mapping

pytestmark = pytest.mark.real_data


@pytest.mark.parametrize("name", catalogue.names())
def test_fetched_files_are_as_published(fetched: Callable[[str], Path], name: str) -> None:
    assert fetched(name) == fetch.verify(name)


@pytest.mark.parametrize("name", ["fashion-mnist", "mnist"])
def test_pixel_constants(fetched: Callable[[str], Path], name: str) -> None:
    fetched(name)
    train, spec = catalogue.load(name, "train"), catalogue.entry(name).spec
    values = np.bincount(train.features.reshape(-1), minlength=256)
    levels = np.arange(256) / 255.0
    mean = (values * levels).sum() / values.sum()
    std = np.sqrt((values * (levels - mean) ** 2).sum() / values.sum())
    assert (round(mean, 4), round(std, 4)) == (spec.mean[0], spec.std[0])


def test_fashion_mnist_has_six_thousand_of_each_class(fetched: Callable[[str], Path]) -> None:
    fetched("fashion-mnist")
    assert np.bincount(catalogue.load("fashion-mnist", "train").labels).tolist() == [6000] * 10
    assert np.bincount(catalogue.load("fashion-mnist", "test").labels).tolist() == [1000] * 10


def test_mnist_class_counts(fetched: Callable[[str], Path]) -> None:
    fetched("mnist")
    train = np.bincount(catalogue.load("mnist", "train").labels).tolist()
    assert train == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


def test_adult_is_as_its_description_says(fetched: Callable[[str], Path]) -> None:
    fetched("adult")
    train, test = catalogue.load("adult", "train"), catalogue.load("adult", "test")
    assert [(len(part), int(part.labels.sum())) for part in (train, test)] == [(32561, 7841), (16281, 3846)]
    assert train.clients is not None
    assert len(np.unique(train.clients)) == 15
    numbers = train.features[:, : len(NUMBERS)].astype(np.float64)
    scaled = (numbers - [mean for mean, _ in NUMBERS.values()]) / [std for _, std in NUMBERS.values()]
    assert np.abs(scaled.mean(axis=0)).max() < 0.02
    assert np.abs(scaled.std(axis=0) - 1).max() < 0.02


def test_an_adult_client_is_an_occupation(fetched: Callable[[str], Path], tmp_path: Path) -> None:
    fetched("adult")
    experiment = from_mapping(
        {
            "name": "t",
            "data": {"name": "adult"},
            "task": {"kind": "tabular_classification"},
            "model": {"name": "logistic"},
            "federation": {"clients": 15, "partition": {"scheme": "natural"}},
        }
    )
    clients = client_examples(experiment)
    assert clients[0].clients is not None
    assert set(clients[0].clients.tolist()) == {"Prof-specialty"}
    assert [len(clients[0]), len(clients[-1])] == [4140, 9]  # professors and the armed forces
    deployed = local_examples(experiment, export(experiment, 14, tmp_path))
    assert np.array_equal(deployed.features, clients[14].features)
    assert np.array_equal(deployed.labels, clients[14].labels)
