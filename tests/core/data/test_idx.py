import gzip
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from leptonic.data import idx
from leptonic.errors import DataError

LABELS = bytes.fromhex("00000801 00000003 07 00 ff")
IMAGES = bytes.fromhex("00000803 00000002 00000001 00000003 010203 040506")


def written(folder: Path, content: bytes, name: str = "file") -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(content, mtime=0) if name.endswith(".gz") else content)
    return path


@pytest.mark.parametrize("name", ["file", "file.gz"])
def test_reads_bytes_made_by_hand(tmp_path: Path, name: str) -> None:
    assert idx.read(written(tmp_path, LABELS, name), dimensions=1).tolist() == [7, 0, 255]
    images = idx.read(written(tmp_path, IMAGES, name), dimensions=3)
    assert images.tolist() == [[[1, 2, 3]], [[4, 5, 6]]]
    assert images.dtype == np.uint8


@pytest.mark.parametrize("name", ["file", "file.gz"])
@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "not an IDX file"),
        (b"\0\0\x08", "not an IDX file"),
        (b"\x01" + LABELS[1:], "not an IDX file"),
        (bytes.fromhex("00000d01 00000001 00000000"), "type 0x0d"),
        (IMAGES, "3 dimensions where 1"),
        (LABELS[:6], "ends inside its header"),
        (LABELS[:-1], "promises"),
        (LABELS + b"\0", "goes on after the 3 bytes|promises"),
        (bytes.fromhex("00000801 ffffffff 00"), "cannot hold more"),
    ],
)
def test_refuses_everything_else_by_name(tmp_path: Path, name: str, content: bytes, complaint: str) -> None:
    path = written(tmp_path, content, name)
    with pytest.raises(DataError, match=complaint) as caught:
        idx.read(path, dimensions=1)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "content", [gzip.compress(LABELS, mtime=0)[:-6], b"not gzip at all", gzip.compress(LABELS, mtime=0)[:14] + bytes(9)]
)
def test_damaged_gzip_is_a_data_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file.gz").write_bytes(content)
    with pytest.raises(DataError, match=r"file\.gz"):
        idx.read(tmp_path / "file.gz", dimensions=1)


def test_missing_file_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="absent"):
        idx.read(tmp_path / "absent", dimensions=1)


def test_a_lying_header_takes_no_memory(tmp_path: Path) -> None:
    header = bytes.fromhex("00000803") + struct.pack(">3I", 60_000, 2_000, 2_000)
    path = written(tmp_path, header, "file.gz")
    tracemalloc.start()
    with pytest.raises(DataError, match="cannot hold more"):
        idx.read(path, dimensions=3)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    array=npst.arrays(np.uint8, npst.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=6)),
    name=st.sampled_from(["a", "a.gz"]),
)
def test_written_arrays_come_back(tmp_path: Path, array: np.ndarray, name: str) -> None:
    idx.write(tmp_path / name, array)
    first = (tmp_path / name).read_bytes()
    again = idx.read(tmp_path / name, dimensions=array.ndim)
    assert again.shape == array.shape
    assert np.array_equal(again, array)
    idx.write(tmp_path / name, array)
    assert (tmp_path / name).read_bytes() == first


def test_writer_refuses_other_types(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="uint8"):
        idx.write(tmp_path / "a", np.zeros(3, np.int32))
