"""The hash of long content, against one made by hand."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leptonic.secagg import long_digest as module
from leptonic.secagg.long_digest import LongDigest, leaves, long_digest, root


def by_hand(*parts: bytes) -> bytes:
    content = b"leptonic-secagg/1/pieces\x00"
    content += b"".join(len(part).to_bytes(8, "little") for part in parts)
    for part in parts:
        for start in range(0, len(part), 2**20):
            piece = part[start : start + 2**20]
            content += hashlib.blake2b(piece, digest_size=32, person=b"leptonic-secagg1").digest()
    return hashlib.sha256(content).digest()


@pytest.mark.parametrize("length", [0, 1, 2**20 - 1, 2**20, 2**20 + 1, 5 * 2**20 + 123])
def test_it_is_a_hash_of_hashes_of_pieces(length: int) -> None:
    content = bytes(range(256)) * (length // 256 + 1)
    assert long_digest(content[:length]) == by_hand(content[:length])
    assert long_digest(memoryview(content)[:length], b"sums") == by_hand(content[:length], b"sums")


@given(parts=st.lists(st.binary(max_size=40), max_size=4), others=st.lists(st.binary(max_size=40), max_size=4))
@settings(max_examples=200)
def test_other_parts_have_another_hash(parts: list[bytes], others: list[bytes]) -> None:
    assert (long_digest(*parts) == long_digest(*others)) == (parts == others)


def test_where_a_part_ends_counts() -> None:
    assert long_digest(b"ab", b"c") != long_digest(b"a", b"bc") != long_digest(b"abc")


def test_hashes_of_pieces_are_joined() -> None:
    content, sums = memoryview(bytes(range(256)) * 5000), memoryview(b"sums")
    hashes = [*leaves(content), *leaves(sums)]
    assert root((len(content), 4), hashes) == long_digest(content, sums)


def test_what_it_was_told_is_not_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    digest, content = LongDigest(), bytearray(b"content and more")
    digest.know(b"told", memoryview(content)[:4], memoryview(content)[4:7])
    other = bytearray(content)
    assert digest(memoryview(other)[:4], memoryview(other)[4:7]) == long_digest(b"cont", b"ent")
    assert digest(memoryview(content)[:5], memoryview(content)[5:7]) == long_digest(b"conte", b"nt")
    assert digest(memoryview(content)[:4]) == long_digest(b"cont")
    monkeypatch.setattr(module, "long_digest", None)
    assert digest(memoryview(content)[:4], memoryview(content)[4:7]) == b"told"


def test_it_forgets_what_it_was_asked_for() -> None:
    digest, content = LongDigest(), bytearray(b"content")
    digest.know(b"told", memoryview(content))
    assert digest(memoryview(content)) == b"told"
    assert digest(memoryview(content)) == long_digest(b"content")


def test_it_believes_what_it_was_told_last() -> None:
    digest, content = LongDigest(), bytearray(b"content")
    digest.know(b"told", memoryview(content))
    digest.know(b"again", memoryview(content))
    assert digest(memoryview(content)) == b"again"


def test_bytes_are_hashed_once_for_two_who_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    digest, content, hashed = LongDigest(), bytes(100), list[bytes]()
    monkeypatch.setattr(module, "long_digest", lambda part: hashed.append(part) or long_digest(part))
    other = bytes(bytearray(content))
    for part in (content, content, content, other, content, content):
        assert digest(part) == long_digest(content)
    assert [each is content for each in hashed] == [True, True, False, True]
