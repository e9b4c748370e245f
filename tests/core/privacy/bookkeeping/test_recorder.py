import weakref
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from leptonic.errors import PrivacyError
from leptonic.privacy.bookkeeping.recorder import Recorder

torch.set_num_threads(1)
X = torch.rand((6, 4), generator=torch.Generator().manual_seed(0))


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(x)))


class Tied(Two):
    def forward(self, x: Tensor) -> Tensor:
        return F.linear(super().forward(x), self.first.weight[:, :2])


class Spoiling(Two):
    """Changes the second layer's input after its call."""

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x) * 1.0
        output = self.second(hidden)
        hidden.mul_(0.5)
        return output + hidden.sum(dim=1, keepdim=True)


class Named(Two):
    def forward(self, x: Tensor) -> Tensor:
        return self.second(input=self.first(x))


def once(model: nn.Module) -> None:
    model(X).sum().backward()


def backward_twice(model: nn.Module) -> None:
    loss = model(X).sum()
    loss.backward(retain_graph=True)
    loss.backward()


def forward_twice(model: nn.Module) -> None:
    model(X)
    once(model)


def one_example_less(model: nn.Module) -> None:
    model(X[1:]).sum().backward()


def penalised(model: Two) -> None:
    (model(X).sum() + model.second.weight.square().sum()).backward()


@pytest.mark.parametrize(
    ("model", "run", "message"),
    [
        (Two(), lambda model: None, r"first\.weight has no gradient for each example"),
        (Two(), lambda model: model(X), r"first\.weight has no gradient"),
        (Two(), one_example_less, r"first\.weight has no gradient"),
        (Two(), backward_twice, "no gradient for each.*once per batch"),
        (Two(), forward_twice, r"first \(Linear\): called 2 times before step"),
        (Two(), penalised, r"second\.weight is used outside its module's call"),
        (Tied(), once, r"first\.weight is used outside its module's call"),
        (Spoiling(), once, "changed in place"),
        (Named(), once, "named arguments"),
    ],
)
def test_what_cannot_be_clipped_is_refused(model: nn.Module, run: Callable[[nn.Module], None], message: str) -> None:
    recorder = Recorder(model)

    def step() -> None:
        run(model)
        recorder.clipped_sums(len(X), 1.0)

    with pytest.raises(PrivacyError, match=message):
        step()
    recorder.cleanup()
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_calls_without_gradients_are_not_watched() -> None:
    model = Two()
    recorder = Recorder(model)
    with torch.no_grad():
        model(X)
    once(model)
    with torch.no_grad():
        model(X[:2])
    assert len(recorder.clipped_sums(len(X), 1.0)) == 4


def test_each_batch_stands_alone_and_an_empty_one_sums_to_zero() -> None:
    model = Two()
    recorder = Recorder(model)
    sums = []
    for _ in range(2):
        once(model)
        sums.append(recorder.clipped_sums(len(X), 1.0))
    assert all(torch.equal(sums[0][p], sums[1][p]) for p in model.parameters())
    for run in (lambda: None, lambda: model(X[:0]).sum().backward()):
        run()
        nothing = recorder.clipped_sums(0, 1.0)
        assert all(bool((nothing[p] == 0).all()) and nothing[p].shape == p.shape for p in model.parameters())


def test_no_gradient_is_left_on_parameters_and_the_model_is_plain_afterwards() -> None:
    model = Two()
    before = [set(vars(module)) for module in model.modules()]
    recorder = Recorder(model)
    once(model)
    assert all(parameter.grad is None for parameter in model.parameters())
    recorder.cleanup()
    assert [set(vars(module)) for module in model.modules()] == before
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    once(model)
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_failed_call_leaves_the_parameters_trainable() -> None:
    model = Two()
    recorder = Recorder(model)
    with pytest.raises(RuntimeError, match="shapes"):
        model(torch.ones(3, 7))
    assert all(parameter.requires_grad for parameter in model.parameters())
    once(model)
    recorder.expect(len(X))


@pytest.mark.parametrize("end", [once, None])
def test_a_batch_is_let_go_by_the_next_one_and_by_cleanup(end: Callable[[nn.Module], None] | None) -> None:
    model = Two()
    recorder = Recorder(model)
    once(model)
    kept = [weakref.ref(watched._gradients[0]) for _, _, watched in recorder._watches]  # type: ignore[attr-defined]
    recorder.clipped_sums(len(X), 1.0)
    if end is None:
        recorder.cleanup()
    else:
        end(model)
    assert all(one() is None for one in kept)
