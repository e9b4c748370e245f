"""Gets a catalogue data set into the cache folder, from the first place that has it.

Whatever the place, a file counts only if its length and SHA-256 are those written in the catalogue, and it
appears in the cache whole or not at all. Fetches at the same time, or stopped half-way, do no harm.
"""

import gzip
import hashlib
import shutil
import tempfile
import time
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from leptonic.data import catalogue
from leptonic.data.archives import DataFile, sha256_of
from leptonic.data.origins import Origin, Report
from leptonic.errors import DataError
from leptonic.files import write_atomic

__all__ = ["fetch", "verify"]

PARTIAL = ".partial-"
STALE = 86_400.0  # seconds after which a download folder can't belong to a fetch that still runs


def fetch(name: str, *, progress: Report | None = None) -> Path:
    """Make sure that the cache holds the data set; returns its folder.

    progress: called with one line of text for each step. Files that are there and intact stay as they are.
    Raises DataError with the reason of every place that failed.
    """
    chosen, report = catalogue.entry(name), progress or _silent
    folder = catalogue.cache_folder() / name
    wanted = [file for file in chosen.files if not _intact(folder / file.name, file)]
    if not wanted:
        report(f"{name}: already complete")
        return folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_stale(folder)
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror}; set LEPTONIC_DATA to a folder you may write to") from None
    failures = []
    for origin in chosen.origins:
        report(f"{name}: trying {origin.label}")
        try:
            _take(origin, wanted, folder, report)
        except (DataError, OSError) as error:
            failures.append(f"  {origin.label}: {error}")
        else:
            return folder
    files = ", ".join(file.name for file in wanted)
    raise DataError("\n".join([f"{name}: no source answered:", *failures, f"or put {files} into {folder} yourself"]))


def verify(name: str) -> Path:
    """Hash every file of a fetched data set again; returns its folder.

    Raises DataError naming the first file that is missing or not as published.
    """
    chosen = catalogue.entry(name)
    folder = catalogue.cache_folder() / name
    for file in chosen.files:
        path = folder / file.name
        if not path.is_file():
            raise DataError(f"{path} is missing; run: leptonic data fetch {name}")
        if not _intact(path, file):
            raise DataError(f"{path} is not the published file (SHA-256 differs); run: leptonic data fetch {name}")
    return folder


def _take(origin: Origin, files: Sequence[DataFile], folder: Path, report: Report) -> None:
    """Download beside the cached files, check everything, and only then let any file appear."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=PARTIAL) as download:
        paths = origin.deliver(files, Path(download), report)
        report("checking SHA-256")
        contents = [_content(path, file) for path, file in zip(paths, files, strict=True)]
        for file, content in zip(files, contents, strict=True):
            # Written in our own folder: another process, even one with our id elsewhere, can't meet us there.
            checked = Path(download) / f"{file.name}.checked"
            write_atomic(checked, content)
            checked.replace(folder / file.name)


def _content(path: Path, file: DataFile) -> bytes:
    """The file's content, uncompressed; at most one byte more than it should have is ever read."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            content = stream.read(file.size + 1)
    except (EOFError, zlib.error) as error:
        raise DataError(f"{path.name}: {error}") from None
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise DataError(f"{path.name} is not the published file (SHA-256 differs)")
    return content


def _intact(path: Path, file: DataFile) -> bool:
    try:
        return path.stat().st_size == file.size and sha256_of(path) == file.sha256
    except OSError:
        return False


def _remove_stale(folder: Path) -> None:
    """Downloads that a killed process left behind."""
    for left in folder.glob(f"{PARTIAL}*"):
        with suppress(FileNotFoundError):  # its own process has just removed it
            if time.time() - left.stat().st_mtime > STALE:
                shutil.rmtree(left, ignore_errors=True)


def _silent(_line: str) -> None:
    pass
