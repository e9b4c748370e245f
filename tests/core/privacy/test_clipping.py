import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leptonic.privacy.clipping import clip_factors, clipped_sums

torch.set_num_threads(1)


def norm(parts: list[torch.Tensor]) -> float:
    return math.sqrt(sum(float(part.double().square().sum()) for part in parts))


def samples(count: int, seed: int, scale: float) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [scale * torch.randn((count, *shape), generator=generator) for shape in ((3, 5), (7,), ())]


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(0, 70),
    seed=st.integers(0, 2**30),
    exponent=st.integers(-12, 30),
    clip_norm=st.floats(1e-3, 1e3),
    layer=st.integers(0, 3),
    special=st.sampled_from([0.0, 1.0, -3e38, math.inf, -math.inf, math.nan]),
)
def test_one_example_moves_the_sum_by_at_most_the_bound(
    count: int, seed: int, exponent: int, clip_norm: float, layer: int, special: float
) -> None:
    without = samples(count, seed, 1.0)
    newcomer = samples(1, seed + 1, 10.0**exponent)
    if layer < 3:
        newcomer[layer].view(-1)[0] = special
    joined = [torch.cat([old, new]) for old, new in zip(without, newcomer, strict=True)]
    difference = [a - b for a, b in zip(clipped_sums(joined, clip_norm), clipped_sums(without, clip_norm), strict=True)]
    assert norm(difference) <= clip_norm


def test_small_gradients_pass_unchanged_and_large_ones_are_scaled() -> None:
    small = [torch.tensor([[0.3, 0.4]])]
    assert torch.allclose(clipped_sums(small, 1.0)[0], torch.tensor([0.3, 0.4], dtype=torch.float64), atol=1e-7)
    large = [torch.tensor([[30.0, 40.0]])]
    assert torch.allclose(clipped_sums(large, 1.0)[0], torch.tensor([0.6, 0.8]).double(), rtol=1.1e-4)


def test_the_norm_runs_over_all_parameters() -> None:
    factors = clip_factors([torch.tensor([[3.0]]), torch.tensor([[4.0]])], 1.0)
    assert factors.item() == pytest.approx(0.2, rel=1.1e-4)


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_what_is_not_finite_contributes_exactly_zero(bad: float) -> None:
    first = torch.tensor([[1.0, 2.0], [bad, 2.0], [0.5, 0.5]])
    second = torch.tensor([[1.0], [5.0], [2.0]])
    keep = [0, 2]
    expected = clipped_sums([first[keep], second[keep]], 1.0)
    for got, wanted in zip(clipped_sums([first, second], 1.0), expected, strict=True):
        assert torch.equal(got, wanted)


def test_an_empty_batch_sums_to_zero() -> None:
    sums = clipped_sums([torch.empty((0, 2, 3)), torch.empty(0)], 1.0)
    assert [tuple(s.shape) for s in sums] == [(2, 3), ()]
    assert all(bool((s == 0).all()) for s in sums)


def test_zero_gradients_are_not_divided_by_their_norm() -> None:
    assert clip_factors([torch.zeros((2, 3))], 1.0).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("size", [2047, 2048, 2049, 4097, 1_660_000])
def test_norms_of_long_gradients_are_exact_enough(size: int) -> None:
    # A plain float32 norm of equal values is wrong by up to 4e-4 here, four times the slack.
    sample = torch.full((2, size), 0.1)
    exact = float(np.float32(0.1)) * math.sqrt(size)
    factor = clip_factors([sample], 1e-3)[0].item()
    assert 1e-3 * (1 - 1.2e-4) <= factor * exact <= 1e-3 * (1 - 0.8e-4)


def test_aligned_large_batches_keep_the_bound() -> None:
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(1000, generator=generator)
    rows = direction * (1 + 1e-3 * torch.randn((2000, 1), generator=generator))
    with_one = clipped_sums([torch.cat([rows[:1] * 1.001, rows])], 1.0)
    without = clipped_sums([rows], 1.0)
    assert norm([with_one[0] - without[0]]) <= 1.0
