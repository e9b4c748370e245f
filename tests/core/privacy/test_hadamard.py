import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import hadamard

from leptonic.errors import PrivacyError
from leptonic.privacy.hadamard import Rotation, padded_size, walsh_hadamard

SEED = bytes(range(32))
vectors = st.integers(1, 700).flatmap(
    lambda size: st.integers(0, 2**32).map(lambda seed: np.random.default_rng(seed).normal(size=size))
)


@pytest.mark.parametrize("bits", range(10))
def test_the_fast_transform_is_the_matrix(bits: int) -> None:
    size = 2**bits
    values = np.random.default_rng(bits).normal(size=size)
    expected = hadamard(size) @ values / np.sqrt(size)
    assert walsh_hadamard(values.copy()) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=60)
@given(values=vectors, seed=st.binary(min_size=32, max_size=32))
def test_rotation_keeps_norms_and_is_undone(values: np.ndarray, seed: bytes) -> None:
    rotation = Rotation(len(values), seed)
    rotated = rotation.forward(values)
    assert rotated.shape == (rotation.padded,)
    assert np.linalg.norm(rotated) == pytest.approx(np.linalg.norm(values), rel=1e-12)
    assert np.abs(rotation.inverse(rotated) - values).max() < 1e-12 * max(1.0, np.abs(values).max())


def test_rotation_is_linear_and_leaves_its_input() -> None:
    rotation = Rotation(100, SEED)
    one, two = np.random.default_rng(0).normal(size=(2, 100))
    kept = one.copy()
    both = rotation.forward(one) + rotation.forward(two)
    assert both == pytest.approx(rotation.forward(one + two))
    before = both.copy()
    rotation.inverse(both)
    assert np.array_equal(both, before)
    assert np.array_equal(one, kept)


def test_one_large_entry_is_spread_over_all() -> None:
    values = np.zeros(1000)
    values[3] = 1.0
    assert np.abs(Rotation(1000, SEED).forward(values)) == pytest.approx(np.full(1024, 1 / 32))


def test_seeds_name_the_signs() -> None:
    values = np.ones(256)
    first, again, other = (Rotation(256, seed).forward(values) for seed in (SEED, SEED, bytes(32)))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    signs = Rotation(2**16, SEED)._signs()
    assert set(signs.tolist()) == {-1, 1}
    assert abs(signs.mean()) < 5 / 2**8


@pytest.mark.parametrize(("size", "padded"), [(1, 1), (2, 2), (3, 4), (1024, 1024), (1025, 2048)])
def test_padding(size: int, padded: int) -> None:
    assert padded_size(size) == padded


def test_what_cannot_be_rotated_is_refused() -> None:
    with pytest.raises(PrivacyError, match="0 entries"):
        Rotation(0, SEED)
    with pytest.raises(PrivacyError, match="32 bytes"):
        Rotation(4, b"short").forward(np.ones(4))
