from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from leptonic.data import idx
from leptonic.data.examples import DataSpec
from leptonic.data.sources import read_local
from leptonic.errors import DataError

TABLE = DataSpec(shape=(2,), classes=3)
GREY = DataSpec(shape=(1, 2, 3), classes=3)
COLOUR = DataSpec(shape=(3, 2, 3), classes=3)
PIXELS = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)


def npz(folder: Path, **arrays: Any) -> Path:
    np.savez(folder / "d.npz", **arrays)
    return folder / "d.npz"


def test_npz_keeps_uint8_and_makes_the_rest_float32(tmp_path: Path) -> None:
    labels = np.array([0, 2], np.uint16)
    bytes_ = read_local(npz(tmp_path, features=np.array([[1, 2], [3, 4]], np.uint8), label=labels), TABLE)
    assert bytes_.features.dtype == np.uint8
    assert bytes_.labels.dtype == np.int64
    assert bytes_.clients is None
    doubles = read_local(npz(tmp_path, features=np.array([[0.1, 2], [3, 4]]), label=labels), TABLE)
    assert doubles.features.dtype == np.float32
    assert doubles.features.tolist() == np.array([[0.1, 2], [3, 4]], np.float32).tolist()


def test_npz_with_own_names_and_clients(tmp_path: Path) -> None:
    path = npz(tmp_path, features=np.zeros((2, 2), np.float32), y=np.array([1, 2]), ward=np.array([7, 12]))
    examples = read_local(path, TABLE, target="y", client="ward")
    assert examples.labels.tolist() == [1, 2]
    assert examples.clients is not None
    assert examples.clients.tolist() == ["7", "12"]


@pytest.mark.parametrize("shape", [(2, 1, 2, 3), (2, 2, 3), (2, 6)])
def test_npz_images_with_or_without_the_channel_or_flat(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = npz(tmp_path, features=PIXELS.reshape(shape), label=np.array([0, 1]))
    assert np.array_equal(read_local(path, GREY).features, PIXELS[:, None])


F, Y = np.zeros((2, 2), np.float32), np.array([0, 1])


@pytest.mark.parametrize(
    ("arrays", "complaint"),
    [
        ({"features": F}, "no array 'label'; it has features"),
        ({"label": Y}, "no array 'features'"),
        ({"features": F, "label": Y.astype(float)}, "whole numbers"),
        ({"features": F, "label": np.array([0, 3])}, r"row 1: label 3 is outside 0\.\.2"),
        ({"features": F, "label": np.array([0, -1])}, "row 1: label -1"),
        ({"features": F[:1], "label": Y}, "1 rows of features but 2 labels"),
        ({"features": np.array([[0, 1], [np.nan, 0]]), "label": Y}, "row 1: a feature is not a finite number"),
        ({"features": np.array([[0, 1], [1e300, 0]]), "label": Y}, "row 1: a feature is not a finite number"),
        ({"features": np.zeros((2, 3)), "label": Y}, r"shape \(3,\), the experiment says \(2,\)"),
        ({"features": np.array([["a", "b"]] * 2), "label": Y}, "numbers are needed"),
        ({"features": np.array([[object()] * 2] * 2), "label": Y}, "cannot be read"),
        ({"features": F[:0], "label": Y[:0]}, "holds no rows"),
        ({"features": np.float32(1), "label": Y}, "shape"),
    ],
)
def test_bad_npz(tmp_path: Path, arrays: dict[str, Any], complaint: str) -> None:
    with pytest.raises(DataError, match=complaint) as caught:
        read_local(npz(tmp_path, **arrays), TABLE)
    assert "d.npz" in str(caught.value)


def test_what_is_no_npz(tmp_path: Path) -> None:
    (tmp_path / "d.npz").write_bytes(b"PK nothing")
    with pytest.raises(DataError, match=r"d\.npz: cannot be read"):
        read_local(tmp_path / "d.npz", TABLE)
    with pytest.raises(DataError, match=r"no such file.*\.parquet"):
        read_local(tmp_path / "absent.npz", TABLE)
    (tmp_path / "d.pkl").write_bytes(b"")
    with pytest.raises(DataError, match=r"unknown kind '\.pkl'"):
        read_local(tmp_path / "d.pkl", TABLE)


@pytest.mark.parametrize(("images", "labels"), [("", ""), (".gz", ".gz"), (".gz", "")])
def test_idx_pair(tmp_path: Path, images: str, labels: str) -> None:
    idx.write(tmp_path / f"train-images-idx3-ubyte{images}", PIXELS)
    idx.write(tmp_path / f"train-labels-idx1-ubyte{labels}", np.array([2, 0], np.uint8))
    examples = read_local(tmp_path, GREY)
    assert np.array_equal(examples.features[:, 0], PIXELS)
    assert examples.labels.tolist() == [2, 0]


def test_bad_idx_pairs(tmp_path: Path) -> None:
    idx.write(tmp_path / "train-images-idx3-ubyte", PIXELS)
    with pytest.raises(DataError, match="train-labels-idx1-ubyte: no such file"):
        read_local(tmp_path, GREY)
    idx.write(tmp_path / "train-labels-idx1-ubyte", np.zeros(3, np.uint8))
    with pytest.raises(DataError, match="2 rows of features but 3 labels"):
        read_local(tmp_path, GREY)
    with pytest.raises(DataError, match="no array 'ward'"):
        read_local(tmp_path, GREY, client="ward")
    idx.write(tmp_path / "t10k-images-idx3-ubyte", PIXELS)
    with pytest.raises(DataError, match="2 IDX pairs"):
        read_local(tmp_path, GREY)


def pictures(folder: Path, classes: dict[str, list[np.ndarray]]) -> Path:
    for name, images in classes.items():
        (folder / name).mkdir(parents=True)
        for number, pixels in enumerate(images):
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def test_folders_of_pictures(tmp_path: Path) -> None:
    pictures(tmp_path, {"cat": [PIXELS[0]], "ant": [PIXELS[1], PIXELS[0]], "bee": []})
    (tmp_path / "cat" / ".hidden").write_text("left alone")
    examples = read_local(tmp_path, GREY)
    assert examples.labels.tolist() == [0, 0, 2]
    assert np.array_equal(examples.features[:, 0], PIXELS[[1, 0, 0]])


def test_colour_pictures_are_channels_first(tmp_path: Path) -> None:
    pixels = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    pictures(tmp_path, {"0": [pixels], "2": [pixels]})
    examples = read_local(tmp_path, COLOUR)
    assert np.array_equal(examples.features[0], pixels.transpose(2, 0, 1))


def test_a_label_does_not_depend_on_which_classes_an_owner_holds(tmp_path: Path) -> None:
    """Folders named by number or by a declared name keep their class; others must all be there."""
    numbers = DataSpec(shape=(1, 2, 3), classes=11)
    assert read_local(pictures(tmp_path / "n", {"10": [PIXELS[0]], "2": [PIXELS[1]]}), numbers).labels.tolist() == [
        10,
        2,
    ]
    named = DataSpec(shape=(1, 2, 3), classes=3, class_names=("cat", "ant", "bee"))
    assert read_local(pictures(tmp_path / "d", {"bee": [PIXELS[0]]}), named).labels.tolist() == [2]
    with pytest.raises(DataError, match="1 sub-folders for 3 classes"):
        read_local(pictures(tmp_path / "u", {"wasp": [PIXELS[0]]}), GREY)


def test_bad_pictures_are_named(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "size", {"0": [PIXELS[0], np.zeros((3, 2), np.uint8)]})
    with pytest.raises(DataError, match=r"0/1\.png: 2x3 pixels, the experiment says 3x2"):
        read_local(folder, GREY)
    folder = pictures(tmp_path / "junk", {"0": []})
    (folder / "0" / "notes.txt").write_text("no picture")
    with pytest.raises(DataError, match=r"notes\.txt: not a picture"):
        read_local(folder, GREY)
    folder = pictures(tmp_path / "deep", {"0": [np.zeros((2, 3), np.uint16)]})
    with pytest.raises(DataError, match="8-bit"):
        read_local(folder, GREY)
    with pytest.raises(DataError, match=r"pictures need shape \[1, H, W\]"):
        read_local(pictures(tmp_path / "flat", {"0": []}), TABLE)
    with pytest.raises(DataError, match="holds no rows"):
        read_local(pictures(tmp_path / "empty", {"0": []}), GREY)
