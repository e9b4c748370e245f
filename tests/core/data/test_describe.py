from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from leptonic.data.describe import class_names, draw_label_counts, label_counts, label_table
from leptonic.data.examples import DataSpec


def test_counts() -> None:
    labels = np.array([0, 2, 2, 1, 0], np.int64)
    parts = [np.array([0, 1, 2]), np.array([3, 4])]
    counts = label_counts(parts, labels, 4)
    assert counts.tolist() == [[1, 0, 2, 0], [1, 1, 0, 0]]
    assert counts.dtype == np.int64


def test_names_of_classes() -> None:
    assert class_names(DataSpec((1,), 3)) == ("0", "1", "2")
    assert class_names(DataSpec((1,), 2, class_names=("no", "yes"))) == ("no", "yes")


def shown(counts: np.ndarray, names: list[str]) -> str:
    console = Console(width=80)
    with console.capture() as captured:
        console.print(label_table(counts, names, "the title"))
    return captured.get()


def test_table_with_long_names_fits_a_terminal() -> None:
    text = shown(np.full((10, 10), 600), [f"long name {label}" for label in range(10)])
    assert "the title" in text
    assert "9 long name 9" in text
    assert "…" not in text
    assert text.count("6000") == 21  # ten clients' sizes, ten classes' totals, and 60000 of all


def test_table_of_many_clients_shows_the_first() -> None:
    text = shown(np.ones((1000, 2), np.int64), ["no", "yes"])
    assert "(of 1000)" in text
    assert "2000" in text
    assert len(text.splitlines()) < 40


@pytest.mark.parametrize(("clients", "classes"), [(1, 2), (10, 10), (300, 10), (3, 60)])
def test_picture_is_written(tmp_path: Path, clients: int, classes: int) -> None:
    counts = np.random.default_rng(0).integers(0, 9000, (clients, classes))
    out = tmp_path / "new" / "labels.png"
    draw_label_counts(counts, [f"class {label}" for label in range(classes)], "title", out)
    with Image.open(out) as picture:
        assert picture.format == "PNG"
        assert picture.width >= 1000
        assert picture.height >= 400
        assert len(set(picture.convert("L").resize((60, 40)).tobytes())) > 10
    assert [path.name for path in out.parent.iterdir()] == ["labels.png"]
