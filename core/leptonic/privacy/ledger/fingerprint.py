"""Tells whether data are the same as before, to nobody but the node that keeps the key: HMAC-SHA256."""

import hashlib
import hmac
import secrets
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leptonic.errors import RunError
from leptonic.files import write_atomic

__all__ = ["fingerprint", "secret"]

_BYTES = 32


def secret(path: Path) -> bytes:
    """The key in this file, 32 bytes; drawn if there is none. Raises RunError for a file that is no such key."""
    if not path.exists():
        write_atomic(path, secrets.token_bytes(_BYTES), private=True)
    key = path.read_bytes()
    if len(key) != _BYTES:
        raise RunError(f"{path}: not the key of a ledger's fingerprints; remove it, and the data count as changed")
    return key


def fingerprint(key: bytes, *arrays: NDArray[Any]) -> str:
    """Over values, types and shapes of the arrays in order, hexadecimal."""
    digest = hmac.new(key, digestmod=hashlib.sha256)
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape};".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
