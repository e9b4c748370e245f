"""UCI Adult (census income) as a table of numbers.

The vocabulary and the scaling constants are written here and are the same for everyone: learning them from
the rows would be a release about the rows. The values are those of the data set's own description.
Source: B. Becker, R. Kohavi, "Adult", UCI Machine Learning Repository, 1996, doi 10.24432/C5XW20.
"""

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leptonic.data.examples import DataSpec, Examples
from leptonic.errors import DataError

__all__ = ["SPEC", "read"]

COLUMNS = (
    *("age", "workclass", "fnlwgt", "education", "education-num", "marital-status", "occupation"),
    *("relationship", "race", "sex", "capital-gain", "capital-loss", "hours-per-week", "native-country"),
)
NATURAL_CLIENT = "occupation"
UNKNOWN = "?"
LABELS = ("<=50K", ">50K")

# Column: (subtracted, divided by), rounded from the published training file.
NUMBERS: dict[str, tuple[float, float]] = {
    "age": (38.6, 13.6),
    "fnlwgt": (190_000.0, 106_000.0),
    "education-num": (10.1, 2.57),
    "capital-gain": (1_080.0, 7_390.0),
    "capital-loss": (87.3, 403.0),
    "hours-per-week": (40.4, 12.3),
}

VOCABULARY: dict[str, tuple[str, ...]] = {
    "workclass": (
        *("Private", "Self-emp-not-inc", "Self-emp-inc", "Federal-gov", "Local-gov", "State-gov"),
        *("Without-pay", "Never-worked", UNKNOWN),
    ),
    "education": (
        *("Preschool", "1st-4th", "5th-6th", "7th-8th", "9th", "10th", "11th", "12th", "HS-grad"),
        *("Some-college", "Assoc-voc", "Assoc-acdm", "Bachelors", "Masters", "Prof-school", "Doctorate"),
    ),
    "marital-status": (
        *("Married-civ-spouse", "Divorced", "Never-married", "Separated", "Widowed"),
        *("Married-spouse-absent", "Married-AF-spouse"),
    ),
    "occupation": (
        *("Tech-support", "Craft-repair", "Other-service", "Sales", "Exec-managerial", "Prof-specialty"),
        *("Handlers-cleaners", "Machine-op-inspct", "Adm-clerical", "Farming-fishing", "Transport-moving"),
        *("Priv-house-serv", "Protective-serv", "Armed-Forces", UNKNOWN),
    ),
    "relationship": ("Wife", "Own-child", "Husband", "Not-in-family", "Other-relative", "Unmarried"),
    "race": ("White", "Asian-Pac-Islander", "Amer-Indian-Eskimo", "Other", "Black"),
    "sex": ("Female", "Male"),
    "native-country": (
        *("United-States", "Cambodia", "England", "Puerto-Rico", "Canada", "Germany"),
        *("Outlying-US(Guam-USVI-etc)", "India", "Japan", "Greece", "South", "China", "Cuba", "Iran"),
        *("Honduras", "Philippines", "Italy", "Poland", "Jamaica", "Vietnam", "Mexico", "Portugal"),
        *("Ireland", "France", "Dominican-Republic", "Laos", "Ecuador", "Taiwan", "Haiti", "Columbia"),
        *("Hungary", "Guatemala", "Nicaragua", "Scotland", "Thailand", "Yugoslavia", "El-Salvador"),
        *("Trinadad&Tobago", "Peru", "Hong", "Holand-Netherlands", UNKNOWN),
    ),
}

ONE_HOT = sum(len(values) for values in VOCABULARY.values())

SPEC = DataSpec(
    shape=(len(NUMBERS) + ONE_HOT,),
    classes=len(LABELS),
    mean=(*(mean for mean, _ in NUMBERS.values()), *(0.0,) * ONE_HOT),
    std=(*(std for _, std in NUMBERS.values()), *(1.0,) * ONE_HOT),
    class_names=LABELS,
    train_examples=32_561,
)


def read(path: Path) -> Examples:
    """The rows of ``adult.data`` or ``adult.test``.

    Features (n, 108) float32: the six numbers as they are (SPEC scales them), then the one-hot columns.
    Each row's natural client is its occupation. Raises DataError with the file and the line.
    """
    rows, labels = [], []
    try:
        with path.open(newline="", encoding="ascii") as stream:
            reader = csv.reader(stream, skipinitialspace=True)
            for row in reader:
                if not row or row[0].startswith("|"):  # the test file begins with a remark
                    continue
                if len(row) != len(COLUMNS) + 1:
                    raise DataError(f"{path}: line {reader.line_num}: {len(row)} values where 15 are expected")
                rows.append(row[:-1])
                labels.append(_position(row[-1].removesuffix("."), LABELS, path, reader.line_num))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
    columns = dict(zip(COLUMNS, zip(*rows, strict=True), strict=True))
    parts = [_numbers(columns[name], name, path) for name in NUMBERS]
    parts += [_one_hot(columns[name], name, path) for name in VOCABULARY]
    clients = np.array(["unknown" if value == UNKNOWN else value for value in columns[NATURAL_CLIENT]])
    return Examples(np.concatenate(parts, axis=1), np.array(labels, np.int64), clients)


def _numbers(values: tuple[str, ...], name: str, path: Path) -> NDArray[np.float32]:
    try:
        return np.array(values, np.float32)[:, None]
    except ValueError as error:
        raise DataError(f"{path}: column {name}: {error}") from None


def _one_hot(values: tuple[str, ...], name: str, path: Path) -> NDArray[np.float32]:
    places = {value: place for place, value in enumerate(VOCABULARY[name])}
    unknown = set(values) - set(places)
    if unknown:
        raise DataError(f"{path}: column {name}: {min(unknown)!r} is not in the declared vocabulary")
    return np.eye(len(places), dtype=np.float32)[[places[value] for value in values]]


def _position(value: str, allowed: tuple[str, ...], path: Path, line: int) -> int:
    if value not in allowed:
        raise DataError(f"{path}: line {line}: label {value!r} is none of {', '.join(allowed)}")
    return allowed.index(value)
