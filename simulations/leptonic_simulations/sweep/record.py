"""``sweep.json``: what a sweep's folder is about, fixed when it begins and compared whenever it continues."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from leptonic import __version__
from leptonic.errors import RunError
from leptonic.files import write_atomic
from leptonic_server.run_folder import locked

__all__ = ["Record", "open_sweep"]

_NAME, _LOCK = "sweep.json", "sweep.lock"


@dataclass(frozen=True)
class Record:
    """What makes two sweeps the same.

    kind: grid or search. axes: (key, values as text), in order. seeds: of each cell, empty for the file's own.
    metric: of a search, which it steers; a grid may be ranked by any. experiment: hash of the experiment with the
    first value of every axis, which stands for everything that is not swept.
    """

    kind: str
    axes: tuple[tuple[str, str], ...]
    seeds: tuple[int, ...]
    metric: str | None
    experiment: str

    @property
    def identity(self) -> str:
        """SHA-256 of the record, hexadecimal."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def differences(self, other: "Record") -> list[str]:
        """In words, what of this record is otherwise in ``other``."""
        names = [name for name in asdict(self) if getattr(self, name) != getattr(other, name)]
        if "axes" in names:
            # Their first values are part of the experiment that was hashed.
            names = [name for name in names if name != "experiment"]
        return [
            f"{name}: {_shown(name, getattr(self, name))} there, {_shown(name, getattr(other, name))} now"
            for name in names
        ]


@contextmanager
def open_sweep(record: Record, folder: Path) -> Iterator[None]:
    """Hold a sweep's folder, new or begun by the same sweep.

    Raises RunError when it holds another sweep or something else, or when another process works on it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{folder}: cannot be a sweep's folder: {error.strerror}") from None
    path = folder / _NAME
    if not path.exists() and any(not child.name.endswith((_LOCK, ".part")) for child in folder.iterdir()):
        raise RunError(f"{folder}: holds other files; choose a new folder with --sweep-dir")
    with locked(folder / _LOCK):
        if not path.exists():
            content = {"leptonic": __version__, **asdict(record)}
            write_atomic(path, (json.dumps(content, indent=2) + "\n").encode())
        elif differences := _read(path).differences(record):
            raise RunError(
                f"{folder}: holds another sweep:\n"
                + "".join(f"  {line}\n" for line in differences)
                + "put these back, or choose another folder with --sweep-dir"
            )
        yield


def _read(path: Path) -> Record:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        axes = tuple((str(key), str(text)) for key, text in content["axes"])
        seeds = tuple(int(seed) for seed in content["seeds"])
        return Record(content["kind"], axes, seeds, content["metric"], content["experiment"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RunError(f"{path}: not a sweep's record ({error!r}); restore it from a copy") from None


def _shown(name: str, value: Any) -> str:
    if name == "axes":
        return "  ".join(f"{key}={text}" for key, text in value)
    if name == "experiment":
        return f"hash {value[:16]}"
    return ", ".join(map(str, value)) or "the file's own" if isinstance(value, tuple) else str(value)
