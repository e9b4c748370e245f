"""Packing: words of b bits are one stream of bits, whatever is left of the last byte is zero."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from leptonic.errors import DecodeError
from leptonic.secagg.packing import CHUNK, packed, packed_length, unpacked

BITS = range(8, 33)
COUNTS = [0, 1, 2, 3, 5, 7, 8, 9, 123]


def bit_by_bit(words: list[int], bits: int) -> bytes:
    """Bit k of word w is bit bits * w + k of the stream."""
    stream = bytearray(-(-len(words) * bits // 8))
    for word, value in enumerate(words):
        for bit in range(bits):
            at = bits * word + bit
            stream[at // 8] |= (value >> bit & 1) << at % 8
    return bytes(stream)


def drawn(count: int) -> NDArray[np.uint32]:
    return np.random.default_rng(count).integers(0, 2**32, count, np.uint32)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("count", COUNTS)
def test_each_bit_is_in_its_place(count: int, bits: int) -> None:
    words = drawn(count)
    stream = packed(words, bits)
    assert len(stream) == packed_length(count, bits)
    assert bytes(stream) == bit_by_bit(words.tolist(), bits)
    back = unpacked(stream, count, bits)
    assert back.dtype == np.uint32
    assert back.tolist() == [word % 2**bits for word in words.tolist()]


@given(bits=st.integers(8, 32), words=st.lists(st.integers(0, 2**32 - 1), max_size=40))
def test_any_words_come_back(bits: int, words: list[int]) -> None:
    stream = bytes(packed(np.array(words, np.uint32), bits))
    assert stream == bit_by_bit(words, bits)
    assert unpacked(stream, len(words), bits).tolist() == [word % 2**bits for word in words]


@pytest.mark.parametrize("bits", [8, 9, 13, 16, 24, 31, 32])
@pytest.mark.parametrize("count", [CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 5])
def test_chunks_do_not_show(count: int, bits: int) -> None:
    words = drawn(count)
    digits = words.astype("<u4")[:, None] >> np.arange(bits, dtype=np.uint32) & 1
    stream = packed(words, bits)
    assert bytes(stream) == np.packbits(digits.astype(np.uint8).reshape(-1), bitorder="little").tobytes()
    assert np.array_equal(unpacked(stream, count, bits), words & np.uint32(2**bits - 1))


def test_the_bytes_are_those_of_a_little_endian_stream() -> None:
    """0x123 and 0xabc: the low bits come first."""
    words = np.array([0x123, 0xABC, 0xFFFFF001], np.uint32)
    assert bytes(packed(words, 12)).hex() == "23c1ab0100"
    assert bytes(packed(words, 16)).hex() == "2301bc0a01f0"
    assert bytes(packed(words, 32)).hex() == "23010000bc0a000001f0ffff"


@pytest.mark.parametrize(("count", "bits", "length"), [(0, 9, 0), (1, 9, 2), (8, 9, 9), (9, 9, 11), (3, 32, 12)])
def test_the_length_is_rounded_up_to_bytes(count: int, bits: int, length: int) -> None:
    assert packed_length(count, bits) == length


@pytest.mark.parametrize("bits", [bits for bits in BITS if bits % 8])
@pytest.mark.parametrize("count", [1, 3, 5, 123])
def test_bits_after_the_last_word_are_zero_and_refused_when_set(count: int, bits: int) -> None:
    stream = bytearray(packed(np.full(count, 2**32 - 1, np.uint32), bits))
    for bit in range(count * bits % 8 or 8, 8):
        assert not stream[-1] >> bit & 1
        wrong = bytearray(stream)
        wrong[-1] |= 1 << bit
        with pytest.raises(DecodeError, match="a bit after the last masked word"):
            unpacked(bytes(wrong), count, bits)


@pytest.mark.parametrize("bits", [8, 9, 24, 32])
@pytest.mark.parametrize("count", [0, 1, 5])
def test_another_length_is_refused(count: int, bits: int) -> None:
    length = packed_length(count, bits)
    for wrong in {0, length - 1, length + 1, length + 4} - {length, -1}:
        with pytest.raises(DecodeError, match=f"{wrong} bytes of masked words, expected {length}"):
            unpacked(bytes(wrong), count, bits)


def test_words_that_lie_apart_are_packed_and_not_modified() -> None:
    words = np.arange(20, dtype=np.uint32)
    assert bytes(packed(words[::2], 9)) == bit_by_bit(list(range(0, 20, 2)), 9)
    assert bytes(packed(words[::2], 32)) == bit_by_bit(list(range(0, 20, 2)), 32)
    assert words.tolist() == list(range(20))


def test_32_bits_share_memory() -> None:
    words = drawn(5)
    stream = packed(words, 32)
    words[0] = 7
    assert bytes(stream[:4]) == b"\x07\0\0\0"
    assert np.shares_memory(unpacked(stream, 5, 32), words)
