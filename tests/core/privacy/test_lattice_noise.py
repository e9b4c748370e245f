import math

import numpy as np
import pytest
from scipy import stats

from leptonic.errors import PrivacyError
from leptonic.privacy.lattice_noise import gaussian_release, lattice_step
from leptonic.randomness import SecureStream


def release(total: np.ndarray, *, sensitivity: float = 0.3, noise: float = 2.0, joint: int = 1) -> np.ndarray:
    return gaussian_release(
        total, sensitivity=sensitivity, noise_multiplier=noise, stream=SecureStream(b"l" * 32), joint=joint
    )


def test_noise_has_the_stated_law_and_no_bias() -> None:
    total = np.random.default_rng(0).normal(size=100_000) * 1e6
    noise = release(total) - total
    assert stats.kstest(noise / 0.6, "norm").pvalue > 1e-4
    assert noise.std() == pytest.approx(0.6, rel=5 / math.sqrt(2 * len(total)))
    assert noise.mean() == pytest.approx(0, abs=5 * 0.6 / math.sqrt(len(total)))


@pytest.mark.parametrize("deviation", [1e-9, 0.7, 1.0, 1e12])
def test_releases_lie_on_a_lattice_that_depends_on_the_noise_alone(deviation: float) -> None:
    step = lattice_step(deviation)
    assert 2.0**-31 < step / deviation <= 2.0**-30
    assert math.frexp(step)[0] == 0.5
    released = release(np.array([1 / 3, 0.1, -7.7]) * deviation, sensitivity=deviation / 2)
    assert np.array_equal(released / step, np.rint(released / step))


def test_rounding_is_paid_for_by_noise() -> None:
    """The sums of neighbours, rounded, differ by the sensitivity and sqrt(joint d) steps: so much more noise."""
    size, joint = 10_000, 10**10
    step = lattice_step(0.6)
    expected = 2.0 * (0.3 + step * math.sqrt(joint * size))
    assert expected > 0.605
    assert release(np.zeros(size), joint=joint).std() == pytest.approx(expected, rel=5 / math.sqrt(2 * size))


def test_what_no_lattice_holds_is_refused() -> None:
    for bad in (math.nan, math.inf, 1e30):
        with pytest.raises(PrivacyError, match="not finite, or"):
            release(np.array([0.0, bad]))
    for noise in (0.0, math.nan, math.inf):
        with pytest.raises(PrivacyError, match="positive deviation"):
            release(np.zeros(2), noise=noise)
