"""Atomic writes: old or new, whole, whatever stops them."""

import hashlib
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest

from leptonic.files import overwrite, write_atomic

CORE = Path(__file__).parents[2] / "core"


def run(code: str, *arguments: str) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "PYTHONPATH": str(CORE)}
    return subprocess.Popen([sys.executable, "-c", code, *arguments], env=environment, stdout=subprocess.PIPE)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("content", [b"", b"x", bytes(range(256)) * 4096])
def test_writes_and_replaces(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    write_atomic(path, content)
    assert path.read_bytes() == content
    write_atomic(path, content + b"new")
    assert path.read_bytes() == content + b"new"
    assert names(tmp_path) == ["file"]


def test_private_files_are_for_the_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    write_atomic(path, b"key", private=True)
    assert mode(path) == 0o600
    write_atomic(path, b"another", private=True)
    assert mode(path) == 0o600


def test_a_private_file_replaces_a_public_one_privately(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"public")
    path.chmod(0o666)
    write_atomic(path, b"key", private=True)
    assert mode(path) == 0o600


def test_a_private_file_is_never_public_on_its_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        seen.extend(mode(path) for path in tmp_path.iterdir())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    write_atomic(tmp_path / "secret", b"key", private=True)
    assert seen
    assert set(seen) == {0o600}


def test_the_file_and_then_its_folder_are_brought_to_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[bool, bool]] = []
    path = tmp_path / "file"
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: synced.append((stat.S_ISDIR(os.fstat(descriptor).st_mode), path.exists()))
    )
    write_atomic(path, b"content")
    assert synced == [(False, False), (True, True)]  # (a folder?, renamed already?)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), MemoryError()])
def test_an_exception_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def failing(descriptor: int) -> None:
        raise error

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(type(error)):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    """A real error of the kernel in the middle of the write: the process may write 1 MB, the content has 3."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    code = """
import resource, sys
from pathlib import Path
from leptonic.files import write_atomic
resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6))
try:
    write_atomic(Path(sys.argv[1]), bytes(3 * 10**6))
except OSError:
    sys.exit(41)
"""
    process = run(code, str(path))
    process.communicate()
    assert process.returncode == 41
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("length", [0, 5, 100])
def test_overwriting_keeps_the_place_and_nothing_of_the_content(
    tmp_path: Path, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int | str] = []

    def noted(descriptor: int) -> None:
        status = os.fstat(descriptor)
        synced.append("folder" if stat.S_ISDIR(status.st_mode) else status.st_size)

    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, noted, raising=False)
    path = tmp_path / "file"
    overwrite(path, b"x" * 50)
    assert synced == [50, "folder"]  # a new name must reach the disk as well
    place = path.stat().st_ino
    overwrite(path, b"y" * length)
    assert synced == [50, "folder", length]
    assert (path.read_bytes(), path.stat().st_ino) == (b"y" * length, place)
    assert names(tmp_path) == ["file"]


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_atomic(tmp_path / "missing" / "file", b"content")


def test_killed_at_any_instant_the_file_is_whole(tmp_path: Path) -> None:
    """Each content carries its own hash. The writer is killed 12 times, at random moments."""
    code = """
import hashlib, sys
from itertools import count
from pathlib import Path
from leptonic.files import write_atomic
for number in count():
    body = str(number).encode() * (20_000 * (1 + number % 5))
    write_atomic(Path(sys.argv[1]), hashlib.sha256(body).digest() + body)
    if number == 0:
        print("ready", flush=True)
"""
    path = tmp_path / "file"
    random = Random(7)
    for _ in range(12):
        process = run(code, str(path))
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(random.uniform(0.0, 0.03))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        content = path.read_bytes()
        assert hashlib.sha256(content[32:]).digest() == content[:32]
