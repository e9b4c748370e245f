"""The canonical bytes of a message: one encoding for each value, and one value for each encoding.

A message is a frozen dataclass whose fields follow one another: integers as u64-LE, byte strings behind a u32-LE
length, lists behind a u32-LE count, messages as their own fields. Lists ascend by the id of their elements, and
name nobody twice. :func:`decoded` refuses everything else, whatever the bytes claim, before memory is taken for it.
"""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from itertools import pairwise
from operator import attrgetter
from typing import Annotated, Any, ClassVar, Protocol, TypeVar, get_args, get_origin, get_type_hints

from leptonic.errors import DecodeError
from leptonic.secagg.recent import recalled, remembered
from leptonic.secagg.templates import quick

__all__ = ["Digest", "Id", "Key", "Message", "Name", "Signature", "Size", "decoded", "encoded"]

SHORT = 128
"""Bytes of a string in a message that is written in one go."""

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

    def __hash__(self) -> int:
        """As a frozen dataclass has it."""
        ...


MessageT = TypeVar("MessageT")
_Put = Callable[[Any], bytes]
_Get = Callable[[bytes, int], tuple[Any, int]]
"""(content, position): the value there, and where it ends."""


def encoded(message: Any) -> bytes:
    """A message's bytes. Raises DecodeError where a field is not what it must be."""
    return _codec(type(message))[0](message)


def decoded(kind: type[MessageT], content: bytes | memoryview) -> MessageT:
    """The message of these bytes. Raises DecodeError unless they are exactly what :func:`encoded` gives."""
    whole = bytes(content)
    message, end = _codec(kind)[1](whole, 0)
    if end != len(whole):
        raise DecodeError(f"{kind.__name__}: {len(whole) - end} bytes are left over")
    return message  # type: ignore[no-any-return]


_codecs: dict[type, tuple[_Put, _Get]] = {}


def _codec(kind: type) -> tuple[_Put, _Get]:
    """How a message of this kind is written and read; found once."""
    if kind not in _codecs:
        _codecs[kind] = _made(kind)
    return _codecs[kind]


def _made(kind: type) -> tuple[_Put, _Get]:
    hints = get_type_hints(kind, include_extras=True)
    names = [field.name for field in fields(kind)]
    codecs = [_field(hints[name], f"{kind.__name__}.{name}") for name in names]
    writers, readers = [write for write, _ in codecs], [read for _, read in codecs]
    # With one name, the getter would give the value instead of a tuple.
    values_of = attrgetter(*names) if len(names) > 1 else lambda message: (getattr(message, names[0]),)

    def put(message: Any) -> bytes:
        return b"".join([write(value) for write, value in zip(writers, values_of(message), strict=True)])

    def get(content: bytes, at: int) -> tuple[Any, int]:
        values = []
        for read in readers:
            value, at = read(content, at)
            values.append(value)
        return kind(*values), at

    return (quick(kind, put) if _is_short(kind) else put), get


def _is_short(kind: type) -> bool:
    """Whether its messages are integers and short strings alone, at whatever depth."""
    hints = get_type_hints(kind, include_extras=True)
    inner = [hints[field.name] for field in fields(kind)]
    strings = [get_args(hint)[1] for hint in inner if get_origin(hint) is Annotated]
    return (
        all(max(size.least, size.most or 0) <= SHORT for size in strings)
        and not any(get_origin(hint) is tuple for hint in inner)
        and all(_is_short(hint) for hint in inner if isinstance(hint, type) and is_dataclass(hint))
    )


def _field(hint: Any, what: str) -> tuple[_Put, _Get]:
    if hint is int:
        return _integer(what)
    if get_origin(hint) is Annotated and get_args(hint)[0] is bytes:
        return _string(get_args(hint)[1], what)
    if get_origin(hint) is tuple:
        return _list(get_args(hint)[0], what)
    return _codec(hint)


def _integer(what: str) -> tuple[_Put, _Get]:
    def put(value: int) -> bytes:
        if not 0 <= value < 2**64:
            raise DecodeError(f"{what}: {value} is no integer of 64 bits")
        return _INTEGER.pack(value)

    def get(content: bytes, at: int) -> tuple[int, int]:
        if at + 8 > len(content):
            raise _cut_short(what, 8, len(content) - at)
        return _INTEGER.unpack_from(content, at)[0], at + 8

    return put, get


def _string(size: Size, what: str) -> tuple[_Put, _Get]:
    least, most = size.least, size.least if size.most is None else size.most
    allowed = f"{least}" + (f" to {most}" if most != least else "")

    def put(value: bytes) -> bytes:
        length = len(value)
        if not least <= length <= most:
            raise DecodeError(f"{what}: {length} bytes, expected {allowed}")
        return _LENGTH.pack(length) + value

    def get(content: bytes, at: int) -> tuple[bytes, int]:
        start = at + 4
        if start > len(content):
            raise _cut_short(what, 4, len(content) - at)
        (length,) = _LENGTH.unpack_from(content, at)
        if not least <= length <= most:
            raise DecodeError(f"{what}: {length} bytes, expected {allowed}")
        end = start + length
        if end > len(content):
            raise _cut_short(what, length, len(content) - start)
        return content[start:end], end

    return put, get


def _list(kind: type, what: str) -> tuple[_Put, _Get]:
    write, read = _codec(kind)
    public = all(field.repr for field in fields(kind))  # what is not to be printed is a secret
    if public:
        read = recalled(read)

    def check(elements: Sequence[Any]) -> None:
        ids = [element.client for element in elements]
        if any(before >= after for before, after in pairwise(ids)):
            raise DecodeError(f"{what}: not in ascending order, or somebody twice")

    def put(elements: tuple[Any, ...]) -> bytes:
        check(elements)
        return _LENGTH.pack(len(elements)) + b"".join([write(element) for element in elements])

    def get(content: bytes, at: int) -> tuple[tuple[Any, ...], int]:
        if at + 4 > len(content):
            raise _cut_short(what, 4, len(content) - at)
        (count,), at = _LENGTH.unpack_from(content, at), at + 4
        if count > len(content) - at:  # each element takes a byte at least
            raise _cut_short(what, count, len(content) - at)
        elements = []
        for _ in range(count):
            element, at = read(content, at)
            elements.append(element)
        check(elements)
        return tuple(elements), at

    return remembered(put, get) if public else (put, get)


def _cut_short(what: str, announced: int, left: int) -> DecodeError:
    return DecodeError(f"{what}: cut short, {announced} are announced and {left} bytes are there")
