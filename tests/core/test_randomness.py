import os
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from leptonic.errors import PrivacyError
from leptonic.randomness import SecureStream, derive, distinct, distinct_each, generator, torch_stream

# RFC 8439, appendix A.1, test vectors 1 and 2: zero key and nonce, block counters 0 and 1.
RFC_8439_BLOCKS = bytes.fromhex(
    "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
    "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586"
    "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed"
    "29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f"
)
parts = st.lists(st.one_of(st.text(max_size=8), st.integers(0, 2**70)), max_size=4).map(tuple)


@settings(max_examples=50, deadline=None)
@given(first=parts, second=parts)
def test_streams_differ_exactly_when_their_paths_do(first: tuple, second: tuple) -> None:
    assert (derive(7, *first) == derive(7, *second)) == (first == second)


def test_path_parts_cannot_run_into_each_other() -> None:
    paths = [("a", "b"), ("ab",), ("a\x1fstr:b",), ("a", "b", ""), (1, 2), (12,), ("1", 2), ("1", "2")]
    assert len({derive(0, *path) for path in paths}) == len(paths)


def test_numpy_integers_name_the_same_stream() -> None:
    assert derive(3, "training", np.int64(5)) == derive(3, "training", 5)  # type: ignore[arg-type]


def test_the_seed_is_part_of_the_name() -> None:
    assert derive(1, "x") != derive(2, "x")
    assert 0 <= derive(1, "x") < 2**63


def test_generators_repeat() -> None:
    assert np.array_equal(generator(1, "batches", 2).random(5), generator(1, "batches", 2).random(5))
    assert not np.array_equal(generator(1, "batches", 2).random(5), generator(1, "batches", 3).random(5))


def test_torch_stream_repeats_and_restores_the_global_generator() -> None:
    before = torch.random.get_rng_state()
    draws = []
    for name in ("a", "a", "b"):
        with torch_stream(1, name):
            draws.append(torch.rand(4))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert torch.equal(torch.random.get_rng_state(), before)


def test_torch_stream_restores_after_an_error() -> None:
    before = torch.random.get_rng_state()

    def interrupted() -> None:
        with torch_stream(1, "a"):
            torch.rand(1)
            raise KeyError

    with pytest.raises(KeyError):
        interrupted()
    assert torch.equal(torch.random.get_rng_state(), before)


def test_uniform_reads_the_published_keystream() -> None:
    words = np.frombuffer(RFC_8439_BLOCKS, dtype="<u8")
    exact = [((int(word) >> 12) + 0.5) / 2**52 for word in words]
    stream = SecureStream(bytes(32))
    assert [*stream.uniform(5), *stream.uniform(11)] == exact


def test_words_are_the_published_keystream() -> None:
    stream = SecureStream(bytes(32))
    words = np.concatenate([stream.words(3), stream.words(13)])
    assert words.astype("<u8").tobytes() == RFC_8439_BLOCKS


def test_many_words_are_one_keystream() -> None:
    key, count = bytes(range(32)), 3 * 2**13 + 5
    cipher = Cipher(ChaCha20(key, bytes(16)), mode=None).encryptor()
    expected = np.frombuffer(cipher.update(bytes(8 * count)), dtype="<u8")
    assert np.array_equal(SecureStream(key).words(count), expected)


class _Words:
    """Stands in for the cipher: every keystream byte is ``byte``."""

    def __init__(self, byte: int) -> None:
        self._byte = byte

    def update_into(self, data: bytes, buffer: memoryview) -> None:
        buffer[:] = bytes([self._byte]) * len(data)


@pytest.mark.parametrize("byte", [0x00, 0xFF])
def test_uniform_never_reaches_the_ends(byte: int) -> None:
    stream = SecureStream(bytes(32))
    stream._keystream = _Words(byte)  # type: ignore[assignment]
    (value,) = stream.uniform(1)
    assert 0.0 < value < 1.0
    assert np.isfinite(stream.normal(2)).all()


def test_uniform_law() -> None:
    draws = SecureStream(b"u" * 32).uniform(100_000)
    assert stats.kstest(draws, "uniform").pvalue > 1e-3


def test_normal_law() -> None:
    draws = SecureStream(b"n" * 32).normal(100_001)
    assert draws.shape == (100_001,)
    assert stats.kstest(draws, "norm").pvalue > 1e-3
    halves = draws[:50_000], draws[50_001:]
    assert abs(np.corrcoef(*halves)[0, 1]) < 5 / np.sqrt(50_000)
    assert abs(np.corrcoef(np.abs(halves[0]), np.abs(halves[1]))[0, 1]) < 5 / np.sqrt(50_000)
    assert stats.kurtosis(draws) == pytest.approx(0, abs=5 * np.sqrt(24 / 100_000))


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_counts(count: int) -> None:
    stream = SecureStream()
    assert stream.uniform(count).shape == (count,)
    assert stream.normal(count).shape == (count,)


def test_a_key_repeats_and_its_absence_does_not() -> None:
    key = bytes(range(32))
    assert np.array_equal(SecureStream(key).normal(9), SecureStream(key).normal(9))
    assert not np.array_equal(SecureStream().normal(9), SecureStream().normal(9))
    stream = SecureStream(key)
    assert not np.array_equal(stream.uniform(9), stream.uniform(9))


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_other_key_lengths_are_refused(length: int) -> None:
    with pytest.raises(PrivacyError, match=f"32 bytes, not {length}"):
        SecureStream(bytes(length))


def test_a_stream_from_another_process_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = SecureStream()
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(PrivacyError, match="another process"):
        stream.normal(1)


@given(count=st.integers(0, 40), room=st.integers(0, 60), seed=st.integers(0, 2**32))
def test_distinct_integers_are_distinct_ascending_and_repeat(count: int, room: int, seed: int) -> None:
    found = distinct(seed, "rows", 7, below=count + room, count=count)
    assert found.dtype == np.int64
    assert len(found) == count
    assert (np.diff(found) > 0).all()
    assert not count or 0 <= found[0] <= found[-1] < count + room
    assert found.tolist() == distinct(seed, "rows", 7, below=count + room, count=count).tolist()


@pytest.mark.parametrize(("below", "count"), [(5, 2), (6, 3), (4, 3)])
def test_every_set_of_distinct_integers_is_as_likely(below: int, count: int) -> None:
    """Also where draws must be repeated often. Chi-square at 1e-6."""
    sets = list(combinations(range(below), count))
    seen = Counter(tuple(distinct(1, "set", place, below=below, count=count).tolist()) for place in range(6000))
    assert set(seen) == set(sets)
    assert stats.chisquare([seen[each] for each in sets]).pvalue > 1e-6


def test_distinct_streams_differ_by_their_path() -> None:
    first, second = (distinct(1, "rows", client, below=10**6, count=20) for client in (1, 2))
    assert not np.array_equal(first, second)


@given(count=st.integers(0, 12), room=st.integers(0, 60), last=st.lists(st.integers(0, 2**40), max_size=9))
def test_many_streams_draw_what_each_draws(count: int, room: int, last: list[int]) -> None:
    """Also where little room makes repeated draws likely."""
    found = distinct_each(3, "rows", last=last, below=count + room, count=count)
    assert found.shape == (len(last), count)
    alone = [distinct(3, "rows", each, below=count + room, count=count).tolist() for each in last]
    assert found.tolist() == alone


def test_more_distinct_integers_than_there_are_is_an_error() -> None:
    with pytest.raises(ValueError, match="do not exist"):
        distinct(1, "rows", below=3, count=4)
    with pytest.raises(ValueError, match="do not exist"):
        distinct_each(1, "rows", last=[1], below=3, count=4)
