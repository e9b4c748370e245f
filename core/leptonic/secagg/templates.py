"""Short messages written in one go: their bytes are laid out by the lengths of their strings alone.

A message whose lengths were met before is written by a template that fits them. Any other is left to the codec that
goes field by field, with all of its checks.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import fields
from operator import attrgetter
from typing import Any, get_type_hints

__all__ = ["quick"]

MOST_TEMPLATES = 2**8
"""Templates of a kind that are remembered."""

_LENGTH, _INTEGER = struct.Struct("<I"), struct.Struct("<Q")


def quick(kind: type, write: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    """Writes as ``write`` does, which it asks once for each combination of lengths. kind: without lists."""
    leaves = list(_leaves(kind))
    integers = [index for index, (_, is_integer) in enumerate(leaves) if is_integer]
    paths = [path for path, _ in leaves]
    # With one path, the getter would give the value instead of a tuple.
    values_of = attrgetter(*paths) if len(paths) > 1 else lambda message: (getattr(message, paths[0]),)
    templates: dict[tuple[int, ...], bytes] = {}

    def put(message: Any) -> bytes:
        values = list(values_of(message))
        try:
            for index in integers:
                values[index] = _INTEGER.pack(values[index])
        except struct.error:
            return write(message)
        lengths = tuple(map(len, values))
        if (template := templates.get(lengths)) is not None:
            return template % tuple(values)
        content = write(message)
        if len(templates) >= MOST_TEMPLATES:
            templates.clear()
        templates[lengths] = b"".join(
            b"%b" if index in integers else _LENGTH.pack(length).replace(b"%", b"%%") + b"%b"
            for index, length in enumerate(lengths)
        )
        return content

    return put


def _leaves(kind: type, prefix: str = "") -> Iterator[tuple[str, bool]]:
    """Where each value is found in a message, in order, and whether it is an integer."""
    hints = get_type_hints(kind)
    for field in fields(kind):
        hint, path = hints[field.name], prefix + field.name
        if hint in (int, bytes):
            yield path, hint is int
        else:
            yield from _leaves(hint, f"{path}.")
