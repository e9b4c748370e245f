"""Shared memory: what one side writes the other reads, and nothing is left."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from leptonic.shared_memory import SharedBytes
from leptonic_simulations.processes.memory import SharedArray, attach, share

DESCRIPTORS = Path("/proc/self/fd")


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24, dtype=np.float32).reshape(2, 3, 4),
        np.arange(5, dtype=np.int64),
        np.zeros((0, 3), np.float32),
        np.float32(3.5).reshape(()),
        np.arange(12).reshape(3, 4).T,
    ],
    ids=["3d", "1d", "empty", "0d", "transposed"],
)
def test_an_attached_array_is_the_shared_one(array: NDArray[np.generic]) -> None:
    shared, memory = share(array)
    found = attach(SharedArray.model_validate_json(shared.model_dump_json()))
    assert found.dtype == array.dtype
    assert found.shape == array.shape
    assert np.array_equal(found, array)
    if array.size:
        found.reshape(-1)[0] = 7
        assert np.frombuffer(memory.view, array.dtype)[0] == 7
    memory.close()


def test_bytes_are_seen_by_both_and_outlive_the_descriptor() -> None:
    ours = SharedBytes(10)
    theirs = SharedBytes(10, ours.descriptor)
    ours.view[2:5] = b"abc"
    part = theirs.view[2:5]
    ours.close()
    assert bytes(part) == b"abc"
    assert len(theirs.view) == 10


@pytest.mark.skipif(not DESCRIPTORS.exists(), reason="counts descriptors in /proc")
def test_what_is_closed_leaves_no_descriptor() -> None:
    before = len(list(DESCRIPTORS.iterdir()))
    for _ in range(20):
        _, memory = share(np.zeros(1000))
        memory.close()
    assert len(list(DESCRIPTORS.iterdir())) == before
