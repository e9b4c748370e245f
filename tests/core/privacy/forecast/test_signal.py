import math

import numpy as np
import pytest

from leptonic.privacy.correlated_noise import BandedNoise
from leptonic.privacy.forecast.signal import Signal, noise_after


def test_a_thousand_coordinates_are_as_loud_as_their_norm() -> None:
    noise = np.random.default_rng(1).normal(scale=0.02, size=(500, 1000))
    signal = Signal.of(deviation=0.02, clip_norm=0.5, size=1000, means=500)
    assert signal.of_clip == 0.04
    assert signal.per_round == pytest.approx(float(np.linalg.norm(noise, axis=1).mean()) / 0.5, rel=0.01)
    assert signal.over_run == pytest.approx(float(np.linalg.norm(noise.sum(axis=0))) / (500 * 0.5), rel=0.05)


@pytest.mark.parametrize(("band", "rounds"), [(1, 1), (1, 7), (3, 2), (3, 20), (10, 10), (10, 64)])
def test_correlated_noise_by_the_inverse_matrix(band: int, rounds: int) -> None:
    banded = BandedNoise(band, participations=2, sensitivity=1.0, noise_multiplier=1.5)
    matrix = np.zeros((rounds, rounds))
    for row in range(rounds):
        for column in range(max(0, row - band + 1), row + 1):
            matrix[row, column] = banded.coefficients[row - column]
    inverse = np.linalg.inv(matrix)
    last, added = noise_after(banded, rounds)
    assert last == pytest.approx(banded.deviation * float(np.linalg.norm(inverse[-1])))
    assert added == pytest.approx(banded.deviation * float(np.linalg.norm(inverse.sum(axis=0))))


def test_a_band_of_one_is_fresh_noise() -> None:
    fresh = BandedNoise(1, participations=1, sensitivity=1.0, noise_multiplier=2.0)
    assert noise_after(fresh, 25) == (2.0, pytest.approx(2.0 * math.sqrt(25)))
