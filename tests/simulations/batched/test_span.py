"""SGD in the span of the examples against SGD step by step, written out in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from leptonic.data.examples import DataSpec
from leptonic.experiment import Training
from leptonic.models.cnn import Cnn
from leptonic.models.layered import Layered
from leptonic.models.lenet import LeNet
from leptonic.models.logistic import Logistic
from leptonic.models.mlp import Mlp
from leptonic.tasks.classification import TabularClassification
from leptonic_simulations.batched.course import Descent, course
from leptonic_simulations.batched.span import SpanTrainer, pays, spannable

FEATURES, CLASSES = 6, 3
SPEC = DataSpec(shape=(FEATURES,), classes=CLASSES)
TASK = TabularClassification(SPEC)

MODELS = ("logistic", "one hidden layer", "two hidden layers", "grey images", "colour images")


def made_of(name: str) -> tuple[Layered, tuple[int, ...]]:
    """A model, and the shape of its examples."""
    match name:
        case "logistic":
            return Logistic(SPEC), SPEC.shape
        case "one hidden layer":
            return Mlp(SPEC, hidden=[5]), SPEC.shape
        case "two hidden layers":
            return Mlp(SPEC, hidden=[4, 7]), SPEC.shape
    shape = (1 if name == "grey images" else 3, 5, 7)
    return Cnn(DataSpec(shape=shape, classes=CLASSES), channels=[2, 3], hidden=4), shape


def by_steps(
    model: nn.Module,
    features: torch.Tensor,
    labels: torch.Tensor,
    weights: torch.Tensor,
    training: Training,
    *,
    proximal: float,
    offset: torch.Tensor,
) -> torch.Tensor:
    """One client's (d,) change: torch's own SGD in float64, a batch of the rows of (steps, batch) at a time."""
    start = nn.utils.parameters_to_vector(model.parameters()).detach().clone()
    optimizer = torch.optim.SGD(
        model.parameters(), lr=training.learning_rate, momentum=training.momentum, weight_decay=training.weight_decay
    )
    for batch, target, weight in zip(features, labels, weights, strict=True):
        optimizer.zero_grad()
        (TASK.losses(model(batch), target) * weight).sum().backward()
        if training.gradient_clip_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), training.gradient_clip_norm)
        now = nn.utils.parameters_to_vector(model.parameters()).detach()
        correction, at = proximal * (now - start) + offset, 0
        for parameter in model.parameters():
            assert parameter.grad is not None
            parameter.grad += correction[at : at + parameter.numel()].view_as(parameter)
            at += parameter.numel()
        optimizer.step()
    return nn.utils.parameters_to_vector(model.parameters()).detach() - start


@settings(max_examples=30, deadline=None)
@given(
    steps=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    batch=st.integers(1, 4),
    name=st.sampled_from(MODELS),
    momentum=st.sampled_from([0.0, 0.9]),
    decay=st.sampled_from([0.0, 0.1]),
    proximal=st.sampled_from([0.0, 0.5]),
    offset=st.booleans(),
    derived=st.sampled_from([None, TASK]),
    clip=st.sampled_from([None, 0.3]),
    seed=st.integers(0, 2**31),
)
def test_every_client_moves_as_by_its_own_steps(
    steps: list[int],
    batch: int,
    name: str,
    momentum: float,
    decay: float,
    proximal: float,
    offset: bool,
    derived: TabularClassification | None,
    clip: float | None,
    seed: int,
) -> None:
    steps = sorted(steps, reverse=True)
    clients, most = len(steps), steps[0]
    torch.manual_seed(seed)
    training = Training(learning_rate=0.2, momentum=momentum, weight_decay=decay, gradient_clip_norm=clip)
    model, shape = made_of(name)
    start = nn.utils.parameters_to_vector(model.parameters()).detach().clone()
    features = torch.randn(clients, most * batch, *shape)
    labels = torch.randint(0, CLASSES, (clients, most * batch))
    weights = torch.zeros(clients, most, batch)
    for client, own in enumerate(steps):
        for step in range(own):
            held = int(torch.randint(1, batch + 1, ()))
            weights[client, step, :held] = 1 / held
    offsets = 0.1 * torch.randn(clients, len(start)) if offset else None
    made = course(Descent(0.2, momentum, decay, proximal), steps=most, batch=batch, device=torch.device("cpu"))
    phases = [(range(t, t + 1), sum(own > t for own in steps)) for t in range(most)]
    with torch.no_grad():
        labelled = labels.view(clients, most, batch).transpose(0, 1)
        span = SpanTrainer(
            start, model, features, labelled, offsets, course=made, clip_norm=clip, task=TASK, derived=derived
        )
        span.train(phases, weights.transpose(0, 1))
        deltas = span.deltas(steps)
    for client, own in enumerate(steps):
        nn.utils.vector_to_parameters(start.clone(), model.parameters())
        expected = by_steps(
            model.double(),
            features[client].unflatten(0, (most, batch))[:own].double(),
            labels[client].view(most, batch)[:own],
            weights[client, :own].double(),
            training,
            proximal=proximal,
            offset=torch.zeros_like(start).double() if offsets is None else offsets[client].double(),
        )
        model.float()
        torch.testing.assert_close(deltas[client].double(), expected, rtol=2e-4, atol=2e-6)


@pytest.mark.parametrize(
    ("model", "training"),
    [
        (Cnn(DataSpec(shape=(1, 8, 8), classes=3), channels=[2, 2], hidden=4), Training()),
        (LeNet(DataSpec(shape=(1, 28, 28), classes=10)), Training()),
        (Logistic(SPEC), Training(optimizer="adam")),
        (Logistic(SPEC), Training(precision="bfloat16")),
        (nn.Sequential(nn.Linear(3, 3)), Training()),
    ],
)
def test_other_models_and_optimisers_are_left_to_the_stack(model: nn.Module, training: Training) -> None:
    assert spannable(model, training) is None


def test_convolutions_are_taken_one_by_one_where_they_are_large() -> None:
    model = Cnn(DataSpec(shape=(1, 28, 28), classes=10), channels=[32, 64], hidden=512)
    assert spannable(model, Training()) is model
    assert pays(model, 600)
    assert not pays(Mlp(SPEC, hidden=[4]), 600)
    model.convolution2.padding_mode = "circular"
    assert spannable(model, Training()) is None


def test_a_model_that_does_something_else_is_left_to_the_stack() -> None:
    class Doubled(Logistic):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(x)

    class More(Logistic):
        def __init__(self) -> None:
            super().__init__(SPEC)
            self.scale = nn.Parameter(torch.ones(()))

    assert spannable(Doubled(SPEC), Training()) is None
    assert spannable(More(), Training()) is None


def test_a_frozen_layer_is_left_to_the_stack() -> None:
    model = Mlp(SPEC, hidden=[4])
    model.hidden[0].requires_grad_(False)
    assert spannable(model, Training()) is None
