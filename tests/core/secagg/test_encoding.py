"""Encodings: one for each message and one message for each, and nothing else is read."""

import struct
import tracemalloc
from dataclasses import fields, replace
from functools import cache
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leptonic.errors import DecodeError
from leptonic.secagg import messages
from leptonic.secagg.encoding import decoded, encoded
from leptonic.secagg.messages import Boxes, CohortList, Named, SessionSettings, Train
from leptonic.secagg.roster import RosterContent, RosterEntry, SignedRoster
from leptonic.secagg.sealing import Box

KINDS: list[type] = [*(getattr(messages, name) for name in messages.__all__)]
KINDS += [RosterEntry, RosterContent, SignedRoster, Box]
INTEGERS = st.integers(0, 2**64 - 1)


def hints_of(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in fields(kind)}


LISTS = [(kind, name) for kind in KINDS for name, hint in hints_of(kind).items() if get_origin(hint) is tuple]
STRINGS = [(kind, name) for kind in KINDS for name, hint in hints_of(kind).items() if get_origin(hint) is Annotated]


@cache
def instances(kind: type) -> st.SearchStrategy[Any]:
    return st.builds(kind, **{name: values(hint) for name, hint in hints_of(kind).items()})


def values(hint: Any) -> st.SearchStrategy[Any]:
    if hint is int:
        return INTEGERS
    if hint == messages.Optional32:
        return st.just(b"") | st.binary(min_size=32, max_size=32)
    if get_origin(hint) is Annotated:
        size = get_args(hint)[1]
        return st.binary(min_size=size.least, max_size=min(size.most or size.least, 100))
    return elements(get_args(hint)[0]) if get_origin(hint) is tuple else instances(hint)


def elements(kind: type, least: int = 0) -> st.SearchStrategy[tuple[Any, ...]]:
    lists = st.lists(instances(kind), min_size=least, max_size=3, unique_by=lambda element: element.client)
    return lists.map(lambda drawn: tuple(sorted(drawn, key=lambda element: element.client)))


def name_of(case: Any) -> str:
    return case if isinstance(case, str) else case.__name__


def string(length: int) -> bytes:
    return struct.pack("<I", length) + bytes(length)


each_kind = pytest.mark.parametrize("kind", KINDS, ids=name_of)


def test_every_message_is_among_those_tested_here() -> None:
    made_here = {kind for kind in vars(messages).values() if getattr(kind, "__module__", "") == messages.__name__}
    assert {kind for kind in made_here if isinstance(kind, type)} <= set(KINDS)


@each_kind
@given(data=st.data())
@settings(max_examples=25)
def test_a_message_comes_back(kind: type, data: st.DataObject) -> None:
    message = data.draw(instances(kind))
    content = encoded(message)
    assert decoded(kind, content) == decoded(kind, memoryview(content)) == message


@each_kind
@given(data=st.data())
@settings(max_examples=3)
def test_a_message_cut_short_anywhere_is_refused(kind: type, data: st.DataObject) -> None:
    content = encoded(data.draw(instances(kind)))
    for length in range(len(content)):
        with pytest.raises(DecodeError):
            decoded(kind, content[:length])


@each_kind
@given(data=st.data())
@settings(max_examples=25)
def test_changed_bytes_are_refused_or_are_the_only_encoding_of_another_message(kind: type, data: st.DataObject) -> None:
    content = bytearray(encoded(data.draw(instances(kind))))
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        message = decoded(kind, content)
    except DecodeError:
        return
    assert encoded(message) == content


@each_kind
@given(data=st.data(), more=st.binary(min_size=1, max_size=9))
@settings(max_examples=5)
def test_trailing_bytes_are_refused(kind: type, data: st.DataObject, more: bytes) -> None:
    with pytest.raises(DecodeError, match=f"{kind.__name__}: {len(more)} bytes are left over"):
        decoded(kind, encoded(data.draw(instances(kind))) + more)


@pytest.mark.parametrize(("kind", "name"), LISTS, ids=name_of)
@given(data=st.data())
@settings(max_examples=5)
def test_lists_out_of_order_or_with_somebody_twice_are_refused(kind: type, name: str, data: st.DataObject) -> None:
    inner = get_args(hints_of(kind)[name])[0]
    first, second = data.draw(elements(inner, least=2))[:2]
    content = encoded(replace(data.draw(instances(kind)), **{name: (first, second)}))
    right = encoded(first) + encoded(second)
    for wrong in ((second, first), (first, first)):
        with pytest.raises(DecodeError, match="ascending order"):
            encoded(replace(data.draw(instances(kind)), **{name: wrong}))
        with pytest.raises(DecodeError, match="ascending order"):
            decoded(kind, content.replace(right, encoded(wrong[0]) + encoded(wrong[1])))


@pytest.mark.parametrize(("kind", "name"), STRINGS, ids=name_of)
@given(data=st.data())
@settings(max_examples=3)
def test_byte_strings_of_a_wrong_size_are_not_written(kind: type, name: str, data: st.DataObject) -> None:
    size = get_args(hints_of(kind)[name])[1]
    message = data.draw(instances(kind))
    for length in {max(size.least - 1, 0), (size.most or size.least) + 1} - {size.least}:
        with pytest.raises(DecodeError, match=rf"{kind.__name__}\.{name}: {length} bytes"):
            encoded(replace(message, **{name: bytes(length)}))


@pytest.mark.parametrize("length", [0, 65, 2**32 - 1])
def test_byte_strings_of_a_wrong_size_are_not_read(length: int) -> None:
    content = struct.pack("<I", length) + bytes(min(length, 65)) + b"\x20\0\0\0" + bytes(32)
    with pytest.raises(DecodeError, match=rf"Named\.client: {length} bytes, expected 1 to 64"):
        decoded(Named, content)


@pytest.mark.parametrize("number", [-1, 2**64])
def test_integers_of_more_than_64_bits_are_refused(number: int) -> None:
    with pytest.raises(DecodeError, match=r"Box\.place"):
        encoded(Box(bytes(32), b"a", b"b", number))


@pytest.mark.parametrize(
    ("count", "left", "why"),
    [
        (1, 0, "1 are announced and 0 bytes are there"),
        (2**32 - 1, 10**6, "4294967295 are announced and 1000000 bytes are there"),
        (10**6, 10**6, "client: 0 bytes"),
    ],
)
def test_a_count_of_more_than_what_is_left_takes_no_memory(count: int, left: int, why: str) -> None:
    content = string(32) + struct.pack("<I", count) + bytes(left)
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError, match=why):
            decoded(Boxes, content)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_a_length_of_more_than_what_is_left_is_refused() -> None:
    empty = encoded(Train(bytes(32), (), (), (), bytes(32), b""))
    with pytest.raises(DecodeError, match="cut short, 16777216 are announced and 3 bytes are there"):
        decoded(Train, empty[:-4] + struct.pack("<I", 2**24) + bytes(3))


def test_integers_are_of_8_bytes_little_endian() -> None:
    nine = SessionSettings(*range(1, 10))
    assert encoded(nine) == b"".join(bytes([number]) + bytes(7) for number in range(1, 10))
    box = Box(b"\x11" * 32, b"a", b"b", 0x0102030405060708)
    assert encoded(box).hex() == "20000000" + "11" * 32 + "0100000061" + "0100000062" + "0807060504030201"


def test_lists_stand_behind_a_count_and_byte_strings_behind_a_length() -> None:
    cohort = CohortList(b"\x11" * 32, (Named(b"a", b"\x22" * 32), Named(b"bc", b"\x33" * 32)))
    opening, count = "20000000" + "11" * 32, "02000000"
    first, second = "0100000061" + "20000000" + "22" * 32, "020000006263" + "20000000" + "33" * 32
    assert encoded(cohort).hex() == opening + count + first + second
    assert encoded(CohortList(b"\x11" * 32, ())).hex() == opening + "00000000"


def test_ids_ascend_as_bytes_and_a_beginning_comes_first() -> None:
    ids = (b"\x00", b"10", b"9", b"a", b"aa", b"b", b"\xff")
    members = tuple(Named(client, bytes(32)) for client in ids)
    assert decoded(CohortList, encoded(CohortList(bytes(32), members))).members == members


def test_what_was_read_does_not_change_with_the_buffer() -> None:
    buffer = bytearray(encoded(Named(b"a", bytes(32))))
    named = decoded(Named, memoryview(buffer))
    buffer[:] = b"\xff" * len(buffer)
    assert named == Named(b"a", bytes(32))
