"""Memory that this process and its workers share, by file descriptor: nameless, and gone with its last user."""

import mmap
import os
import tempfile
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

__all__ = ["SharedArray", "SharedBytes", "attach", "share"]


class SharedBytes:
    """So many bytes. view: all of them, writable. descriptor: of another process's memory, or None to make it."""

    def __init__(self, length: int, descriptor: int | None = None) -> None:
        self.length = length
        self.descriptor = _nameless() if descriptor is None else descriptor
        if descriptor is None:
            os.ftruncate(self.descriptor, max(1, length))
        self.view = memoryview(mmap.mmap(self.descriptor, max(1, length)))[:length]

    def close(self) -> None:
        """Give up descriptor and view; the memory goes when nobody looks at a part of it any more."""
        os.close(self.descriptor)
        self.view = memoryview(b"")


class SharedArray(BaseModel):
    """What a worker must know of a shared array."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    descriptor: int
    shape: list[int]
    dtype: str


def share(array: NDArray[np.generic]) -> tuple[SharedArray, SharedBytes]:
    """A copy of the array that workers can attach to."""
    memory = SharedBytes(array.nbytes)
    np.frombuffer(memory.view, array.dtype).reshape(array.shape)[...] = array
    return SharedArray(descriptor=memory.descriptor, shape=list(array.shape), dtype=array.dtype.str), memory


def attach(shared: SharedArray) -> NDArray[Any]:
    """The array of another process; as long as it lives, so does the memory."""
    dtype = np.dtype(shared.dtype)
    memory = SharedBytes(int(np.prod(shared.shape, dtype=np.int64)) * dtype.itemsize, shared.descriptor)
    return np.frombuffer(memory.view, dtype).reshape(shared.shape)


def _nameless() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("leptonic")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
