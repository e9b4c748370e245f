"""The IDX format of MNIST and its kin, plain or gzip-compressed: a strict reader, and a writer.

A file is a magic number (two zero bytes, the type 0x08 for unsigned bytes, the number of dimensions), the
dimensions as big-endian 32-bit integers, and the bytes in row-major order.
Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits".
"""

import gzip
import io
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leptonic.errors import DataError
from leptonic.files import write_atomic

__all__ = ["read", "write"]

UNSIGNED_BYTE = 0x08
MOST_DIMENSIONS = 4
# DEFLATE can't expand by more than 1032 (zlib's technical notes): a longer claim is a lie.
MOST_EXPANSION = 1032
CHUNK = 1 << 20

ByteStream = gzip.GzipFile | io.BufferedReader


def read(path: Path, *, dimensions: int) -> NDArray[np.uint8]:
    """The array of an IDX file of unsigned bytes; a name that ends in ``.gz`` is decompressed.

    dimensions: 3 for images (n, height, width), 1 for labels (n,).
    Raises DataError, naming the file, unless type, dimensions and length are exactly as its header says.
    """
    try:
        size = path.stat().st_size
        if path.suffix == ".gz":
            with gzip.open(path, "rb") as packed:
                return _decode(packed, path, dimensions, most=size * MOST_EXPANSION)
        with path.open("rb") as plain:
            return _decode(plain, path, dimensions, most=size)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None


def write(path: Path, array: NDArray[np.uint8]) -> None:
    """Write an array of unsigned bytes; a name that ends in ``.gz`` is compressed. Same array, same bytes."""
    if array.dtype != np.uint8 or not 1 <= array.ndim <= MOST_DIMENSIONS:
        raise DataError(f"{path}: IDX is written from uint8 with 1 to {MOST_DIMENSIONS} dimensions")
    header = bytes((0, 0, UNSIGNED_BYTE, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    content = header + np.ascontiguousarray(array).tobytes()
    write_atomic(path, gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def _decode(stream: ByteStream, path: Path, dimensions: int, *, most: int) -> NDArray[np.uint8]:
    """most: an upper bound on the file's length, checked before memory is taken."""
    shape = _shape(stream, path, dimensions)
    count = math.prod(shape)
    if count > most:
        raise DataError(f"{path}: the header promises {count} bytes, the file cannot hold more than {most}")
    array = np.empty(count, np.uint8)
    filled = _fill(stream, array)
    if filled < count:
        raise DataError(f"{path}: ends after {filled} of the {count} bytes that its header promises")
    if stream.read(1):
        raise DataError(f"{path}: goes on after the {count} bytes that its header promises")
    return array.reshape(shape)


def _shape(stream: ByteStream, path: Path, dimensions: int) -> tuple[int, ...]:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise DataError(f"{path}: not an IDX file: it starts with {magic.hex(' ') or 'nothing'}, not with 00 00")
    if magic[2] != UNSIGNED_BYTE:
        raise DataError(f"{path}: IDX type 0x{magic[2]:02x}; only unsigned bytes (0x08) are read")
    if magic[3] != dimensions:
        raise DataError(f"{path}: {magic[3]} dimensions where {dimensions} are expected")
    header = stream.read(4 * dimensions)
    if len(header) < 4 * dimensions:
        raise DataError(f"{path}: ends inside its header")
    return struct.unpack(f">{dimensions}I", header)


def _fill(stream: ByteStream, array: NDArray[np.uint8]) -> int:
    """Read until the array is full or the stream ends; how many bytes were read."""
    view, filled = memoryview(array.data), 0
    while filled < len(view):
        got = stream.readinto(view[filled : filled + CHUNK])
        if not got:
            break
        filled += got
    return filled
