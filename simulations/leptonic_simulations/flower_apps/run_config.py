"""A Flower app's run configuration: what its pyproject declares, under what the command line overrides.

Same syntax and same flat keys as Flower's own ``--run-config``, but text that is no ``key=value``, and keys that the
app does not declare, are refused instead of passed over.
"""

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from leptonic.errors import ExperimentError

__all__ = ["RunConfig", "Value", "flattened", "overridden", "parsed"]

Value = bool | int | float | str
RunConfig = dict[str, Value]

_PAIR = re.compile(r"(\S+?)=('[^']*'|\"[^\"]*\"|\S+)")


def flattened(tables: Mapping[str, Any], *, where: str, prefix: str = "") -> RunConfig:
    """Nested tables as one level of dotted keys. Raises ExperimentError on a value that Flower does not allow."""
    flat: RunConfig = {}
    for key, value in tables.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            flat |= flattened(value, where=where, prefix=f"{name}.")
        elif isinstance(value, Value):
            flat[name] = value
        else:
            raise ExperimentError(
                f"{where}: {name} = {value!r} is of type {type(value).__name__}; "
                "a run configuration holds integers, floats, booleans, strings and tables of these"
            )
    return flat


def parsed(texts: Iterable[str]) -> RunConfig:
    """Each text is ``key=value key2="value 2" ...`` with TOML values, or the name of a TOML file."""
    config: RunConfig = {}
    for text in texts:
        config |= _file(Path(text)) if text.endswith(".toml") and "=" not in text else _pairs(text)
    return config


def overridden(declared: RunConfig, overrides: RunConfig, *, where: str) -> RunConfig:
    """The declared values under the overrides. Raises ExperimentError on a key that is not declared."""
    for key in overrides:
        if key not in declared:
            near = difflib.get_close_matches(key, declared, n=1, cutoff=0.5)
            meant = f" (did you mean {near[0]}?)" if near else ""
            raise ExperimentError(
                f"--run-config {key}: {where} declares no such key{meant}; "
                f"it declares {', '.join(sorted(declared)) or 'none'}"
            )
    return declared | overrides


def _pairs(text: str) -> RunConfig:
    left_over = _PAIR.sub("", text).strip()
    if left_over:
        raise ExperimentError(f"--run-config {text!r}: {left_over!r} is not key=value; separate pairs by spaces")
    lines = "\n".join(f"{key} = {value}" for key, value in _PAIR.findall(text))
    try:
        tables = tomllib.loads(lines)
    except tomllib.TOMLDecodeError as error:
        raise ExperimentError(
            f"--run-config {text!r} does not read as TOML ({error}); "
            "write key1=123 key2=0.5 key3=true key4=\"text\", and put the whole in '...' for the shell"
        ) from error
    return flattened(tables, where=f"--run-config {text!r}")


def _file(path: Path) -> RunConfig:
    try:
        return flattened(tomllib.loads(path.expanduser().read_text(encoding="utf-8")), where=str(path))
    except OSError as error:
        raise ExperimentError(f"--run-config {path}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ExperimentError(f"--run-config {path} does not read as TOML: {error}") from error
