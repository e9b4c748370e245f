import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from leptonic.data import catalogue, experiment_data
from leptonic.data.examples import Examples
from leptonic.data.experiment_data import client_examples, client_rows, client_sizes, local_examples, training_examples
from leptonic.data.export import export, export_clients
from leptonic.errors import DataError, ExperimentError
from leptonic.experiment import Experiment
from leptonic.experiment_file import from_mapping

pytest.importorskip("sklearn")


def digits(**changes: Any) -> Experiment:
    content: dict[str, Any] = {
        "name": "t",
        "data": {"name": "digits"},
        "federation": {"clients": 5, "partition": {"scheme": "dirichlet", "alpha": 0.5}},
    }
    return from_mapping(content | changes)


def own(rows: Path, **data: Any) -> Experiment:
    return from_mapping(
        {
            "name": "t",
            "data": {"name": "own", "shape": [2], "classes": 2, "target": "y", "client": "ward"}
            | {"path": str(rows)}
            | data,
            "federation": {"clients": 2, "partition": {"scheme": "natural"}},
            "aggregation": {"rule": "mean", "weighting": "uniform"},
        }
    )


def equal(a: Examples, b: Examples) -> bool:
    same = np.array_equal(a.features, b.features) and a.features.dtype == b.features.dtype
    same &= np.array_equal(a.labels, b.labels) and a.labels.dtype == b.labels.dtype
    if a.clients is None or b.clients is None:
        return same and a.clients is b.clients
    return same and np.array_equal(a.clients, b.clients)


@pytest.fixture
def wards(tmp_path: Path) -> Path:
    path = tmp_path / "wards.csv"
    path.write_text("a,b,y,ward\n1,2,0,north\n3,4,1,south\n5,6,1,south\n")
    return path


def test_all_rows_of_the_catalogue(cache: Path) -> None:
    assert equal(training_examples(digits()), catalogue.load("digits", "train"))
    test = experiment_data.test_examples(digits())
    assert test is not None
    assert equal(test, catalogue.load("digits", "test"))


def test_a_subset_is_the_seeds_choice_in_the_files_order(cache: Path) -> None:
    whole = catalogue.load("digits", "train")
    subset = training_examples(digits(data={"name": "digits", "train_examples": 300}))
    assert len(subset) == 300
    rows = {row.tobytes(): at for at, row in enumerate(whole.features)}
    places = [rows[row.tobytes()] for row in subset.features]
    assert places == sorted(set(places))
    again = training_examples(digits(data={"name": "digits", "train_examples": 300}))
    other = training_examples(digits(data={"name": "digits", "train_examples": 300}, seed=1))
    assert equal(subset, again)
    assert not equal(subset, other)


def test_clients_hold_all_rows_once(cache: Path) -> None:
    clients = client_examples(digits())
    whole = training_examples(digits())
    assert len(clients) == 5
    together = np.concatenate([client.features for client in clients])
    order = np.lexsort(together.reshape(len(together), -1).T)
    expected = whole.features[np.lexsort(whole.features.reshape(len(whole), -1).T)]
    assert np.array_equal(together[order], expected)


def test_own_data_with_natural_clients(wards: Path) -> None:
    experiment = own(wards)
    north_and_south = client_examples(experiment)
    assert [client.labels.tolist() for client in north_and_south] == [[1, 1], [0]]
    assert experiment_data.test_examples(experiment) is None
    test = experiment_data.test_examples(own(wards, test_path=str(wards)))
    assert test is not None
    assert len(test) == 3


def test_own_data_without_a_path(wards: Path) -> None:
    experiment = own(wards, path=None)
    with pytest.raises(ExperimentError, match=r"data\.path: a simulation"):
        training_examples(experiment)


def test_exported_rows_are_the_simulations_bit_for_bit(cache: Path, tmp_path: Path) -> None:
    experiment = digits()
    simulated = client_examples(experiment)
    paths = export_clients(experiment, range(5), tmp_path)
    for client, (path, examples) in enumerate(zip(paths, simulated, strict=True)):
        assert path == tmp_path / f"client-{client}.npz"
        assert equal(local_examples(experiment, path), examples)
        contract = json.loads(path.with_suffix(".json").read_text())
        assert contract["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert contract["rows"] == len(examples) == sum(contract["label_counts"])
        assert contract["label_counts"] == [int((examples.labels == kind).sum()) for kind in range(10)]
        assert contract["experiment_sha256"] == experiment.hash
        assert contract["spec"]["shape"] == [1, 8, 8]
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {
        f"client-{client}.{kind}" for client in range(5) for kind in ("npz", "json")
    }


def test_exporting_twice_gives_the_same_bytes_readable_by_the_owner_alone(cache: Path, tmp_path: Path) -> None:
    first = export(digits(), 3, tmp_path / "a")
    second = export(digits(), 3, tmp_path / "b")
    assert first.read_bytes() == second.read_bytes()
    assert first.stat().st_mode & 0o077 == 0
    with np.load(first, allow_pickle=False) as content:
        assert content.files == ["features", "label"]


def test_own_names_and_natural_clients_are_exported(wards: Path, tmp_path: Path) -> None:
    experiment = own(wards)
    path = export(experiment, 0, tmp_path / "out")
    with np.load(path, allow_pickle=False) as content:
        assert content.files == ["features", "y", "ward"]
    assert equal(local_examples(experiment, path), client_examples(experiment)[0])


@pytest.mark.parametrize("client", [-1, 5])
def test_a_client_that_does_not_exist(cache: Path, tmp_path: Path, client: int) -> None:
    with pytest.raises(ExperimentError, match=r"federation\.clients = 5, so clients are 0 to 4"):
        export(digits(), client, tmp_path)


def test_a_folder_that_cannot_be_written(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        export(digits(), 0, tmp_path / "file")


PARTITIONS: list[dict[str, Any]] = [
    {"scheme": "iid"},
    {"scheme": "dirichlet", "alpha": 0.5},
    {"scheme": "quantity", "alpha": 1.0},
    {"scheme": "sampled", "examples": 17},
]


@pytest.mark.parametrize("scheme", PARTITIONS)
def test_sizes_are_those_of_the_partition(scheme: dict[str, Any]) -> None:
    experiment = digits(federation={"clients": 5, "partition": scheme}, data={"name": "digits", "train_examples": 903})
    rows = client_rows(experiment, training_examples(experiment))
    assert client_sizes(experiment) == [len(rows[client]) for client in range(5)]


def test_sizes_of_equal_parts_need_no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "load", None)
    assert client_sizes(digits(federation={"clients": 5})) == [288, 288, 287, 287, 287]
