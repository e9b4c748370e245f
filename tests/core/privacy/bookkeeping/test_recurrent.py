import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.privacy.bookkeeping.truth import assert_same, exact, recorded
from torch import Tensor, nn

from leptonic.errors import PrivacyError
from leptonic.privacy.bookkeeping.recurrent import lstm_forward
from leptonic.privacy.compatibility import check_model

torch.set_num_threads(1)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class Sequences(nn.Module):
    def __init__(self, *, state: bool = False, **options: object) -> None:
        super().__init__()
        self.first, self.lstm = nn.Linear(3, 3), nn.LSTM(3, 4, **{"batch_first": True, **options})  # type: ignore
        self.output, self.state = nn.Linear(4, 2), state

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.first(x))
        if not self.lstm.batch_first:
            x = x.transpose(0, 1)
        examples = x.shape[0 if self.lstm.batch_first else 1]
        start = x.new_ones(self.lstm.num_layers, examples, 4)
        outputs, (hidden, cell) = self.lstm(x, (start, 2 * start) if self.state else None)
        last = outputs[:, -1] if self.lstm.batch_first else outputs[-1]
        return torch.stack([self.output(last + hidden[0] + cell[-1])], dim=1)


@settings(max_examples=20, deadline=None)
@given(
    count=st.sampled_from([1, 2, 40]),
    steps=st.sampled_from([1, 2, 9]),
    layers=st.integers(1, 2),
    bias=st.booleans(),
    batch_first=st.booleans(),
    state=st.booleans(),
    seed=st.integers(0, 2**30),
)
def test_lstm(count: int, steps: int, layers: int, bias: bool, batch_first: bool, state: bool, seed: int) -> None:
    torch.manual_seed(seed)
    model = Sequences(num_layers=layers, bias=bias, batch_first=batch_first, state=state)
    assert_same(model, normal(count, steps, 3, seed=seed))


def test_an_lstm_that_comes_first_and_wide() -> None:
    torch.manual_seed(0)

    class First(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(40, 32, 2, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.lstm(x)[0]

    assert_same(First(), normal(40, 12, 40))


@pytest.mark.parametrize("batch_first", [True, False])
def test_outputs_and_input_gradients_are_those_of_pytorch(batch_first: bool) -> None:
    torch.manual_seed(0)
    module = nn.LSTM(3, 4, 2, batch_first=batch_first).double()
    results = []
    for own in (True, False):
        inputs = normal(5, 6, 3).double().requires_grad_()
        state = [normal(2, 5 if batch_first else 6, 4, seed=k).double().requires_grad_() for k in (1, 2)]
        anchor = torch.zeros((), requires_grad=True)
        call = (inputs, (state[0], state[1]))
        outputs, (hidden, cell) = lstm_forward(module, lambda *_: None, anchor, *call) if own else module(*call)
        (outputs.square().sum() + hidden.sum() + cell.square().sum()).backward()
        results.append([outputs, hidden, cell, inputs.grad, *(s.grad for s in state)])
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(*results, strict=True))


def test_frozen_weights_and_dropout() -> None:
    torch.manual_seed(0)
    model = Sequences(num_layers=2)
    for name in ("weight_ih_l0", "weight_hh_l0", "bias_hh_l1"):
        model.lstm.get_parameter(name).requires_grad_(False)
    assert_same(model, normal(7, 5, 3))
    with_dropout = Sequences(num_layers=2, dropout=0.5)
    sums = recorded(with_dropout, normal(7, 5, 3), 1.0)
    assert sums.keys() == exact(with_dropout, normal(7, 5, 3), 1.0).keys()


def test_the_module_is_plain_afterwards() -> None:
    model = Sequences(num_layers=2)
    check_model(model, torch.rand(2, 5, 3), lstm=True)
    before = set(vars(model.lstm))
    recorded(model, normal(7, 5, 3), 1.0)
    assert set(vars(model.lstm)) == before
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


@pytest.mark.parametrize(
    ("module", "message"),
    [(nn.LSTM(3, 4, bidirectional=True), "on its reverse"), (nn.LSTM(3, 4, proj_size=2), "put a Linear behind")],
)
def test_lstms_that_are_not_supported_are_refused(module: nn.LSTM, message: str) -> None:
    with pytest.raises(PrivacyError, match=message):
        check_model(nn.Sequential(module), lstm=True)


def test_what_is_no_batch_of_sequences_is_refused() -> None:
    with pytest.raises(PrivacyError, match="3 axes"):
        recorded(nn.Sequential(nn.LSTM(3, 4)), normal(5, 3), 1.0)
