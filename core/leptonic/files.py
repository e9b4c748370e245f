"""Whole files or none: write to a neighbour, fsync, rename, fsync the folder."""

import os
from pathlib import Path

__all__ = ["write_atomic"]


def write_atomic(path: Path, content: bytes, *, private: bool = False) -> None:
    """Replace ``path`` by ``content``; after a crash either the old or the new file is there, whole.

    private: readable by the owner alone.
    """
    neighbour = path.with_name(f".{path.name}.{os.getpid()}.part")
    descriptor = os.open(neighbour, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600 if private else 0o644)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        neighbour.replace(path)
    except BaseException:
        neighbour.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
