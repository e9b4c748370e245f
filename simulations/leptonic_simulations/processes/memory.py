"""Arrays that this process and its workers share."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from leptonic.shared_memory import SharedBytes

__all__ = ["SharedArray", "attach", "share"]


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
