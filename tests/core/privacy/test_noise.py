import math

import numpy as np
import pytest
import torch

from leptonic.privacy.noise import noised
from leptonic.randomness import SecureStream

CHUNK = 2**18
DEVIATION = 0.3


@pytest.mark.parametrize("sizes", [(1,), (7,), (3, 0, 4), (CHUNK,), (CHUNK - 1, 2, 5)])
def test_many_sums_take_their_noise_from_one_keystream(sizes: tuple[int, ...]) -> None:
    """Against NumPy's Box and Muller on the same keystream, of which a chunk takes whole pairs."""
    key = b"k" * 32
    sums = [torch.full((size,), 10.0**place, dtype=torch.float64) for place, size in enumerate(sizes)]
    before = [total.clone() for total in sums]
    noises = [after - total for after, total in zip(noised(sums, DEVIATION, SecureStream(key)), sums, strict=True)]
    reference, count = SecureStream(key), sum(sizes)
    chunks = [min(CHUNK, count - start) for start in range(0, count, CHUNK)]
    drawn = np.concatenate([reference.normal(chunk + chunk % 2)[:chunk] for chunk in chunks])
    lattice = 2.0 ** (math.floor(math.log2(DEVIATION)) - 20)
    assert np.abs(torch.cat(noises).numpy() - DEVIATION * drawn).max() <= lattice
    assert all(torch.equal(total, same) for total, same in zip(sums, before, strict=True))


def test_each_keeps_its_shape_and_lies_on_the_lattice() -> None:
    sums = [torch.rand(3, 4).t(), torch.rand(()), torch.zeros(0, 5)]
    made = noised(sums, 3.0, SecureStream())
    assert [total.shape for total in made] == [total.shape for total in sums]
    assert all(total.dtype == torch.float64 for total in made)
    steps = made[0] * 2.0**19
    assert torch.equal(steps, steps.round())
