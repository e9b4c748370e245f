import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from leptonic.data import catalogue, idx
from leptonic.data.adult import SPEC, VOCABULARY, read
from leptonic.errors import DataError, ExperimentError
from leptonic.experiment import CatalogueData, OwnData


def test_every_name_of_the_experiment_file_is_in_the_catalogue() -> None:
    names = get_args(CatalogueData.model_fields["name"].annotation)
    assert set(names) == set(catalogue.names())


@pytest.mark.parametrize("name", catalogue.names())
def test_entries_are_complete(name: str) -> None:
    entry = catalogue.entry(name)
    assert entry.name == name
    assert all(len(bytes.fromhex(file.sha256)) == 32 and file.size > 0 for file in entry.files)
    assert len(entry.spec.class_names) == entry.spec.classes
    assert len(entry.spec.mean) == len(entry.spec.std)
    assert len(entry.spec.mean) in (1, entry.spec.shape[0])
    assert len(entry.origins) >= 2
    assert all((entry.description, entry.licence, *(origin.label for origin in entry.origins)))


def test_a_misspelt_name_gets_a_hint() -> None:
    with pytest.raises(DataError, match="did you mean 'fashion-mnist'"):
        catalogue.entry("fashion_mnist")


def test_absent_data_says_how_to_get_it(cache: Path) -> None:
    assert not catalogue.is_here("mnist")
    with pytest.raises(DataError, match="run: leptonic data fetch mnist"):
        catalogue.load("mnist", "train")


def test_specs() -> None:
    assert catalogue.spec_of(CatalogueData()).train_examples == 60_000
    assert catalogue.spec_of(CatalogueData(name="mnist", train_examples=500)).train_examples == 500
    with pytest.raises(ExperimentError, match="train_examples = 1438: digits has only 1437"):
        catalogue.spec_of(CatalogueData(name="digits", train_examples=1438))
    own = catalogue.spec_of(OwnData(name="own", shape=[3, 8, 8], classes=4, mean=[0.1, 0.2, 0.3], std=[1.0]))
    assert (own.shape, own.classes, own.mean, own.std) == ((3, 8, 8), 4, (0.1, 0.2, 0.3), (1.0,))
    assert own.train_examples is None


def test_digits_are_scikit_learns(cache: Path) -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    bunch = datasets.load_digits()
    train, test = catalogue.load("digits", "train"), catalogue.load("digits", "test")
    assert (train.features.shape, test.features.shape) == ((1437, 1, 8, 8), (360, 1, 8, 8))
    assert train.features.dtype == np.uint8
    assert np.array_equal(np.concatenate([train.features, test.features])[:, 0], bunch.images)
    assert np.array_equal(np.concatenate([train.labels, test.labels]), bunch.target)
    spec = catalogue.entry("digits").spec
    scaled = train.features.astype(np.float64) / 255.0
    assert spec.mean[0] == pytest.approx(scaled.mean(), abs=1e-5)
    assert spec.std[0] == pytest.approx(scaled.std(), abs=1e-5)


def test_a_set_of_the_wrong_size_is_refused(cache: Path) -> None:
    idx.write(_made(cache / "mnist") / "t10k-images-idx3-ubyte", np.zeros((5, 28, 28), np.uint8))
    idx.write(cache / "mnist" / "t10k-labels-idx1-ubyte", np.zeros(5, np.uint8))
    with pytest.raises(DataError, match="5 test examples, not 10000; run: leptonic data verify mnist"):
        catalogue.load("mnist", "test")


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


ADULT_ROWS = """|1x3 Cross validator
25, Private, 226802, 11th, 7, Never-married, Sales, Own-child, Black, Male, 0, 0, 40, United-States, <=50K.
52, ?, 100, HS-grad, 9, Widowed, ?, Wife, White, Female, 99999, 1, 45, ?, >50K.

"""


def test_adult_rows_are_numbers_then_one_hot(tmp_path: Path) -> None:
    path = tmp_path / "adult.test"
    path.write_text(ADULT_ROWS)
    examples = read(path)
    assert SPEC.shape == (108,)
    assert examples.labels.tolist() == [0, 1]
    assert examples.clients is not None
    assert examples.clients.tolist() == ["Sales", "unknown"]
    assert examples.features[:, :6].tolist() == [[25, 226802, 7, 0, 0, 40], [52, 100, 9, 99999, 1, 45]]
    hot: list[list[str]] = [[], []]
    for row, one_hot in zip(hot, examples.features[:, 6:], strict=True):
        start = 0
        for values in VOCABULARY.values():
            part = one_hot[start : start + len(values)]
            assert part.sum() == 1.0
            row.append(values[int(part.argmax())])
            start += len(values)
    assert hot[0] == ["Private", "11th", "Never-married", "Sales", "Own-child", "Black", "Male", "United-States"]
    assert hot[1] == ["?", "HS-grad", "Widowed", "?", "Wife", "White", "Female", "?"]


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("Sales", "Juggler", "column occupation: 'Juggler' is not in the declared vocabulary"),
        ("226802", "many", "column fnlwgt"),
        (" <=50K.", " 50K.", "line 2: label '50K'"),
        (", 40, ", ", ", "line 2: 14 values"),
    ],
)
def test_adult_refuses_what_it_does_not_know(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    path = tmp_path / "adult.test"
    path.write_text(ADULT_ROWS.replace(old, new))
    with pytest.raises(DataError, match=complaint):
        read(path)


def test_importing_the_commands_loads_nothing_heavy() -> None:
    heavy = "{'numpy', 'torch', 'matplotlib', 'pandas', 'flwr', 'rich', 'pydantic'}"
    code = f"import sys, leptonic.data.commands; print(sorted({heavy} & set(sys.modules)))"
    root = Path(catalogue.__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "[]"
