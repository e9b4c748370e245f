import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.privacy.bookkeeping.truth import assert_same, recorded
from torch import Tensor, nn

from leptonic.device import channels_last, placed
from leptonic.errors import PrivacyError

torch.set_num_threads(1)
few = settings(max_examples=25, deadline=None)
counts, seeds = st.sampled_from([1, 2, 3, 33]), st.integers(0, 2**30)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class Behind(nn.Module):
    """A layer that is not the first, with something nonlinear before and after."""

    def __init__(self, layer: nn.Module, inputs: int) -> None:
        super().__init__()
        self.first, self.layer = nn.Linear(inputs, inputs), layer

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.layer(torch.tanh(self.first(x))))


@few
@given(
    count=counts,
    rows=st.lists(st.sampled_from([1, 2, 5, 40]), max_size=2),
    inputs=st.integers(1, 6),
    outputs=st.integers(1, 6),
    bias=st.booleans(),
    seed=seeds,
)
def test_linear(count: int, rows: list[int], inputs: int, outputs: int, bias: bool, seed: int) -> None:
    torch.manual_seed(seed)
    layer = nn.Linear(inputs, outputs, bias=bias)
    features = normal(count, *rows, inputs, seed=seed)
    assert_same(layer, features)
    assert_same(Behind(layer, inputs), features)


@pytest.mark.parametrize("rows", [1, 7, 64])
def test_wide_linear_layers_in_gram_form(rows: int) -> None:
    torch.manual_seed(0)
    assert_same(Behind(nn.Linear(80, 96), 80), normal(70, rows, 80))


@few
@given(
    count=counts,
    size=st.tuples(st.integers(5, 9), st.integers(5, 9)),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.integers(1, 3),
    padding=st.sampled_from([0, 1, (0, 1), "same"]),
    dilation=st.integers(1, 2),
    groups=st.sampled_from([1, 2]),
    channels=st.sampled_from([2, 4, 16]),
    mode=st.sampled_from(["zeros", "reflect", "circular"]),
    bias=st.booleans(),
    seed=seeds,
)
def test_convolutions_of_two_dimensions(
    count: int,
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: int,
    padding: int | tuple[int, int] | str,
    dilation: int,
    groups: int,
    channels: int,
    mode: str,
    bias: bool,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    if padding == "same":
        stride, kernel = 1, (3, 1)
    layer = nn.Conv2d(channels, 6, kernel, stride, padding, dilation, groups, bias, mode)
    assert_same(layer, normal(count, channels, *size, seed=seed))


@pytest.mark.parametrize("mode", ["zeros", "circular"])
@pytest.mark.parametrize(
    ("rows", "kernel", "padding"),
    [(2, (1, 3), (2, 2)), (2, (3, 3), (2, 0)), (3, (5, 2), (1, 2)), (4, (12, 3), (4, 1))],
)
def test_convolutions_whose_kernels_see_more_zeros_than_rows(
    rows: int, kernel: tuple[int, int], padding: tuple[int, int], mode: str
) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(16, 5, kernel, padding=padding, padding_mode=mode)
    assert_same(layer, normal(9, 16, rows, 7, seed=1))


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
def test_convolutions_with_one_row_of_zeros_more_below_than_above() -> None:
    torch.manual_seed(0)
    assert_same(nn.Conv2d(16, 5, (4, 2), padding="same"), normal(9, 16, 6, 7, seed=1))


@pytest.mark.parametrize("channels", [1, 3, 8])
@pytest.mark.parametrize("bias", [True, False])
def test_convolutions_of_models_that_lie_with_channels_last(channels: int, bias: bool) -> None:
    torch.manual_seed(channels)
    model = nn.Sequential(nn.Conv2d(channels, 6, 3, padding=1, bias=bias), nn.MaxPool2d(2), nn.Conv2d(6, 5, 3))
    placed(model, torch.device("cpu"))
    assert_same(model, channels_last(normal(9, channels, 12, 12, seed=1)))


@few
@given(
    count=counts,
    length=st.integers(5, 12),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 2),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 2),
    channels=st.sampled_from([1, 2, 16]),
    bias=st.booleans(),
    seed=seeds,
)
def test_convolutions_of_one_dimension(
    count: int, length: int, kernel: int, stride: int, padding: int, dilation: int, channels: int, bias: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    layer = nn.Conv1d(channels, 3, kernel, stride=stride, padding=padding, dilation=dilation, bias=bias)
    assert_same(layer, normal(count, channels, length, seed=seed))


def test_convolutions_of_channels_last_and_of_many_channels() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 20, 3, padding=1), nn.ReLU(), nn.Conv2d(20, 8, (3, 5)), nn.MaxPool2d(2))
    features = normal(70, 3, 9, 9)
    assert_same(model, features)
    assert_same(model, features.to(memory_format=torch.channels_last))


class Words(nn.Module):
    def __init__(self, layer: nn.Embedding, width: int) -> None:
        super().__init__()
        self.embedding, self.output = layer, nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(torch.tanh(self.embedding(x)))


@few
@given(
    count=counts,
    shape=st.lists(st.integers(1, 6), max_size=2),
    words=st.integers(1, 5),
    padding=st.sampled_from([None, 0]),
    seed=seeds,
)
def test_embeddings_with_repeated_indices(
    count: int, shape: list[int], words: int, padding: int | None, seed: int
) -> None:
    torch.manual_seed(seed)
    layer = nn.Embedding(words, 4, padding_idx=padding)
    assert_same(Words(layer, 4), torch.randint(0, words, (count, *shape)))


@few
@given(count=counts, rows=st.lists(st.integers(1, 4), max_size=2), bias=st.booleans(), seed=seeds)
def test_layer_norm(count: int, rows: list[int], bias: bool, seed: int) -> None:
    torch.manual_seed(seed)
    assert_same(Behind(nn.LayerNorm(6, bias=bias), 6), normal(count, *rows, 6, seed=seed))
    assert_same(nn.LayerNorm((5, 6), bias=bias), normal(count, *rows, 5, 6, seed=seed))


@few
@given(
    count=counts, size=st.lists(st.integers(2, 4), min_size=1, max_size=2), groups=st.sampled_from([1, 2]), seed=seeds
)
def test_group_norm(count: int, size: list[int], groups: int, seed: int) -> None:
    torch.manual_seed(seed)
    model = nn.GroupNorm(groups, 4)
    nn.init.normal_(model.weight)
    assert_same(model, normal(count, 4, *size, seed=seed))


class Scale(nn.Module):
    """A parameter of one's own, and a layer inside."""

    def __init__(self) -> None:
        super().__init__()
        self.factor, self.inner = nn.Parameter(torch.ones(5)), nn.Linear(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.inner(x) * self.factor) + self.factor.square()


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (Scale(), (5,)),
        (nn.PReLU(), (5,)),
        (nn.Conv3d(2, 3, 2), (2, 3, 3, 3)),
        (nn.ConvTranspose2d(2, 3, 2), (2, 3, 3)),
        (nn.InstanceNorm1d(2, affine=True), (2, 6)),
    ],
)
def test_other_modules_by_their_own_per_example_gradients(layer: nn.Module, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    assert_same(nn.Sequential(layer, nn.Tanh()), normal(9, *shape))


class Noisy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(5))

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x * self.factor, 0.5)


def test_a_module_with_randomness_of_its_own_is_refused() -> None:
    with pytest.raises(PrivacyError, match="no per-example gradients of a Noisy"):
        recorded(nn.Sequential(Noisy()), normal(4, 5), 1.0)


@pytest.mark.parametrize("frozen", ["0.weight", "0.bias", "2.weight", "2.bias"])
@pytest.mark.parametrize("rows", [(), (6,)])
def test_frozen_parameters_count_for_nothing(frozen: str, rows: tuple[int, ...]) -> None:
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))
    model.get_parameter(frozen).requires_grad_(False)
    assert_same(model, normal(7, *rows, 4))


def test_in_place_activations_are_followed() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(64, 3))
    assert_same(model, normal(6, 1, 6, 6))


def test_zero_gradients_stay() -> None:
    sums = recorded(nn.Linear(3, 2), torch.zeros(5, 4, 3), 1.0, lambda output: output.flatten(1).sum(dim=1) * 0.0)
    assert all(math.isclose(float(total.abs().sum()), 0.0) for total in sums.values())
