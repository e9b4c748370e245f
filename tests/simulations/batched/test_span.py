"""SGD in the span of the examples against SGD step by step, written out in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from leptonic.data.examples import DataSpec
from leptonic.experiment import Training
from leptonic.models.cnn import Cnn
from leptonic.models.logistic import Logistic
from leptonic.models.mlp import Mlp
from leptonic.tasks.classification import TabularClassification
from leptonic_simulations.batched.course import course
from leptonic_simulations.batched.span import SpanTrainer, fully_connected

FEATURES, CLASSES = 6, 3
SPEC = DataSpec(shape=(FEATURES,), classes=CLASSES)
TASK = TabularClassification(SPEC)


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
    hidden=st.sampled_from([None, [5], [4, 7]]),
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
    hidden: list[int] | None,
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
    model = Logistic(SPEC) if hidden is None else Mlp(SPEC, hidden=hidden)
    start = nn.utils.parameters_to_vector(model.parameters()).detach().clone()
    features = torch.randn(clients, most * batch, FEATURES)
    labels = torch.randint(0, CLASSES, (clients, most * batch))
    weights = torch.zeros(clients, most, batch)
    for client, own in enumerate(steps):
        for step in range(own):
            held = int(torch.randint(1, batch + 1, ()))
            weights[client, step, :held] = 1 / held
    offsets = 0.1 * torch.randn(clients, len(start)) if offset else None
    made = course(
        rate=0.2, momentum=momentum, decay=decay, proximal=proximal, steps=most, batch=batch, device=torch.device("cpu")
    )
    layers = fully_connected(model, training)
    assert layers is not None
    phases = [(range(t, t + 1), sum(own > t for own in steps)) for t in range(most)]
    with torch.no_grad():
        labelled = labels.view(clients, most, batch).transpose(0, 1)
        span = SpanTrainer(
            start, layers, features, labelled, offsets, course=made, clip_norm=clip, task=TASK, derived=derived
        )
        span.train(phases, weights.transpose(0, 1))
        deltas = span.deltas(steps)
    for client, own in enumerate(steps):
        nn.utils.vector_to_parameters(start.clone(), model.parameters())
        expected = by_steps(
            model.double(),
            features[client].view(most, batch, -1)[:own].double(),
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
        (Logistic(SPEC), Training(optimizer="adam")),
        (Logistic(SPEC), Training(precision="bfloat16")),
        (nn.Sequential(nn.Linear(3, 3)), Training()),
    ],
)
def test_other_models_and_optimisers_are_left_to_the_stack(model: nn.Module, training: Training) -> None:
    assert fully_connected(model, training) is None


def test_a_frozen_layer_is_left_to_the_stack() -> None:
    model = Mlp(SPEC, hidden=[4])
    model.hidden[0].requires_grad_(False)
    assert fully_connected(model, Training()) is None
