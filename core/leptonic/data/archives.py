"""Read single files out of downloads: bounded in size, by content, never by a path that an archive names."""

import gzip
import hashlib
import tarfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from leptonic.errors import DataError

__all__ = ["DataFile", "save", "sha256_of", "untar", "unzip"]

SLACK = 1 << 16  # bytes; compressing a file makes it longer by less than this
CHUNK = 1 << 20


@dataclass(frozen=True)
class DataFile:
    """One file of a data set as it lies in the cache: uncompressed, with its length in bytes."""

    name: str
    size: int
    sha256: str


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, decompressed if its name ends in ``.gz``; hexadecimal. Raises OSError."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def untar(archive: Path, prefix: str, suffix: str, files: Sequence[DataFile], folder: Path) -> list[Path]:
    """Copy members by content, never by their own path, so that no archive can write elsewhere."""
    paths = [folder / f"{file.name}{suffix}" for file in files]
    try:
        with tarfile.open(archive) as content:
            for file, path in zip(files, paths, strict=True):
                member = content.extractfile(f"{prefix}{file.name}{suffix}")
                if member is None:
                    raise DataError(f"{archive.name}: {prefix}{file.name}{suffix} is not a plain file")
                save(_chunks(member), path, file)
    except (tarfile.TarError, KeyError, EOFError) as error:
        raise DataError(f"{archive.name}: {error}") from None
    return paths


def unzip(archive: Path, prefix: str, suffix: str, files: Sequence[DataFile], folder: Path) -> list[Path]:
    """The same for a zip file."""
    paths = [folder / f"{file.name}{suffix}" for file in files]
    try:
        with zipfile.ZipFile(archive) as content:
            for file, path in zip(files, paths, strict=True):
                with content.open(f"{prefix}{file.name}{suffix}") as member:
                    save(_chunks(member), path, file)
    except (zipfile.BadZipFile, KeyError, EOFError) as error:
        raise DataError(f"{archive.name}: {error}") from None
    return paths


def save(chunks: Iterable[bytes], path: Path, file: DataFile) -> None:
    """Write a download of ``file``, packed or not. Raises DataError where it is longer than it can be."""
    left = file.size + SLACK
    with path.open("wb") as stream:
        for chunk in chunks:
            left -= len(chunk)
            if left < 0:
                raise DataError(f"{path.name} is longer than the {file.size} bytes it should have")
            stream.write(chunk)


def _chunks(stream: IO[bytes]) -> Iterator[bytes]:
    while chunk := stream.read(CHUNK):
        yield chunk
