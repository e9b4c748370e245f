"""Reads a data owner's local data: IDX pair, image folder, npz, CSV or Parquet.

Called on a client for its own rows, and by a simulation for data that is not of the catalogue. What the
rows must look like is declared in the experiment, never learned here; whatever deviates is a DataError that
names the file and the place in it.
"""

import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leptonic.data import idx, tables
from leptonic.data.examples import DataSpec, Examples
from leptonic.errors import DataError

__all__ = ["read_local"]

KINDS = "a folder (IDX pair, or one sub-folder of images per class), .npz, .csv or .parquet"
IMAGE_MODES = {1: "L", 3: "RGB"}
IMAGE_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "PPM", "WEBP", "GIF")
EIGHT_BIT_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA"})


def read_local(path: Path, spec: DataSpec, *, target: str = "label", client: str | None = None) -> Examples:
    """All rows of a local source, checked against ``spec``.

    target, client: the column (CSV, Parquet) or array (npz) of the class and, if any, of the natural client.
    Images and uint8 arrays stay uint8; all other numbers become float32.
    Raises DataError naming the file and the line, row, column or image that is wrong.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; data is {KINDS}")
    if path.is_dir():
        if client is not None:
            raise DataError(f"{path}: a folder of images has no array '{client}' of clients; use .npz, or leave it out")
        examples = _read_folder(path, spec)
    elif path.suffix == ".npz":
        examples = _read_npz(path, spec, target, client)
    elif path.suffix == ".csv":
        examples = tables.read_csv(path, spec, target=target, client=client)
    elif path.suffix == ".parquet":
        examples = tables.read_parquet(path, spec, target=target, client=client)
    else:
        raise DataError(f"{path}: unknown kind '{path.suffix}'; data is {KINDS}")
    if len(examples) == 0:
        raise DataError(f"{path}: holds no rows")
    examples.check(spec, str(path))
    return examples


def _read_folder(folder: Path, spec: DataSpec) -> Examples:
    images = sorted(folder.glob("*images-idx3-ubyte*"))
    if not images:
        return _read_image_folder(folder, spec)
    if len(images) > 1:
        raise DataError(f"{folder}: holds {len(images)} IDX pairs ({', '.join(p.name for p in images)}); keep one")
    labels = folder / images[0].name.replace("images-idx3", "labels-idx1")
    packed_differently = labels.with_suffix("") if labels.suffix == ".gz" else labels.with_name(f"{labels.name}.gz")
    if not labels.exists() and packed_differently.exists():
        labels = packed_differently
    if not labels.exists():
        raise DataError(f"{labels}: no such file; {images[0].name} needs its labels beside it")
    features = idx.read(images[0], dimensions=3)
    return Examples(_shaped(features, spec, str(images[0])), idx.read(labels, dimensions=1).astype(np.int64))


def _read_npz(path: Path, spec: DataSpec, target: str, client: str | None) -> Examples:
    arrays: dict[str, NDArray[Any]] = {}
    try:
        with np.load(path, allow_pickle=False) as content:
            for name in ("features", target, *([client] if client else [])):
                if name not in content.files:
                    raise DataError(f"{path}: has no array '{name}'; it has {', '.join(content.files) or 'none'}")
                arrays[name] = content[name]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
    features, labels = arrays["features"], arrays[target]
    if features.dtype.kind not in "biuf":
        raise DataError(f"{path}: array 'features' has type {features.dtype}; numbers are needed")
    if features.dtype != np.uint8:
        with np.errstate(over="ignore"):  # what overflows becomes infinite, which check() refuses
            features = features.astype(np.float32, copy=False)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DataError(f"{path}: array '{target}' must be (n,) whole numbers, not {labels.shape} {labels.dtype}")
    if client and arrays[client].shape != labels.shape:
        raise DataError(f"{path}: array '{client}' must be {labels.shape}, not {arrays[client].shape}")
    clients = arrays[client].astype(np.str_) if client else None
    return Examples(_shaped(features, spec, str(path)), labels.astype(np.int64, copy=False), clients)


def _shaped(features: NDArray[Any], spec: DataSpec, source: str) -> NDArray[Any]:
    """Rows in the declared shape; an image may leave out its single channel, a row may be flat."""
    shape = features.shape[1:]
    flat, channel_left_out = (math.prod(spec.shape),), spec.shape[:1] == (1,) and shape == spec.shape[1:]
    if features.ndim == 0 or not (shape in (spec.shape, flat) or channel_left_out):
        raise DataError(f"{source}: an example has shape {shape}, the experiment says {spec.shape}")
    return features.reshape(len(features), *spec.shape)


def _read_image_folder(folder: Path, spec: DataSpec) -> Examples:
    classes = _class_folders(folder, spec)
    if len(spec.shape) != 3 or spec.shape[0] not in IMAGE_MODES:
        raise DataError(f"{folder}: pictures need shape [1, H, W] or [3, H, W], the experiment says {list(spec.shape)}")
    found = [(label, path) for label, name in classes for path in sorted(name.iterdir()) if path.name[0] != "."]
    features = np.empty((len(found), *spec.shape), np.uint8)
    for row, (_, path) in enumerate(found):
        features[row] = _read_image(path, spec.shape)
    return Examples(features, np.array([label for label, _ in found], np.int64))


def _class_folders(folder: Path, spec: DataSpec) -> list[tuple[int, Path]]:
    """Each class's label and folder.

    An owner may not hold every class, so a label must not depend on which folders are there: a folder is
    named by its class (a declared name, or its number), or else there is one for every class, sorted.
    """
    folders = sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")
    found = [path.name for path in folders]
    if found and set(found) <= set(spec.class_names):
        return [(spec.class_names.index(path.name), path) for path in folders]
    if found and all(name.isascii() and name.isdigit() for name in found):
        return [(int(path.name), path) for path in folders]
    if len(folders) != spec.classes:
        raise DataError(
            f"{folder}: {len(folders)} sub-folders for {spec.classes} classes; make one for each class "
            "(it may be empty), or name them by the number of the class"
        )
    return list(enumerate(folders))


def _read_image(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """One picture as (C, H, W) uint8; its size is compared before its pixels are unpacked."""
    from PIL import Image, UnidentifiedImageError

    channels, height, width = shape
    try:
        with Image.open(path, formats=IMAGE_FORMATS) as image:
            if image.size != (width, height):
                raise DataError(f"{path}: {image.width}x{image.height} pixels, the experiment says {width}x{height}")
            if image.mode not in EIGHT_BIT_MODES:
                raise DataError(f"{path}: pixels of kind {image.mode}; 8-bit grey or colour is needed")
            pixels = np.asarray(image.convert(IMAGE_MODES[channels]), np.uint8)
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: not a picture that can be read: {error}") from None
    return pixels.reshape(height, width, channels).transpose(2, 0, 1)
