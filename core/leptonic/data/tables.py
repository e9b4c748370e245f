"""Reads tables of numbers, CSV and Parquet: one row per example, named columns.

Every column but the target's and the client's is a feature, in the file's order, reshaped to the shape that
the experiment declares.
"""

import csv
import difflib
import math
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from leptonic.data.examples import DataSpec, Examples
from leptonic.errors import DataError

__all__ = ["read_csv", "read_parquet"]

LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class _Layout:
    """Which columns are what, by position."""

    names: tuple[str, ...]
    features: tuple[int, ...]
    target: int
    client: int | None


def read_csv(path: Path, spec: DataSpec, *, target: str, client: str | None) -> Examples:
    """Rows of a UTF-8 CSV file with a header; features become float32, labels must be whole numbers.

    Raises DataError naming the file, the line as an editor counts it, and the column.
    """
    features, labels, clients = array("f"), array("q"), []
    line = 1
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream, strict=True)
            layout = _layout(next(reader, []), spec, target=target, client=client, source=path)
            for line, row in _numbered(reader):
                if len(row) != len(layout.names):
                    raise DataError(f"{path}: line {line}: {len(row)} values under {len(layout.names)} columns")
                features.extend(
                    _number(row[at], f"{path}: line {line}, column {layout.names[at]}") for at in layout.features
                )
                labels.append(_label(row[layout.target], spec, f"{path}: line {line}, column {target}"))
                if layout.client is not None:
                    clients.append(row[layout.client])
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path}: after line {line}: not a CSV file in UTF-8: {error}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    rows = np.frombuffer(features, np.float32).reshape(len(labels), *spec.shape)
    return Examples(rows, np.array(labels, np.int64), np.array(clients, np.str_) if client else None)


def read_parquet(path: Path, spec: DataSpec, *, target: str, client: str | None) -> Examples:
    """Rows of a Parquet file; needs pyarrow. Rows are counted from 0. Raises DataError."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise DataError(f"{path}: Parquet needs pyarrow; run: pip install 'leptonic[tables]'") from None
    try:
        table = pyarrow.parquet.read_table(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
    layout = _layout(table.column_names, spec, target=target, client=client, source=path)
    columns = [_column(table, at, layout, path) for at in range(len(layout.names))]
    for at in layout.features:
        if columns[at].dtype.kind not in "biuf":
            raise DataError(f"{path}: column {layout.names[at]} holds {columns[at].dtype}, numbers are needed")
    labels = columns[layout.target]
    if labels.dtype.kind not in "iu":
        raise DataError(f"{path}: column {target} holds {labels.dtype}, whole numbers are needed")
    with np.errstate(over="ignore"):  # what overflows becomes infinite, which Examples.check refuses
        rows = np.stack([columns[at].astype(np.float32) for at in layout.features], axis=1)
    clients = None if layout.client is None else columns[layout.client].astype(np.str_)
    return Examples(rows.reshape(-1, *spec.shape), labels.astype(np.int64), clients)


def _numbered(reader: Any) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not blank, with the line on which each begins."""
    while True:
        line = reader.line_num + 1
        row = next(reader, None)
        if row is None:
            return
        if row:
            yield line, row


def _layout(header: list[str], spec: DataSpec, *, target: str, client: str | None, source: Path) -> _Layout:
    names = tuple(name.strip() for name in header)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{source}: two columns are called '{twice}'")
    for wanted in (target, *([client] if client else [])):
        if wanted not in names:
            close = difflib.get_close_matches(wanted, names, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"it begins with {', '.join(names[:5]) or 'nothing'}"
            raise DataError(f"{source}: has no column '{wanted}'; {hint}")
    features = tuple(at for at, name in enumerate(names) if name not in (target, client))
    if len(features) != math.prod(spec.shape):
        raise DataError(
            f"{source}: {len(features)} feature columns, but the experiment's shape {list(spec.shape)} "
            f"needs {math.prod(spec.shape)}; the others are '{target}'" + (f" and '{client}'" if client else "")
        )
    return _Layout(names, features, names.index(target), names.index(client) if client else None)


def _number(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise DataError(f"{where}: {text!r} is not a number") from None
    if not -LARGEST <= value <= LARGEST:  # also refuses nan
        raise DataError(f"{where}: {text!r} is not a finite number of single precision")
    return value


def _label(text: str, spec: DataSpec, where: str) -> int:
    try:
        label = int(text)
    except ValueError:
        label = -1
    if not 0 <= label < spec.classes:
        raise DataError(f"{where}: {text!r} is not a class; classes are 0 to {spec.classes - 1}")
    return label


def _column(table: Any, at: int, layout: _Layout, path: Path) -> "np.ndarray[Any, Any]":
    column = table.column(at)
    if column.null_count:
        row = column.is_null().to_pylist().index(True)
        raise DataError(f"{path}: row {row}: column {layout.names[at]} has no value")
    return np.asarray(column.to_numpy())
