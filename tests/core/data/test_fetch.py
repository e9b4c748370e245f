import gzip
import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from leptonic.data import catalogue, fetch
from leptonic.data.archives import DataFile
from leptonic.data.origins import DebianPackage, Folder, Origin, Report
from leptonic.errors import DataError

CONTENT = {"one": b"first file", "two": b"second file" * 1000}
FILES = tuple(DataFile(name, len(c), hashlib.sha256(c).hexdigest()) for name, c in CONTENT.items())

Enter = Callable[..., Path]


@dataclass
class FakeOrigin:
    """Delivers what it is told to."""

    content: dict[str, bytes] = field(default_factory=lambda: dict(CONTENT))
    failure: BaseException | None = None
    label: str = "fake place"
    calls: int = 0

    def deliver(self, files: Sequence[DataFile], folder: Path, _report: Report, /) -> list[Path]:
        self.calls += 1
        (folder / "half a download").write_bytes(b"...")
        if self.failure:
            raise self.failure
        for file in files:
            (folder / file.name).write_bytes(self.content[file.name])
        return [folder / file.name for file in files]


@pytest.fixture
def enter(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Enter:
    """Puts a data set ``tiny`` with these origins into the catalogue; returns its cache folder."""

    def put(*origins: Origin) -> Path:
        tiny = replace(catalogue.entry("digits"), name="tiny", files=FILES, origins=origins)
        monkeypatch.setattr(catalogue, "_ENTRIES", {"tiny": tiny})
        return cache / "tiny"

    return put


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_first_place_that_has_it_serves_and_a_second_fetch_does_nothing(enter: Enter) -> None:
    broken, good, unused = FakeOrigin(failure=DataError("closed today")), FakeOrigin(), FakeOrigin()
    folder = enter(broken, good, unused)
    lines: list[str] = []
    assert fetch.fetch("tiny", progress=lines.append) == folder
    assert content_of(folder) == CONTENT
    assert (broken.calls, good.calls, unused.calls) == (1, 1, 0)
    assert any("fake place" in line for line in lines)
    fetch.fetch("tiny")
    assert good.calls == 1


def test_every_place_says_why_it_failed(enter: Enter) -> None:
    folder = enter(
        Folder("/no/such/folder"),
        FakeOrigin(failure=DataError("closed today")),
        FakeOrigin(failure=OSError("disk full")),
    )
    with pytest.raises(DataError) as caught:
        fetch.fetch("tiny")
    message = str(caught.value)
    assert all(part in message for part in ("/no/such/folder", "closed today", "disk full", "one, two", str(folder)))
    assert content_of(folder) == {}


@pytest.mark.parametrize("bad", [b"second file" * 999, b"second file" * 1001, b"Second file" * 1000, b""])
def test_a_wrong_file_lets_nothing_appear(enter: Enter, bad: bytes) -> None:
    folder = enter(FakeOrigin(content={**CONTENT, "two": bad}))
    with pytest.raises(DataError, match=r"two .*\(SHA-256"):
        fetch.fetch("tiny")
    assert content_of(folder) == {}


def test_ctrl_c_leaves_nothing_behind(enter: Enter) -> None:
    folder = enter(FakeOrigin(failure=KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        fetch.fetch("tiny")
    assert content_of(folder) == {}


def test_a_damaged_file_is_found_and_fetched_again(enter: Enter) -> None:
    origin = FakeOrigin()
    folder = enter(origin)
    with pytest.raises(DataError, match="one is missing; run: leptonic data fetch tiny"):
        fetch.verify("tiny")
    fetch.fetch("tiny")
    assert fetch.verify("tiny") == folder
    (folder / "one").write_bytes(b"First file")
    with pytest.raises(DataError, match="one is not the published file"):
        fetch.verify("tiny")
    fetch.fetch("tiny")
    assert fetch.verify("tiny") == folder
    assert origin.calls == 2


def test_a_folder_on_the_machine_is_unpacked(enter: Enter, tmp_path: Path) -> None:
    for name, content in CONTENT.items():
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content))
    folder = enter(Folder(str(tmp_path), suffix=".gz"))
    fetch.fetch("tiny")
    assert content_of(folder) == CONTENT


def test_a_decompression_bomb_is_not_unpacked(enter: Enter, tmp_path: Path) -> None:
    for name in CONTENT:
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(bytes(5_000_000)))
    enter(Folder(str(tmp_path), suffix=".gz"))
    with pytest.raises(DataError, match="SHA-256"):
        fetch.fetch("tiny")


def test_a_cache_that_cannot_be_written_is_explained(
    enter: Enter, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    enter(FakeOrigin())
    monkeypatch.setenv("LEPTONIC_DATA", str(tmp_path / "file"))
    with pytest.raises(DataError, match="set LEPTONIC_DATA"):
        fetch.fetch("tiny")


def test_downloads_of_killed_processes_are_removed(enter: Enter) -> None:
    folder = enter(FakeOrigin())
    old, fresh = folder / ".partial-old", folder / ".partial-fresh"
    for left in (old, fresh):
        left.mkdir(parents=True)
    os.utime(old, (0, 0))
    fetch.fetch("tiny")
    assert not old.exists()
    assert fresh.exists()


def test_fetches_at_the_same_time_are_safe(enter: Enter) -> None:
    folder = enter(FakeOrigin())
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(fetch.fetch, ["tiny"] * 16)) == [folder] * 16
    assert content_of(folder) == CONTENT


def test_a_machine_without_the_programs_says_so(enter: Enter, monkeypatch: pytest.MonkeyPatch) -> None:
    enter(DebianPackage("anything", "./"))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DataError, match="apt-get is not installed"):
        fetch.fetch("tiny")
