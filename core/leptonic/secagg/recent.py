"""Lists that were written or read last, with their bytes: everybody is sent the same names, and hashes them.

A list is known by its identity, for nobody can change it, and bytes by what they are. What holds secrets is not to be
remembered.
"""

from collections.abc import Callable
from typing import Any

__all__ = ["remembered"]

RECENT = 4
"""Lists of one field that are remembered."""

Elements = tuple[Any, ...]
Put = Callable[[Elements], bytes]
Get = Callable[[bytes, int], tuple[Elements, int]]


def remembered(put: Put, get: Get) -> tuple[Put, Get]:
    """The codec of a list, asked once for those that come again."""
    kept: tuple[tuple[Elements, bytes], ...] = ()

    def keep(elements: Elements, content: bytes) -> None:
        nonlocal kept
        if elements:
            kept = ((elements, content), *kept[: RECENT - 1])

    def written(elements: Elements) -> bytes:
        for known, content in kept:
            if known is elements:
                return content
        content = put(elements)
        keep(elements, content)
        return content

    def read(content: bytes, at: int) -> tuple[Elements, int]:
        for elements, known in kept:
            # No other list begins with the same bytes.
            if content.startswith(known, at):
                return elements, at + len(known)
        elements, end = get(content, at)
        keep(elements, content[at:end])
        return elements, end

    return written, read
