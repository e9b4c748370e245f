"""What one example can do to a clipped sum, whatever it holds: the promise that the noise rests on."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.privacy.bookkeeping.truth import distance, recorded
from torch import Tensor, nn

from leptonic.privacy.bookkeeping import linear
from leptonic.privacy.bookkeeping.linear import OuterProducts
from leptonic.privacy.bookkeeping.products import summed, weighted_products
from leptonic.privacy.bookkeeping.recorder import bounded_sums

torch.set_num_threads(1)


class Images(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.few, self.many = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 8, 3)
        self.norm, self.output = nn.GroupNorm(2, 16), nn.Linear(8 * 16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(torch.relu(self.many(torch.relu(self.norm(self.few(x))))).flatten(1))


class Rows(nn.Module):
    """Over sequences: LSTM, normalisation, and a wide layer in Gram form."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.norm = nn.LSTM(8, 24, batch_first=True), nn.LayerNorm(24)
        self.wide, self.output = nn.Linear(24, 40), nn.Linear(40, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(torch.relu(self.wide(self.norm(self.lstm(x)[0]))).mean(dim=1))


MODELS = {"images": (Images, (1, 6, 6)), "rows": (Rows, (7, 8))}
AIMS = ["plain", "huge", "tiny", "infinite", "nan", "dead"]


def newcomer(aim: str, shape: tuple[int, ...]) -> Tensor:
    example = torch.randn((1, *shape), generator=torch.Generator().manual_seed(9))
    match aim:
        case "huge":
            example *= 1e18
        case "tiny":
            example *= 1e-18
        case "infinite":
            example.view(-1)[3] = math.inf
        case "nan":
            example[:] = math.nan
        case "dead":
            example[:] = 0.0
    return example


@pytest.mark.parametrize("clip_norm", [0.05, 1.0, 30.0])
@pytest.mark.parametrize("aim", AIMS)
@pytest.mark.parametrize("count", [1, 40, 200])
@pytest.mark.parametrize("kind", list(MODELS))
def test_one_example_moves_the_sum_by_at_most_the_bound(kind: str, count: int, aim: str, clip_norm: float) -> None:
    make, shape = MODELS[kind]
    torch.manual_seed(1)
    model = make()
    others = torch.randn((count, *shape), generator=torch.Generator().manual_seed(1))
    without = recorded(model, others, clip_norm)
    joined = recorded(model, torch.cat([others, newcomer(aim, shape)]), clip_norm)
    assert all(bool(torch.isfinite(total).all()) for total in joined.values())
    assert distance(joined, without) <= clip_norm
    if aim in ("infinite", "nan"):  # up to the rounding of a mean over one more
        assert distance(joined, without) <= 1e-5 * clip_norm * count


@pytest.mark.parametrize("layer", ["few", "norm", "many", "output"])
def test_an_outlier_aimed_at_one_layer_keeps_the_bound(layer: str) -> None:
    torch.manual_seed(2)
    model = Images()
    with torch.no_grad():
        for parameter in model.get_submodule(layer).parameters():
            parameter.mul_(1e6)
    others = torch.randn((30, 1, 6, 6), generator=torch.Generator().manual_seed(1))
    without = recorded(model, others, 1.0)
    joined = recorded(model, torch.cat([others, 100 * newcomer("plain", (1, 6, 6))]), 1.0)
    assert distance(joined, without) <= 1.0


@settings(max_examples=60, deadline=None)
@given(
    exponent=st.floats(-9, 0),
    rows=st.sampled_from([2, 8, 32]),
    width=st.sampled_from([40, 300]),
    constant=st.booleans(),
    size=st.integers(-6, 6),
    seed=st.integers(0, 2**30),
)
def test_rows_that_cancel_keep_the_bound_and_the_norm(
    exponent: float, rows: int, width: int, constant: bool, size: int, seed: int
) -> None:
    # The gradient is what is left of rows 10^-exponent times as long, in opposite pairs.
    generator = torch.Generator().manual_seed(seed)
    half = torch.randn((4, rows // 2, width), generator=generator) * 10.0**size
    inputs = torch.ones(half.shape) if constant else torch.randn(half.shape, generator=generator)
    gradients = torch.cat([half, -half * (1 + 10.0**exponent)], dim=1)
    inputs = torch.cat([inputs, inputs], dim=1)
    samples = OuterProducts(gradients, {"weight": inputs}, ["bias"])
    squares = samples.squares()
    exact = torch.bmm(gradients.double().transpose(1, 2), inputs.double())
    true = exact.square().sum(dim=(1, 2)) + gradients.double().sum(dim=1).square().sum(dim=1)
    # What was made in float32 differs from the truth, yet its norm is the norm of what is summed.
    rounding = (gradients.double().norm(dim=2) * (inputs.double().square().sum(dim=2) + 1).sqrt()).sum(dim=1) * 1e-6
    assert bool((squares.sqrt() >= true.sqrt() * (1 - 5e-5) - rounding).all())
    assert bool((squares.sqrt() <= true.sqrt() * (1 + 2e-3) + rounding).all())
    for one in range(4):
        alone = OuterProducts(gradients[one : one + 1], {"weight": inputs[one : one + 1]}, ["bias"])
        (sums,) = bounded_sums([alone], 1e-3)
        assert math.sqrt(sum(float(total.square().sum()) for total in sums.values())) <= 1e-3


@pytest.mark.parametrize("way", ["plain", "in strips", "one after the other"])
@pytest.mark.parametrize("rows", [2, 13, 48, 64])
@pytest.mark.parametrize("fill", ["random", "positive", "constant", "opposite", "inputs", "gradients"])
@pytest.mark.parametrize("widths", [(4096, 1000), (128, 40), (1, 256), (256, 3)])
def test_the_gram_form_is_wrong_by_less_than_what_is_added_for_it(
    widths: tuple[int, int], fill: str, rows: int, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above all for rows of one value, different in each example, where every addition rounds to the same side.

    "inputs" and "gradients" are what alone is rounded. The order of additions is the library's own, but for the last
    way, the worst that there is.
    """
    monkeypatch.setattr(linear, "_on_intel", lambda: way == "in strips")
    if way == "one after the other":
        monkeypatch.setattr(linear, "_with_itself", _one_after_the_other)
    generator = torch.Generator().manual_seed(rows)
    gradients, inputs = (torch.randn((8, rows, width), generator=generator) for width in widths)
    if fill == "positive":
        gradients, inputs = gradients.abs(), inputs.abs()
    elif fill != "random":
        gradients, inputs = (
            torch.rand((8, 1, 1), generator=generator).expand_as(made).contiguous() for made in (gradients, inputs)
        )
    if fill == "opposite":
        gradients[:, ::2] *= -1
    if fill == "inputs":
        gradients.fill_(1.0)
    if fill == "gradients":
        inputs.fill_(1.0)
    cut = (inputs.shape[2] + 1) // 2
    two = {"inner": inputs[:, :, :cut], "recurrent": inputs[:, :, cut:]}
    for sources, biases in (({"weight": inputs}, ["bias"]), (two, ["one", "other"])):
        squares, square_of_sum, allowance = OuterProducts(gradients, sources, biases)._gram()
        wide, others = gradients.double(), inputs.double()
        products = torch.bmm(others, others.transpose(1, 2)) + len(biases)
        exact = (torch.bmm(wide, wide.transpose(1, 2)) * products).sum(dim=(1, 2))
        assert bool(((squares - exact).abs() <= allowance).all())
        assert bool((allowance <= (600 + 2 * rows) * 2.0**-24 * square_of_sum).all())
        if fill == "random" and min(widths) > 3:
            assert bool((allowance <= 2e-4 * exact).all())


def _one_after_the_other(block: Tensor) -> Tensor:
    parts = block.numpy()
    return torch.stack(
        [torch.from_numpy(np.cumsum(row[:, None] * row[None], axis=2, dtype=np.float32)[:, :, -1]) for row in parts]
    )


def test_gradients_too_small_for_float32_squares_count() -> None:
    # |g| = 1e-23 and |x| = 1e18: the Gram matrix of g is zero, the gradient is not.
    for rows in (1, 5):
        gradients, inputs = torch.full((1, rows, 50), 1e-23), torch.full((1, rows, 60), 1e18)
        (sums,) = bounded_sums([OuterProducts(gradients, {"weight": inputs}, [])], 1e-9)
        assert float(sums["weight"].norm()) <= 1e-9


def test_aligned_large_batches_keep_the_bound() -> None:
    generator = torch.Generator().manual_seed(0)
    direction, inputs = torch.randn(60, generator=generator), torch.randn(50, generator=generator)
    for rows in (1, 4):
        gradients = direction * (1 + 1e-3 * torch.randn((2000, rows, 1), generator=generator))
        others = OuterProducts(gradients, {"weight": inputs.expand(2000, rows, 50)}, ["bias"])
        more = torch.cat([gradients[:1] * 1.001, gradients])
        joined = OuterProducts(more, {"weight": inputs.expand(2001, rows, 50)}, ["bias"])
        assert distance(bounded_sums([joined], 1.0)[0], bounded_sums([others], 1.0)[0]) <= 1.0


def test_products_and_their_sums_are_precise() -> None:
    generator = torch.Generator().manual_seed(0)
    for shape in ((1, 1), (300, 1), (700, 3), (5, 3000)):
        gradients, inputs = (torch.randn((*shape, width), generator=generator) for width in (7, 5))
        weights = torch.rand(shape[0], generator=generator)
        (product,), bias = weighted_products(gradients, [inputs], weights)
        wide = gradients.double() * weights.double()[:, None, None]
        exact = torch.einsum("nto,nti->oi", wide, inputs.double())
        assert torch.allclose(product.double(), exact, atol=1e-3, rtol=1e-5)
        assert torch.allclose(bias.double(), wide.sum(dim=(0, 1)), atol=1e-3, rtol=1e-5)
    blocks = [torch.full((3,), 0.1) for _ in range(1001)]
    assert torch.allclose(summed(blocks, every=8), torch.full((3,), 100.1).double(), rtol=1e-7)
