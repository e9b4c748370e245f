"""Short messages are written by templates as they are field by field, and refused alike."""

import struct

import pytest

from leptonic.errors import DecodeError
from leptonic.secagg import templates
from leptonic.secagg.encoding import decoded, encoded
from leptonic.secagg.messages import Advertisement, Named, SignedAdvertisement
from leptonic.secagg.sealing import Box


def string(content: bytes) -> bytes:
    return struct.pack("<I", len(content)) + content


def test_a_message_is_written_alike_the_first_time_and_later() -> None:
    for length in (1, 37, 64, 37):  # 37 is the sign by which a template has gaps
        named = Named(b"%" * length, bytes(32))
        assert encoded(named) == encoded(named) == string(b"%" * length) + string(bytes(32))


@pytest.mark.parametrize("number", [-1, 2**64])
def test_wrong_values_are_refused_whatever_was_written_before(number: int) -> None:
    assert encoded(Box(bytes(32), b"a", b"b", 1)) == encoded(Box(bytes(32), b"a", b"b", 1))
    with pytest.raises(DecodeError, match=r"Box\.place"):
        encoded(Box(bytes(32), b"a", b"b", number))
    with pytest.raises(DecodeError, match=r"Box\.session: 31 bytes"):
        encoded(Box(bytes(31), b"a", b"b", 1))


def test_what_lies_in_another_message_is_written_in_its_place() -> None:
    keys = [bytes([number]) * 32 for number in range(4)]
    for client in (b"a", b"%s", b"a"):
        inner = Advertisement(keys[0], client, *keys[1:])
        content = b"".join(map(string, (keys[0], client, *keys[1:], bytes(64))))
        assert encoded(SignedAdvertisement(inner, bytes(64))) == content
        assert decoded(SignedAdvertisement, content).advertisement == inner


def test_few_templates_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "MOST_TEMPLATES", 3)
    for _ in range(2):
        for length in range(1, 20):
            assert encoded(Named(bytes(length), bytes(32))) == string(bytes(length)) + string(bytes(32))
