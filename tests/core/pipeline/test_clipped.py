"""Updates clipped for a trusted server: no client moves the integers by more than the clip."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from tests.core.privacy.test_client_level import experiment

from leptonic.errors import DecodeError, PrivacyError
from leptonic.integers import from_fixed
from leptonic.pipeline import ClippedPipeline, Contribution, Occasion, pipeline_for
from leptonic.update import LocalUpdate, Vector

SIZE = 40
VECTORS = hnp.arrays(np.float32, SIZE, elements=st.floats(-(2.0**100), 2.0**100, width=32))


def pipeline(clip_norm: float = 0.5, size: int = SIZE, **changes: Any) -> ClippedPipeline:
    made = pipeline_for(experiment("server", clip_norm=clip_norm, **changes), size)
    assert isinstance(made, ClippedPipeline)
    return made.at(Occasion(1, clip_norm))


def update(vector: Vector) -> LocalUpdate:
    return LocalUpdate({"model": vector}, weight=1.0)


@given(VECTORS)
def test_no_update_is_longer_than_the_clip_to_the_last_step(vector: NDArray[np.float32]) -> None:
    pipe = pipeline()
    encoded = pipe.encode(update(vector))
    integers = encoded.words.view(np.int32).astype(object)
    assert int((integers**2).sum()) <= int(pipe.lattice.scale) ** 2
    pipe.check(encoded)


@given(hnp.arrays(np.float32, SIZE, elements=st.floats(-0.0625, 0.0625, width=32)))
def test_an_update_within_the_clip_is_what_it_was(vector: NDArray[np.float32]) -> None:
    pipe = pipeline()
    values = pipe.encode(update(vector)).words.view(np.int32) / pipe.lattice.scale
    assert np.abs(0.5 * values - vector).max() <= 1e-6


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_counts_as_zero(bad: float) -> None:
    encoded = pipeline().encode(update(np.full(SIZE, bad, dtype=np.float32)))
    assert not encoded.words.any()
    assert from_fixed(encoded.scalars).tolist() == [1.0]


def test_no_sum_is_decoded_without_the_servers_noise() -> None:
    pipe = pipeline()
    total = pipe.encode(update(np.ones(SIZE, dtype=np.float32)))
    with pytest.raises(PrivacyError, match="noise alone"):
        pipe.decode(total)
    seen: list[tuple[NDArray[np.float64], float]] = []

    def release(exact: NDArray[np.float64], below: float) -> NDArray[np.float64]:
        seen.append((exact, below))
        return np.full(SIZE, 7.0)

    mean = pipe.released_by(release).decode(total)
    assert mean.vectors["model"].tolist() == [7.0] * SIZE
    assert mean.sums == {"count": 1.0}
    assert np.linalg.norm(seen[0][0]) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize(("norm", "bit"), [(0.49, 0.5), (0.51, -0.5)])
def test_where_the_clip_adapts_a_client_says_on_which_side_it_is(norm: float, bit: float) -> None:
    pipe = pipeline(epsilon=50.0, adaptive_clip={})
    vector = np.zeros(SIZE, dtype=np.float32)
    vector[3] = norm
    encoded = pipe.encode(update(vector))
    assert from_fixed(encoded.scalars).tolist() == [1.0, bit]
    pipe.check(encoded)


def test_lies_that_show_are_refused() -> None:
    pipe, plain = pipeline(epsilon=50.0, adaptive_clip={}), pipeline()
    long = plain.zero()
    long.words[:2] = int(plain.lattice.scale)
    long.scalars[0] = 2**20
    with pytest.raises(DecodeError, match="longer than the clip"):
        plain.check(long)
    with pytest.raises(DecodeError, match="counts 0"):
        plain.check(plain.zero())
    loud = pipe.zero()
    loud.scalars[:] = 2**20
    with pytest.raises(DecodeError, match="which side"):
        pipe.check(loud)
    far = Contribution(np.full(SIZE, 2**31, dtype=np.uint32), plain.encode(update(np.zeros(SIZE, np.float32))).scalars)
    with pytest.raises(DecodeError, match="bound"):
        plain.check(far)


def test_words_too_short_for_so_long_a_model_are_refused() -> None:
    """In 32-bit words 20 clients have 2^31 / 20 steps each, which rounding fills from 10^16 parameters on."""
    with pytest.raises(PrivacyError, match="too short"):
        pipeline(size=2 * 10**16)


def test_a_round_has_a_clip() -> None:
    with pytest.raises(PrivacyError, match="says nothing"):
        pipeline().at(Occasion(1))
