import math
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor, nn, optim

from leptonic.errors import PrivacyError
from leptonic.privacy.accounting import ExamplePlan
from leptonic.privacy.example_level import PrivateTraining, private_training
from leptonic.randomness import SecureStream

torch.set_num_threads(1)

PLAN = ExamplePlan(
    noise_multiplier=1.0,
    sample_rate=8 / 40,
    steps_per_round=6,
    releases=3,
    batch_size=8,
    public_size=40,
    delta=1e-3,
    target_epsilon=8.0,
)

ALL = replace(PLAN, sample_rate=1.0, batch_size=40)
"""Each batch has all 40 examples."""


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.GroupNorm(1, 3), nn.Tanh(), nn.Flatten(), nn.Linear(12, 3))


def examples(count: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    return torch.randn((count, 1, 4, 4), generator=generator), torch.randint(0, 3, (count,), generator=generator)


def train(
    model: nn.Module,
    features: Tensor,
    labels: Tensor,
    *,
    plan: ExamplePlan = PLAN,
    optimizer: optim.Optimizer | None = None,
    keys: tuple[bytes | None, bytes | None] = (b"n" * 32, b"s" * 32),
    clip_norm: float = 1.0,
    accumulation_steps: int = 1,
    gradients: Literal["bookkeeping", "hooks"] = "bookkeeping",
) -> list[int]:
    """One round; returns the sizes of its batches, or of their micro-batches."""
    sizes = []
    with private_training(
        model,
        optimizer or optim.SGD(model.parameters(), lr=0.1),
        features,
        labels,
        plan=plan,
        clip_norm=clip_norm,
        noise=SecureStream(keys[0]),
        sampling=SecureStream(keys[1]),
        accumulation_steps=accumulation_steps,
        gradients=gradients,
    ) as private:
        for x, y in private.batches():
            F.cross_entropy(model(x), y, reduction="sum").backward()
            private.step()
            sizes.append(len(x))
    return sizes


def vector(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()]).clone()


def test_rounds_repeat_with_given_keys_and_differ_without() -> None:
    results = []
    for keys in ((b"a" * 32, b"b" * 32), (b"a" * 32, b"b" * 32), (b"c" * 32, b"b" * 32), (None, None), (None, None)):
        model = network()  # the same seed each time, as on two clients of one experiment
        train(model, *examples(40), keys=keys)
        results.append(vector(model))
    assert torch.equal(results[0], results[1])
    for first, second in ((0, 2), (0, 3), (3, 4)):
        assert float((results[first] - results[second]).norm()) > 0.1


def test_the_global_generator_is_not_touched() -> None:
    model = network()
    features, labels = examples(40)
    before = torch.random.get_rng_state()
    train(model, features, labels)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(("size", "batch", "steps"), [(997, 64, 16), (96, 64, 2), (10, 10, 1)])
def test_the_number_of_steps_is_the_plans(size: int, batch: int, steps: int) -> None:
    plan = replace(PLAN, sample_rate=batch / size, batch_size=batch, public_size=size, steps_per_round=steps)
    for at_hand in (size, size // 2):
        assert len(train(network(), *examples(at_hand), plan=plan)) == steps


def test_the_model_is_plain_before_and_after_and_the_next_round_works() -> None:
    model = network()
    names = list(model.state_dict())
    attributes = [set(vars(module)) for module in model.modules()]
    for _ in range(3):
        before = vector(model)
        train(model, *examples(40))
        assert not torch.equal(vector(model), before)
        assert list(model.state_dict()) == names
        assert [set(vars(module)) for module in model.modules()] == attributes
        assert not any(vars(parameter) for parameter in model.parameters())
        assert all(parameter.grad is None for parameter in model.parameters())
        assert not any(m._forward_hooks or m._backward_hooks for m in model.modules())


def test_the_model_is_plain_after_an_error() -> None:
    model = network()

    def interrupted() -> None:
        with started(model) as private:
            x, y = next(private.batches())
            F.cross_entropy(model(x), y, reduction="sum").backward()
            raise KeyError

    with pytest.raises(KeyError):
        interrupted()
    assert not any(vars(parameter) for parameter in model.parameters())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(hasattr(module, "activations") for module in model.modules())
    train(model, *examples(40))


def test_empty_batches_are_steps_of_noise() -> None:
    plan = replace(PLAN, sample_rate=1e-4, steps_per_round=5)
    for count in (40, 0):
        model = network()
        before = vector(model)
        assert train(model, *examples(count), plan=plan) == [0] * 5
        moved = (vector(model) - before).double()
        # five steps of N(0, (1 / 8)^2) at rate 0.1
        low, high = stats.chi2.ppf([1e-4, 1 - 1e-4], df=len(moved))
        assert low < float((moved / (0.1 * math.sqrt(5) / 8)).square().sum()) < high


def test_an_empty_batch_between_others_needs_no_backward() -> None:
    model = network()
    plan = replace(PLAN, sample_rate=0.04, steps_per_round=30)
    sizes = []
    with started(model, plan) as private:
        for x, y in private.batches():
            if len(x):
                F.cross_entropy(model(x), y, reduction="sum").backward()
            private.step()
            sizes.append(len(x))
    assert 0 in sizes
    assert max(sizes) > 0


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan, 3e38])
def test_a_bad_example_does_not_poison_the_parameters(bad: float) -> None:
    features, labels = examples(40)
    features[3, 0, 0, 0] = bad
    model = network()
    train(model, features, labels, plan=replace(PLAN, sample_rate=1.0))
    assert torch.isfinite(vector(model)).all()


@pytest.mark.parametrize(("multiplier", "clip_norm", "batch"), [(1.0, 1.0, 8), (2.0, 0.1, 4)])
def test_the_noise_on_the_mean_gradient(multiplier: float, clip_norm: float, batch: int) -> None:
    model = nn.Linear(300, 100)
    plan = replace(PLAN, noise_multiplier=multiplier, batch_size=batch, steps_per_round=1)
    # Inputs of zero and a loss of zero: every example's gradient vanishes.
    seen: list[np.ndarray] = []
    with private_training(
        model,
        optim.SGD(model.parameters(), lr=1.0),
        torch.zeros(40, 300),
        torch.zeros(40),
        plan=plan,
        clip_norm=clip_norm,
        noise=SecureStream(b"x" * 32),
        sampling=SecureStream(),
    ) as private:
        for x, _ in private.batches():
            (model(x) * 0).sum().backward()
            private.step(lambda: seen.append(torch.cat([p.grad.flatten() for p in model.parameters()]).numpy()))
    scaled = seen[0].astype(float) / (multiplier * clip_norm / batch)
    low, high = stats.chi2.ppf([1e-4, 1 - 1e-4], df=scaled.size)
    assert low < (scaled**2).sum() < high
    assert stats.kstest(scaled, "norm").pvalue > 1e-4


def test_the_denominator_is_the_declared_batch_size() -> None:
    model = nn.Linear(1, 1, bias=False)
    plan = replace(PLAN, noise_multiplier=1e-9, sample_rate=1.0, batch_size=10, steps_per_round=1)
    gradient = []
    with private_training(
        model,
        optim.SGD(model.parameters(), lr=1.0),
        torch.full((25, 1), 0.5),
        torch.zeros(25),
        plan=plan,
        clip_norm=1.0,
        noise=SecureStream(),
        sampling=SecureStream(),
    ) as private:
        for x, _ in private.batches():
            model(x).sum().backward()
            private.step(lambda: gradient.append(model.weight.grad.item()))
    assert gradient == [pytest.approx(25 * 0.5 / 10, rel=1e-5)]


def test_the_correction_comes_after_clipping_and_noise() -> None:
    moved = []
    for constant in (0.0, 1000.0):
        model = nn.Linear(6, 4)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()

        def correct(model: nn.Module = model, constant: float = constant) -> None:
            for parameter in model.parameters():
                assert parameter.grad is not None
                parameter.grad += constant

        with private_training(
            model,
            optim.SGD(model.parameters(), lr=1.0),
            torch.zeros(40, 6),
            torch.zeros(40),
            plan=replace(PLAN, steps_per_round=1),
            clip_norm=1.0,
            noise=SecureStream(b"k" * 32),
            sampling=SecureStream(b"k" * 32),
        ) as private:
            for x, _ in private.batches():
                (model(x) * 0).sum().backward()
                private.step(correct)
        moved.append(vector(model))
    assert bool((moved[0] != 0).all())
    assert torch.allclose(moved[1], moved[0] - 1000.0, atol=1e-4)


def test_momentum_and_decay_work_on_noised_gradients() -> None:
    model, twin = network(), network()
    gradients: list[list[Tensor]] = []
    settings = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}
    features, labels = examples(40)
    with private_training(
        model,
        optim.SGD(model.parameters(), **settings),
        features,
        labels,
        plan=PLAN,
        clip_norm=1.0,
        noise=SecureStream(),
        sampling=SecureStream(),
    ) as private:
        for x, y in private.batches():
            F.cross_entropy(model(x), y, reduction="sum").backward()
            private.step(lambda: gradients.append([p.grad.clone() for p in model.parameters()]))
    plain = optim.SGD(twin.parameters(), **settings)
    for step in gradients:
        for parameter, gradient in zip(twin.parameters(), step, strict=True):
            parameter.grad = gradient
        plain.step()
    assert torch.equal(vector(model), vector(twin))


def test_learning_works_at_little_noise() -> None:
    generator = torch.Generator().manual_seed(1)
    features = torch.randn((400, 2), generator=generator)
    labels = (features.sum(dim=1) > 0).long()
    model = nn.Linear(2, 2)
    plan = replace(PLAN, noise_multiplier=0.5, sample_rate=0.1, batch_size=40, steps_per_round=100)
    train(model, features, labels, plan=plan, optimizer=optim.SGD(model.parameters(), lr=1.0))
    assert float((model(features).argmax(dim=1) == labels).float().mean()) > 0.95


def started(
    model: nn.Module, plan: ExamplePlan = PLAN, *, accumulation_steps: int = 1
) -> AbstractContextManager[PrivateTraining]:
    return private_training(
        model,
        optim.SGD(model.parameters(), lr=0.1),
        *examples(40),
        plan=plan,
        clip_norm=1.0,
        noise=SecureStream(b"n" * 32),
        sampling=SecureStream(b"s" * 32),
        accumulation_steps=accumulation_steps,
    )


def test_a_step_needs_a_batch_and_a_batch_needs_a_step() -> None:
    model = network()
    with started(model) as private, pytest.raises(PrivacyError, match="without a new batch"):
        private.step()
    with started(model) as private, pytest.raises(PrivacyError, match="left without step"):
        list(private.batches())
    with started(model) as private:
        next(private.batches())
        with pytest.raises(PrivacyError, match="only once"):
            next(private.batches())


def test_a_step_needs_a_gradient_for_each_example() -> None:
    model = network()
    with started(model, replace(PLAN, sample_rate=1.0)) as private:
        next(private.batches())
        with pytest.raises(PrivacyError, match=r"0\.weight has no gradient for each example"):
            private.step()


@pytest.mark.parametrize("clip_norm", [0.0, -1.0, math.nan, math.inf, 1e-30])
def test_a_clipping_norm_without_a_bound_is_refused(clip_norm: float) -> None:
    with pytest.raises(PrivacyError, match="clip_norm"):
        train(network(), *examples(40), clip_norm=clip_norm)


def test_bad_arguments_are_refused() -> None:
    model = network()
    features, labels = examples(40)
    with pytest.raises(PrivacyError, match="40 rows of features but 39 labels"):
        train(model, features, labels[1:])
    with pytest.raises(PrivacyError, match="optimizer does not have it"):
        train(model, features, labels, optimizer=optim.SGD(list(model.parameters())[1:], lr=0.1))
    with pytest.raises(PrivacyError, match="BatchNorm"):
        train(nn.Sequential(nn.BatchNorm2d(1), model), features, labels)
    with pytest.raises(PrivacyError, match=r"model\.train"):
        train(network().eval(), features, labels)


def test_frozen_parameters_stay() -> None:
    model = network()
    model[0].weight.requires_grad_(False)
    model[0].bias.requires_grad_(False)
    before = model[0].weight.clone()
    train(model, *examples(40), optimizer=optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1))
    assert torch.equal(model[0].weight, before)


class Recurrent(nn.Module):
    """The rows of an image as a sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.output = nn.LSTM(4, 5, 2, batch_first=True), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.lstm(x.flatten(1, 2))[0][:, -1])


def test_an_lstm_trains_with_empty_batches_between_and_is_plain_afterwards() -> None:
    torch.manual_seed(0)
    model = Recurrent()
    before, attributes = vector(model), set(vars(model.lstm))
    features, labels = examples(40)
    sizes = train(model, features, labels, plan=replace(PLAN, sample_rate=0.04, steps_per_round=30))
    assert 0 in sizes
    assert torch.isfinite(vector(model)).all()
    assert not torch.equal(vector(model), before)
    assert set(vars(model.lstm)) == attributes


WAYS: list[Literal["bookkeeping", "hooks"]] = ["bookkeeping", "hooks"]


def test_both_ways_to_the_gradients_give_the_same_round() -> None:
    results = []
    for gradients in WAYS:
        model = network()
        train(model, *examples(40), clip_norm=0.5, gradients=gradients)
        results.append(vector(model))
    assert torch.allclose(*results, atol=1e-4)


@pytest.mark.parametrize("gradients", WAYS)
@pytest.mark.parametrize("accumulation_steps", [2, 3, 1000])
def test_micro_batches_give_the_same_round(accumulation_steps: int, gradients: Literal["bookkeeping", "hooks"]) -> None:
    plan = replace(PLAN, sample_rate=0.15, steps_per_round=20)
    model, twin = network(), network()
    whole = train(model, *examples(40), plan=plan, gradients=gradients)
    parts = train(twin, *examples(40), plan=plan, gradients=gradients, accumulation_steps=accumulation_steps)
    expected: list[int] = []
    most = -(-plan.batch_size // accumulation_steps)
    for size in whole:
        expected += [most] * (size // most) + [size % most] * (size % most > 0 or size == 0)
    assert parts == expected
    assert torch.allclose(vector(twin), vector(model), atol=1e-5)


def test_a_batch_is_corrected_and_stepped_once_however_many_micro_batches_it_has() -> None:
    model = network()
    steps: list[int] = []
    with started(model, ALL, accumulation_steps=4) as private:
        for number, (x, y) in enumerate(private.batches(), start=1):
            before = vector(model)
            F.cross_entropy(model(x), y, reduction="sum").backward()
            private.step(lambda number=number: steps.append(number))
            assert torch.equal(vector(model), before) == (number % 4 > 0)
            assert all(p.grad is None for p in model.parameters())
    assert steps == [4, 8, 12, 16, 20, 24]


def test_each_micro_batch_needs_its_step() -> None:
    model = network()
    with started(model, ALL, accumulation_steps=2) as private:
        batches = private.batches()
        x, y = next(batches)
        F.cross_entropy(model(x), y, reduction="sum").backward()
        private.step()
        next(batches)
        with pytest.raises(PrivacyError, match="left without step"):
            next(batches)
    with pytest.raises(PrivacyError, match="accumulation_steps = 0"):
        train(model, *examples(40), accumulation_steps=0)


def test_opacus_hooks_refuse_what_lies_with_channels_last() -> None:
    # Their gradients of convolutions are then wrong: by 29 % for the LeNet, more than all of it for a ResNet.
    layers = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.Tanh(), nn.Conv2d(3, 3, 4), nn.Flatten())
    model = layers.to(memory_format=torch.channels_last)
    with pytest.raises(PrivacyError, match="channels last"):
        train(model, *examples(40), gradients="hooks")
    features, labels = torch.randn(40, 2, 4, 4).to(memory_format=torch.channels_last), torch.zeros(40).long()
    with pytest.raises(PrivacyError, match="channels last"):
        train(nn.Sequential(nn.Conv2d(2, 3, 4), nn.Flatten()), features, labels, gradients="hooks")


def test_nothing_follows_a_step_that_failed() -> None:
    model = network()
    with started(model, replace(PLAN, sample_rate=1.0)) as private:
        batches = private.batches()
        x, y = next(batches)
        x.requires_grad_()
        F.cross_entropy(model(x), y, reduction="sum").backward()
        with torch.no_grad():
            x += 1.0  # what the first layer was given is no longer what it was
        before = vector(model)
        with pytest.raises(PrivacyError, match="changed in place"):
            private.step()
        with pytest.raises(PrivacyError, match="no gradient for each example"):
            private.step()
        with pytest.raises(PrivacyError, match="left without step"):
            next(batches)
        assert torch.equal(vector(model), before)


def test_a_round_left_in_the_middle_of_a_batch_leaves_nothing_behind() -> None:
    model = network()
    before = vector(model)
    with started(model, ALL, accumulation_steps=3) as private:
        x, y = next(private.batches())
        F.cross_entropy(model(x), y, reduction="sum").backward()
        private.step()
        assert all(p.summed_grad is not None for p in model.parameters())
    assert torch.equal(vector(model), before)
    assert not any(vars(parameter) for parameter in model.parameters())


def test_an_lstm_in_micro_batches_of_several_hundred() -> None:
    plan = replace(PLAN, sample_rate=1.0, steps_per_round=2)
    results = []
    for accumulation_steps in (1, 2):
        torch.manual_seed(0)
        model = Recurrent()
        train(model, *examples(900), plan=plan, accumulation_steps=accumulation_steps)
        results.append(vector(model))
    assert torch.allclose(*results, atol=1e-4)
