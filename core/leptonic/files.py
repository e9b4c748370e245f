"""Whole files or none: write to a neighbour, fsync, rename, fsync the folder; and files that are not relied on."""

import os
from pathlib import Path

__all__ = ["make_folder", "overwrite", "write_atomic"]


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
    _bring_to_disk(path.parent)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, where they are not there; their names are on disk when it returns."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        _bring_to_disk(path.parent)


def overwrite(path: Path, content: bytes, *, private: bool = False) -> None:
    """Write ``content`` where the file lies; after a crash it may hold anything. private: readable by its owner alone.

    For files that something else names, with their hash, once they are whole: a small file is written in a fraction of
    the time that it takes to claim a new one and free the old.
    """
    new = not path.exists()
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600 if private else 0o644), "wb") as stream:
        if private:
            os.fchmod(stream.fileno(), 0o600)
        stream.write(content)
        stream.flush()
        # Where nobody has set the size, and the time of the change may be lost, the file system's journal can wait.
        if os.fstat(stream.fileno()).st_size != len(content):
            stream.truncate()
        getattr(os, "fdatasync", os.fsync)(stream.fileno())
    if new:
        _bring_to_disk(path.parent)


def _bring_to_disk(folder: Path) -> None:
    """The names in a folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
