"""The canonical bytes of a message: one encoding for each value, and one value for each encoding.

A message is a frozen dataclass whose fields follow one another: integers as u64-LE, byte strings behind a u32-LE
length, lists behind a u32-LE count, messages as their own fields. Lists ascend by the id of their elements, and
name nobody twice. :func:`decoded` refuses everything else, whatever the bytes claim, before memory is taken for it.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Protocol, TypeVar, get_args, get_origin, get_type_hints

from leptonic.errors import DecodeError

__all__ = ["Digest", "Id", "Key", "Message", "Name", "Signature", "Size", "decoded", "encoded"]

_LENGTH, _INTEGER = struct.Struct("<I"), struct.Struct("<Q")


@dataclass(frozen=True)
class Size:
    """How many bytes a byte string may have. most: None for exactly ``least``."""

    least: int
    most: int | None = None


Id = Annotated[bytes, Size(1, 64)]
"""A client's name in the federation."""
Name = Annotated[bytes, Size(1, 64)]
"""The name of a federation or of a run."""
Digest = Annotated[bytes, Size(32)]
Key = Annotated[bytes, Size(32)]
Signature = Annotated[bytes, Size(64)]


class Message(Protocol):
    """A frozen dataclass of integers, sized byte strings, messages, and tuples of messages.

    TAG: separates what is hashed or signed here from everything else; only where a message is.
    """

    TAG: ClassVar[str]


MessageT = TypeVar("MessageT")
_Put = Callable[[Any, bytearray], None]
_Get = Callable[["_Reader"], Any]


def encoded(message: Any) -> bytes:
    """A message's bytes. Raises DecodeError where a field is not what it must be."""
    out = bytearray()
    _codec(type(message))[0](message, out)
    return bytes(out)


def decoded(kind: type[MessageT], content: bytes | memoryview) -> MessageT:
    """The message of these bytes. Raises DecodeError unless they are exactly what :func:`encoded` gives."""
    reader = _Reader(memoryview(content))
    message: MessageT = _codec(kind)[1](reader)
    if reader.left:
        raise DecodeError(f"{kind.__name__}: {reader.left} bytes are left over")
    return message


class _Reader:
    """Takes fields from the front of a message's bytes."""

    def __init__(self, content: memoryview) -> None:
        self._content, self._at = content, 0

    @property
    def left(self) -> int:
        """Bytes not read yet."""
        return len(self._content) - self._at

    def take(self, count: int, what: str) -> memoryview:
        """The next bytes."""
        if count > self.left:
            raise DecodeError(f"{what}: cut short, {count} bytes are announced and {self.left} are there")
        self._at += count
        return self._content[self._at - count : self._at]


_codecs: dict[type, tuple[_Put, _Get]] = {}


def _codec(kind: type) -> tuple[_Put, _Get]:
    """How a message of this kind is written and read; found once."""
    if kind not in _codecs:
        _codecs[kind] = _made(kind)
    return _codecs[kind]


def _made(kind: type) -> tuple[_Put, _Get]:
    hints = get_type_hints(kind, include_extras=True)
    parts = [(field.name, *_field(hints[field.name], f"{kind.__name__}.{field.name}")) for field in fields(kind)]

    def put(message: Any, out: bytearray) -> None:
        for name, write, _ in parts:
            write(getattr(message, name), out)

    def get(reader: _Reader) -> Any:
        return kind(*[read(reader) for _, _, read in parts])

    return put, get


def _field(hint: Any, what: str) -> tuple[_Put, _Get]:
    if hint is int:
        return _integer(what)
    if get_origin(hint) is Annotated and get_args(hint)[0] is bytes:
        return _string(get_args(hint)[1], what)
    if get_origin(hint) is tuple:
        return _list(get_args(hint)[0], what)
    return _codec(hint)


def _integer(what: str) -> tuple[_Put, _Get]:
    def put(value: int, out: bytearray) -> None:
        if not 0 <= value < 2**64:
            raise DecodeError(f"{what}: {value} is no integer of 64 bits")
        out += _INTEGER.pack(value)

    def get(reader: _Reader) -> int:
        value: int = _INTEGER.unpack(reader.take(8, what))[0]
        return value

    return put, get


def _string(size: Size, what: str) -> tuple[_Put, _Get]:
    least, most = size.least, size.least if size.most is None else size.most

    def check(length: int) -> None:
        if not least <= length <= most:
            raise DecodeError(f"{what}: {length} bytes, expected {least}" + (f" to {most}" if most != least else ""))

    def put(value: bytes, out: bytearray) -> None:
        check(len(value))
        out += _LENGTH.pack(len(value))
        out += value

    def get(reader: _Reader) -> bytes:
        (length,) = _LENGTH.unpack(reader.take(4, what))
        check(length)
        return bytes(reader.take(length, what))

    return put, get


def _list(kind: type, what: str) -> tuple[_Put, _Get]:
    write, read = _codec(kind)

    def check(elements: tuple[Any, ...]) -> None:
        ids = [element.client for element in elements]
        if any(before >= after for before, after in pairwise(ids)):
            raise DecodeError(f"{what}: not in ascending order, or somebody twice")

    def put(elements: tuple[Any, ...], out: bytearray) -> None:
        check(elements)
        out += _LENGTH.pack(len(elements))
        for element in elements:
            write(element, out)

    def get(reader: _Reader) -> tuple[Any, ...]:
        (count,) = _LENGTH.unpack(reader.take(4, what))
        if count > reader.left:  # each element takes a byte at least
            raise DecodeError(f"{what}: cut short, {count} elements are announced and {reader.left} bytes are there")
        elements = tuple([read(reader) for _ in range(count)])
        check(elements)
        return elements

    return put, get
