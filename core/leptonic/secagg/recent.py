"""Lists that were written or read last, with their bytes: everybody is sent the same names, and hashes them.

And elements of lists that were read, for what somebody has signed comes to each of its neighbours among others. A list
is known by its identity, for nobody can change it, and bytes by what they are. What holds secrets is not to be
remembered.
"""

from collections.abc import Callable
from typing import Any

__all__ = ["recalled", "remembered"]

RECENT = 4
"""Lists of one field that are remembered."""
MOST_ELEMENTS = 2**12
"""Elements of one field's lists that are remembered."""

Elements = tuple[Any, ...]
Put = Callable[[Elements], bytes]
Get = Callable[[bytes, int], tuple[Elements, int]]
GetOne = Callable[[bytes, int], tuple[Any, int]]


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


def recalled(get: GetOne) -> GetOne:
    """The reader of an element, asked once for those that come again."""
    known: dict[bytes, Any] = {}
    length = 0

    def read(content: bytes, at: int) -> tuple[Any, int]:
        nonlocal length
        # Elements are mostly as long as the last one; of another length, none begins with the same bytes.
        piece = content[at : at + length]
        if (element := known.get(piece)) is not None:
            return element, at + len(piece)
        element, end = get(content, at)
        if len(known) >= MOST_ELEMENTS:
            known.clear()
        known[content[at:end]], length = element, end - at
        return element, end

    return read
