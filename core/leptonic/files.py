"""Whole files or none: write to a neighbour, fsync, rename, fsync the folder."""

import os
from contextlib import suppress
from pathlib import Path

__all__ = ["write_atomic"]


def write_atomic(path: Path, content: bytes, *, private: bool = False, spare: Path | None = None) -> None:
    """Replace ``path`` by ``content``; after a crash either the old or the new file is there, whole.

    private: readable by the owner alone. spare: a file that nobody needs any more, if it is there, on whose place
    on the disk the content is written: to free a small file takes many times as long as to write it.
    """
    neighbour = path.with_name(f".{path.name}.{os.getpid()}.part")
    if spare is not None:
        with suppress(FileNotFoundError):
            spare.replace(neighbour)
    descriptor = os.open(neighbour, os.O_WRONLY | os.O_CREAT, 0o600 if private else 0o644)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.truncate()
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
