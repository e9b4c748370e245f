"""Memory that this process and its workers share, by file descriptor: nameless, and gone with its last user."""

import mmap
import os
import tempfile

__all__ = ["SharedBytes"]


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


def _nameless() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("leptonic")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
