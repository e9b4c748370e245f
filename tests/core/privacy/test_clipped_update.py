import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leptonic.privacy.clipped_update import clip


@given(values=st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=50), clip_norm=st.floats(1e-6, 1e6))
def test_norms_are_bounded_and_directions_kept(values: list[float], clip_norm: float) -> None:
    update = np.array(values)
    clipped = clip(update, clip_norm)
    assert math.hypot(*clipped) <= clip_norm * (1 + 1e-12)
    if math.hypot(*values) <= clip_norm:
        assert clipped == pytest.approx(update, rel=1e-12, abs=0)


def test_by_hand() -> None:
    update = np.array([3.0, 4.0], dtype=np.float32)
    assert clip(update, 1.0) == pytest.approx([0.6, 0.8])
    assert clip(update, 5.0).tolist() == [3.0, 4.0]
    assert update.tolist() == [3.0, 4.0]
    assert clip(np.zeros(3), 1.0).tolist() == [0.0, 0.0, 0.0]
    assert clip(np.array([]), 1.0).tolist() == []


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_counts_as_zero(bad: float) -> None:
    assert clip(np.array([1.0, bad]), 1.0).tolist() == [0.0, 0.0]
