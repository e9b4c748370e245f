"""Lists that come again are read and written once, and never taken for others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leptonic.errors import DecodeError
from leptonic.secagg import messages
from leptonic.secagg.encoding import decoded, encoded
from leptonic.secagg.messages import CohortList, Named
from leptonic.secagg.recent import MOST_ELEMENTS, RECENT, recalled, remembered


def test_a_list_that_comes_again_is_the_same_one() -> None:
    members = tuple(Named(b"client-%03d" % index, bytes(32)) for index in range(5))
    content = encoded(CohortList(bytes(32), members))
    first, again = decoded(CohortList, content), decoded(CohortList, bytearray(content))
    assert first.members is again.members
    assert encoded(first) == content
    for other in (content[:-1] + b"x", content[:-36] + b"\x01" + content[-35:]):
        try:
            changed = decoded(CohortList, other)
        except DecodeError:
            continue
        assert changed.members != members
        assert encoded(changed) == other


def test_a_list_with_secrets_is_not_remembered() -> None:
    released = (messages.Released(b"a", bytes(33)), messages.Released(b"b", bytes(33)))
    content = encoded(messages.SharesReleased(bytes(32), b"c", released, b""))
    first, again = (decoded(messages.SharesReleased, content) for _ in range(2))
    assert first == again
    assert first.shares is not again.shares


def test_each_of_the_last_is_worked_out_once() -> None:
    asked: list[object] = []

    def put(elements: tuple[int, ...]) -> bytes:
        asked.append(elements)
        return bytes([len(elements), *elements])

    def get(content: bytes, at: int) -> tuple[tuple[int, ...], int]:
        asked.append((content, at))
        end = at + 1 + content[at]
        return tuple(content[at + 1 : end]), end

    write, read = remembered(put, get)
    lists = [tuple(range(1, 2 + count)) for count in range(RECENT)]
    for _ in range(3):
        assert [write(each) for each in lists] == [bytes([len(each), *each]) for each in lists]
        assert [read(b"--" + write(each), 2) for each in lists] == [(each, 3 + len(each)) for each in lists]
    assert asked == lists
    write((7,))
    assert write(lists[0]) == b"\x01\x01"
    assert asked == [*lists, (7,), lists[0]]
    assert read(b"\x02\x01\x03", 0) == ((1, 3), 3)


def test_nothing_is_not_remembered() -> None:
    asked: list[object] = []
    write, _ = remembered(lambda elements: asked.append(elements) or b"", lambda *_: ((), 0))
    assert write(()) == write(()) == b""
    assert asked == [(), ()]


def test_an_element_that_comes_again_is_the_same_one() -> None:
    """In another list, behind other elements."""
    names = [messages.Named(b"client-%03d" % index, bytes([index]) * 32) for index in range(5)]
    lists = [CohortList(bytes(32), tuple(names[start:])) for start in range(5)]
    found = [decoded(CohortList, encoded(each)) for each in lists]
    assert found == lists
    assert len({id(each.members[-1]) for each in found}) == 1


IDS = st.lists(st.binary(min_size=1, max_size=3), min_size=1, max_size=6, unique=True).map(sorted)


@given(many=st.lists(IDS, min_size=1, max_size=5), left_over=st.binary(max_size=2), cut=st.integers(0, 3))
def test_elements_of_any_lengths_are_read_as_if_none_had_come_before(
    many: list[list[bytes]], left_over: bytes, cut: int
) -> None:
    for ids in many:
        cohort = CohortList(bytes(32), tuple(Named(each, bytes(32)) for each in ids))
        content = encoded(cohort)
        assert decoded(CohortList, content) == cohort
        for bad in (content + left_over, content[: len(content) - cut]):
            if bad != content:
                with pytest.raises(DecodeError):
                    decoded(CohortList, bad)


def test_few_elements_are_remembered() -> None:
    asked: list[int] = []

    def get(content: bytes, at: int) -> tuple[bytes, int]:
        asked.append(at)
        return content[at : at + 4], at + 4

    read = recalled(get)
    content = b"".join(number.to_bytes(4, "little") for number in range(MOST_ELEMENTS + 1))
    for place in range(0, len(content), 4):
        assert read(content, place) == (content[place : place + 4], place + 4)
    assert len(asked) == MOST_ELEMENTS + 1
    read(content, len(content) - 4)
    assert len(asked) == MOST_ELEMENTS + 1
    read(content, 0)
    assert len(asked) == MOST_ELEMENTS + 2
