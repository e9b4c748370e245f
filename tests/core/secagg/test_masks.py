"""Masks: ChaCha20's keystream as words, whatever the parts, and gone with its negative."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from leptonic.secagg.masks import BLOCK_WORDS, PIECE, Mask, add_masks, add_to_sums, add_to_words

KEY = bytes(range(32))
PIECE_WORDS = PIECE // 4
SIZES = [0, 1, 5, 15, 16, 17, 123, PIECE_WORDS - 1, PIECE_WORDS, PIECE_WORDS + 1, 2 * PIECE_WORDS + 123]
# RFC 8439, appendix A.1, test vectors 1 to 4: key, block counter, keystream.
VECTORS = [
    (
        bytes(32),
        0,
        "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
        "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586",
    ),
    (
        bytes(32),
        1,
        "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed"
        "29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f",
    ),
    (
        bytes(31) + b"\x01",
        1,
        "3aeb5224ecf849929b9d828db1ced4dd832025e8018b8160b82284f3c949aa5a"
        "8eca00bbb4a73bdad192b5c42f73f2fd4e273644c8b36125a64addeb006c13a0",
    ),
    (
        b"\x00\xff" + bytes(30),
        2,
        "72d54dfbf12ec44b362692df94137f328fea8da73990265ec1bbbea1ae9af0ca"
        "13b25aa26cb4a648cb9b9d1be65b2c0924a66c54d545ec1b7374f4872e99f096",
    ),
]
COLUMNS = [(0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15)]
DIAGONALS = [(0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)]


def keystream(key: bytes, nonce: bytes, counter: int, blocks: int) -> NDArray[np.uint32]:
    """RFC 8439, section 2.3, for many blocks at once."""
    state = np.empty((16, blocks), np.uint32)
    fixed = struct.unpack("<12I", b"expand 32-byte k" + key)
    state[:12] = np.array(fixed, np.uint32)[:, None]
    state[12] = np.arange(counter, counter + blocks)
    state[13:] = np.array(struct.unpack("<3I", nonce), np.uint32)[:, None]
    work = state.copy()
    for a, b, c, d in 10 * (COLUMNS + DIAGONALS):
        for into, other, turned, left in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            work[into] += work[other]
            mixed = work[turned] ^ work[into]
            work[turned] = mixed << np.uint32(left) | mixed >> np.uint32(32 - left)
    return (work + state).T.reshape(-1)


def reference(key: bytes, segment: int, count: int) -> NDArray[np.uint32]:
    return keystream(key, bytes(8) + struct.pack("<I", segment), 0, -(-count // 16))[:count]


def words_of(mask: Mask, count: int, start: int = 0) -> NDArray[np.uint32]:
    words = np.zeros(count, np.uint32)
    add_to_words(words, [mask], start=start)
    return words


def sums_of(mask: Mask, count: int) -> NDArray[np.uint64]:
    sums = np.zeros(count, np.uint64)
    add_to_sums(sums, [mask])
    return sums


def test_the_reference_is_rfc_8439() -> None:
    """Section 2.4.2."""
    stream = keystream(KEY, bytes.fromhex("000000000000004a00000000"), 1, 2).astype("<u4").tobytes()
    plaintext = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, "
    ciphertext = bytes(one ^ other for one, other in zip(plaintext, stream, strict=False))
    assert ciphertext.hex().startswith("6e2e359a2568f98041ba0728dd0d6981e97e7aec1d4360c20a27afccfd9fae0b")
    for key, counter, expected in VECTORS:
        assert keystream(key, bytes(12), counter, 1).astype("<u4").tobytes().hex() == expected


@pytest.mark.parametrize(("key", "counter", "expected"), VECTORS)
def test_words_of_zero_become_the_keystream_of_rfc_8439(key: bytes, counter: int, expected: str) -> None:
    words = words_of(Mask(key), 16, start=counter * BLOCK_WORDS)
    assert words.astype("<u4").tobytes().hex() == expected
    assert words[0] == int.from_bytes(bytes.fromhex(expected[:8]), "little")


@pytest.mark.parametrize("count", SIZES)
def test_words_are_masked_by_segment_0(count: int) -> None:
    assert np.array_equal(words_of(Mask(KEY), count), reference(KEY, 0, count))


@pytest.mark.parametrize("count", [*SIZES, PIECE // 8 + 1])
def test_sums_are_masked_by_segment_1_in_words_of_64_bits(count: int) -> None:
    expected = reference(KEY, 1, 2 * count).astype(np.uint64).reshape(-1, 2)
    assert np.array_equal(sums_of(Mask(KEY), count), expected[:, 0] + (expected[:, 1] << np.uint64(32)))


def test_the_two_segments_share_no_block() -> None:
    words, sums = words_of(Mask(KEY), 4096), sums_of(Mask(KEY), 2048)
    blocks = {words[at : at + 16].tobytes() for at in range(0, 4096, 16)}
    blocks |= {sums[at : at + 8].tobytes() for at in range(0, 2048, 8)}
    assert len(blocks) == 2 * 4096 // 16


@given(blocks=st.lists(st.integers(0, 12), max_size=5), last=st.integers(0, 40))
def test_parts_are_the_whole(blocks: list[int], last: int) -> None:
    counts = [*(BLOCK_WORDS * number for number in blocks), last]
    whole, at = words_of(Mask(KEY), sum(counts)), 0
    parts = np.zeros_like(whole)
    for count in counts:
        add_to_words(parts[at : at + count], [Mask(KEY), Mask(b"\x01" * 32, negative=True)], start=at)
        at += count
    add_to_words(parts, [Mask(b"\x01" * 32)])
    assert np.array_equal(parts, whole)


def test_parts_across_pieces_are_the_whole() -> None:
    start = PIECE_WORDS - 3 * BLOCK_WORDS
    whole = words_of(Mask(KEY), 3 * PIECE_WORDS)
    assert np.array_equal(words_of(Mask(KEY), PIECE_WORDS + 99, start), whole[start : start + PIECE_WORDS + 99])


def test_the_last_block_of_a_segment_is_there_and_none_after_it() -> None:
    last = words_of(Mask(KEY), 16, start=BLOCK_WORDS * (2**32 - 1))
    assert np.array_equal(last, keystream(KEY, bytes(12), 2**32 - 1, 1))
    with pytest.raises(OverflowError):
        words_of(Mask(KEY), 16, start=BLOCK_WORDS * 2**32)


@pytest.mark.parametrize("start", [1, 8, 15, 17])
def test_a_part_that_begins_within_a_block_is_refused(start: int) -> None:
    with pytest.raises(ValueError, match=f"not at word {start}"):
        words_of(Mask(KEY), 16, start=start)


@pytest.mark.parametrize("count", SIZES)
def test_a_mask_and_its_negative_cancel(count: int) -> None:
    draws = np.random.default_rng(count)
    words = draws.integers(0, 2**32, count, np.uint32)
    sums = draws.integers(0, 2**64, count, np.uint64)
    kept = words.copy(), sums.copy()
    add_masks(words, sums, [Mask(KEY)])
    if count > 4:
        assert not (words == kept[0]).all()
        assert not (sums == kept[1]).all()
    add_masks(words, sums, [Mask(KEY, negative=True)])
    assert np.array_equal(words, kept[0])
    assert np.array_equal(sums, kept[1])


def test_masks_add_up_modulo_the_word_in_any_order() -> None:
    masks = [Mask(bytes([number]) * 32, negative=number % 3 == 0) for number in range(1, 8)]
    words, sums = np.full(123, 2**32 - 1, np.uint32), np.full(5, 2**64 - 1, np.uint64)
    add_masks(words, sums, masks)
    signs = [-1 if mask.negative else 1 for mask in masks]
    columns = zip(*(words_of(Mask(mask.key), 123).tolist() for mask in masks), strict=True)
    wide = zip(*(sums_of(Mask(mask.key), 5).tolist() for mask in masks), strict=True)
    assert words.tolist() == [(-1 + sum(s * v for s, v in zip(signs, own, strict=True))) % 2**32 for own in columns]
    assert sums.tolist() == [(-1 + sum(s * v for s, v in zip(signs, own, strict=True))) % 2**64 for own in wide]
    again = np.full(123, 2**32 - 1, np.uint32), np.full(5, 2**64 - 1, np.uint64)
    add_masks(*again, masks[::-1])
    assert np.array_equal(words, again[0])
    assert np.array_equal(sums, again[1])


def test_no_masks_change_nothing() -> None:
    words, sums = np.arange(9, dtype=np.uint32), np.arange(9, dtype=np.uint64)
    add_masks(words, sums, [])
    assert words.tolist() == sums.tolist() == list(range(9))


def test_a_masks_key_is_not_shown() -> None:
    assert repr(Mask(KEY, negative=True)) == "Mask(negative=True)"
