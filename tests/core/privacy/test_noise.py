import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import kstest

from leptonic.privacy.noise import noised
from leptonic.randomness import SecureStream

CHUNK = 2**18
DEVIATION = 0.3


@pytest.mark.parametrize("sizes", [(1,), (7,), (3, 0, 4), (CHUNK,), (CHUNK - 1, 2, 5)])
def test_many_sums_take_their_noise_from_one_keystream(sizes: tuple[int, ...]) -> None:
    """Against Box and Muller in float64 on the same keystream, of which a chunk takes whole pairs, and whole words."""
    key = b"k" * 32
    sums = [torch.full((size,), place / 8, dtype=torch.float64) for place, size in enumerate(sizes)]
    before = [total.clone() for total in sums]
    noises = [after - total for after, total in zip(noised(sums, DEVIATION, SecureStream(key)), sums, strict=True)]
    reference, count = SecureStream(key), sum(sizes)
    drawn = np.concatenate([_normal(reference, min(CHUNK, count - start)) for start in range(0, count, CHUNK)])
    lattice = 2.0 ** (math.floor(math.log2(DEVIATION)) - 20)
    # Rounded to the lattice, and wrong by a part of itself: where a sine is zero, float32's angles would be too coarse.
    assert (np.abs(torch.cat(noises).numpy() - DEVIATION * drawn) <= lattice / 2 + 2.0**-22 * np.abs(drawn)).all()
    assert all(torch.equal(total, same) for total, same in zip(sums, before, strict=True))


def _normal(stream: SecureStream, count: int) -> NDArray[np.float64]:
    pairs = (count + 1) // 2
    radius = np.sqrt(-2 * np.log(stream.uniform(pairs)))
    halves = stream.words((pairs + 1) // 2).view(np.int32)[:pairs]
    angle = halves.astype(np.float64) * (2 * np.pi / 2**32)
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count]


def test_draws_follow_the_normal_law_and_do_not_go_together() -> None:
    """Both of a pair, near the centre and far from it: at a million draws, five standard errors and more."""
    count = 2**20
    (drawn,) = noised([torch.zeros(count)], 1.0, SecureStream(b"n" * 32))
    draws = drawn.double()
    assert kstest(draws.numpy(), "norm").pvalue > 1e-4
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs(float((draws**power).mean()) - moment) < 5 * math.sqrt(variance / count)
    for part in draws.split(CHUNK):
        one, other = part.view(2, -1)
        for first, second in ((one, other), (one**2 - 1, other**2 - 1)):
            spread = math.sqrt(float((first**2).mean() * (second**2).mean()) * len(one))
            assert abs(float((first * second).sum())) < 5 * spread
    far = float((draws.abs() > 4).double().mean())
    assert abs(far - 6.334e-5) < 5 * math.sqrt(6.334e-5 / count)


def test_sums_of_two_precisions_beyond_eight_deviations_and_none_at_all() -> None:
    wide, narrow = torch.full((5,), 1e3 + 1e-9, dtype=torch.float64), torch.full((4,), -1e3)
    for one, total in zip(noised([wide, narrow], 0.5, SecureStream()), (wide, narrow), strict=True):
        assert bool(((one - total).abs() < 0.5 * 8.7).all())
    assert [made.shape for made in noised([torch.zeros(0, 3), torch.zeros(0)], 0.5, SecureStream())] == [(0, 3), (0,)]


def test_each_keeps_its_shape_and_lies_on_the_lattice() -> None:
    sums = [torch.rand(3, 4).t(), torch.rand(()), torch.zeros(0, 5)]
    made = noised(sums, 3.0, SecureStream())
    assert [total.shape for total in made] == [total.shape for total in sums]
    assert all(total.dtype == torch.float32 for total in made)
    steps = made[0].double() * 2.0**19
    assert torch.equal(steps, steps.round())
