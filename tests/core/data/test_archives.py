import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from leptonic.data.archives import DataFile, save, sha256_of, untar, unzip
from leptonic.errors import DataError

WANTED = DataFile("a.bin", 3, "")

Make = Callable[[Path, dict[str, bytes]], Path]
Read = Callable[[Path, str, str, list[DataFile], Path], list[Path]]


def tarball(folder: Path, members: dict[str, bytes], links: dict[str, str] | None = None) -> Path:
    path = folder / "x.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    return path


def zipball(folder: Path, members: dict[str, bytes]) -> Path:
    path = folder / "x.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize(("make", "read"), [(tarball, untar), (zipball, unzip)])
def test_only_the_wanted_member_appears(tmp_path: Path, make: Make, read: Read) -> None:
    archive = make(tmp_path, {"p/a.bin": b"abc", "../evil": b"!", "/abs": b"!", "p/setup.py": b"boom"})
    out = tmp_path / "deep" / "out"
    out.mkdir(parents=True)
    (path,) = read(archive, "p/", "", [WANTED], out)
    assert path.read_bytes() == b"abc"
    assert [p.name for p in out.iterdir()] == ["a.bin"]
    assert {p.name for p in tmp_path.rglob("*")} == {archive.name, "deep", "out", "a.bin"}


@pytest.mark.parametrize(("make", "read"), [(tarball, untar), (zipball, unzip)])
def test_missing_and_oversized_members_are_refused(tmp_path: Path, make: Make, read: Read) -> None:
    with pytest.raises(DataError, match=r"a\.bin"):
        read(make(tmp_path, {"p/b.bin": b"abc"}), "p/", "", [WANTED], tmp_path)
    with pytest.raises(DataError, match="longer"):
        read(make(tmp_path, {"p/a.bin": bytes(1 << 20)}), "p/", "", [WANTED], tmp_path)


def test_links_out_of_the_archive_are_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    archive = tarball(tmp_path, {}, {"p/a.bin": str(tmp_path / "secret")})
    with pytest.raises(DataError):
        untar(archive, "p/", "", [WANTED], tmp_path)


@pytest.mark.parametrize("read", [untar, unzip])
def test_what_is_no_archive_is_a_data_error(tmp_path: Path, read: Read) -> None:
    (tmp_path / "x").write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match="x: "):
        read(tmp_path / "x", "", "", [WANTED], tmp_path)


def test_save_stops_at_the_bound(tmp_path: Path) -> None:
    endless = iter(lambda: bytes(1 << 16), None)
    with pytest.raises(DataError, match="longer"):
        save(endless, tmp_path / "a", WANTED)
    assert (tmp_path / "a").stat().st_size < 1 << 18


def test_sha256_is_of_the_unpacked_content(tmp_path: Path) -> None:
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-4, example 1
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"abc"))
    assert sha256_of(tmp_path / "a") == sha256_of(tmp_path / "a.gz") == abc
