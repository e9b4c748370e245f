"""Local optimiser steps against gradients written out by hand."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.client.samples import data_of, experiment
from torch import Tensor, nn

from leptonic import parameters
from leptonic.algorithms import Correction
from leptonic.data.catalogue import spec_of
from leptonic.experiment import Training
from leptonic.tasks import task_for
from leptonic_client.data import LocalData
from leptonic_client.steps import Corrector, optimizer_for, plain_steps, trainable

CPU = torch.device("cpu")


def linear(seed: int = 0) -> nn.Sequential:
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model


def run(
    model: nn.Module, data: LocalData, order: list[Tensor], correction: Correction | None = None, **training: Any
) -> tuple[int, dict[str, float]]:
    settings = Training(**{"learning_rate": 0.1, **training})
    made = experiment()
    return plain_steps(
        data,
        order,
        model=model,
        task=task_for(made.task, spec_of(made.data)),
        optimizer=optimizer_for(settings, trainable(model), settings.learning_rate),
        correct=Corrector(model, parameters.layout_of(model), correction or Correction()),
        training=settings,
        device=CPU,
    )


def gradient(model: nn.Module, data: LocalData, rows: Tensor) -> list[Tensor]:
    features, labels = data.batch(rows)
    return list(torch.autograd.grad(F.cross_entropy(model(features), labels), list(model.parameters())))


def vector(model: nn.Module) -> Tensor:
    return torch.from_numpy(parameters.to_vector(model))


def test_one_step_of_sgd_is_the_gradient_times_the_rate() -> None:
    model, data, rows = linear(), data_of(experiment()), torch.arange(16)
    start, gradients = vector(model), gradient(model, data, rows)
    run(model, data, [rows], learning_rate=0.25)
    expected = start - 0.25 * torch.cat([part.reshape(-1) for part in gradients])
    torch.testing.assert_close(vector(model), expected)


@pytest.mark.parametrize("accumulation", [2, 3, 4, 16, 50])
@pytest.mark.parametrize("batch", [16, 13])
def test_accumulated_micro_batches_equal_the_large_batch(accumulation: int, batch: int) -> None:
    data, order = data_of(experiment()), list(torch.randperm(39).split(batch))
    whole, parts = linear(), linear()
    run(whole, data, order)
    run(parts, data, order, accumulation_steps=accumulation)
    torch.testing.assert_close(vector(parts), vector(whole), rtol=1e-5, atol=1e-6)


def test_gradients_are_clipped_to_the_norm_and_small_ones_left_alone() -> None:
    model, data, rows = linear(), data_of(experiment()), torch.arange(16)
    start = vector(model)
    norm = torch.cat([part.reshape(-1) for part in gradient(model, data, rows)]).norm()
    run(model, data, [rows], learning_rate=1.0, gradient_clip_norm=float(norm) / 10)
    assert (vector(model) - start).norm() == pytest.approx(float(norm) / 10, rel=1e-4)
    other = linear()
    run(other, data, [rows], learning_rate=1.0, gradient_clip_norm=float(norm) * 10)
    assert (vector(other) - start).norm() == pytest.approx(float(norm), rel=1e-4)


def test_the_correction_is_the_gradient_of_the_proximal_term_and_a_linear_one() -> None:
    """grad of  loss + proximal/2 ||w - w_start||^2 + <offset, w>,  by autograd, over three steps."""
    data, order = data_of(experiment()), [torch.arange(0, 8), torch.arange(8, 16), torch.arange(16, 24)]
    offset = np.random.default_rng(3).normal(0, 0.05, 650).astype(np.float32)
    corrected, reference = linear(), linear()
    run(corrected, data, order, Correction(proximal=0.7, offset=offset), learning_rate=0.2)

    start = [parameter.detach().clone() for parameter in reference.parameters()]
    for rows in order:
        features, labels = data.batch(rows)
        weights = list(reference.parameters())
        drift = sum((weight - first).square().sum() for weight, first in zip(weights, start, strict=True))
        linear_term = torch.cat([weight.reshape(-1) for weight in weights]) @ torch.from_numpy(offset)
        loss = F.cross_entropy(reference(features), labels) + 0.35 * drift + linear_term
        with torch.no_grad():
            for weight, part in zip(weights, torch.autograd.grad(loss, weights), strict=True):
                weight.sub_(0.2 * part)
    torch.testing.assert_close(vector(corrected), vector(reference), rtol=1e-5, atol=1e-6)


class HalfUsed(nn.Module):
    """A model with a parameter that no output depends on."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.ones(3))
        self.used = nn.Linear(64, 10)

    def forward(self, features: Tensor) -> Tensor:
        output: Tensor = self.used(features.flatten(1))
        return output


@pytest.mark.parametrize("offset", [False, True])
def test_a_parameter_without_a_gradient_does_not_stop_the_correction(offset: bool) -> None:
    model, data = HalfUsed(), data_of(experiment())
    added = np.zeros(3 + 650, np.float32) if offset else None
    run(model, data, [torch.arange(16)], Correction(proximal=0.5, offset=added))
    assert torch.isfinite(vector(model)).all()


@pytest.mark.parametrize(
    ("kind", "reference"), [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)]
)
def test_the_optimizers_are_torchs_own(kind: Any, reference: Any) -> None:
    data, order = data_of(experiment()), list(torch.arange(32).split(8))
    ours, theirs = linear(), linear()
    run(ours, data, order, optimizer=kind, weight_decay=0.01, learning_rate=0.05)
    optimizer = reference(theirs.parameters(), lr=0.05, weight_decay=0.01)
    for rows in order:
        optimizer.zero_grad()
        features, labels = data.batch(rows)
        F.cross_entropy(theirs(features), labels).backward()
        optimizer.step()
    torch.testing.assert_close(vector(ours), vector(theirs), rtol=1e-5, atol=1e-6)


def test_momentum_reaches_the_optimizer() -> None:
    data, order = data_of(experiment()), list(torch.arange(32).split(8))
    plain, heavy = linear(), linear()
    run(plain, data, order)
    run(heavy, data, order, momentum=0.9)
    assert not torch.equal(vector(plain), vector(heavy))


@pytest.mark.parametrize(("precision", "tolerance"), [("bfloat16", 0.05), ("float16", 0.01)])
def test_low_precision_runs_on_the_cpu_and_stays_near_float32(precision: Any, tolerance: float) -> None:
    data, order = data_of(experiment()), list(torch.arange(40).split(8))
    start = vector(linear())
    exact, low = linear(), linear()
    run(exact, data, order, learning_rate=0.05)
    run(low, data, order, learning_rate=0.05, precision=precision)
    moved, difference = (vector(exact) - start).norm(), (vector(exact) - vector(low)).norm()
    assert 0 < difference < tolerance * moved
    assert all(parameter.dtype == torch.float32 for parameter in low.parameters())


def test_metric_sums_are_over_the_examples_as_they_were_visited() -> None:
    model, data, rows = linear(), data_of(experiment()), torch.arange(16)
    features, labels = data.batch(rows)
    with torch.no_grad():
        loss = F.cross_entropy(model(features), labels, reduction="sum")
        correct = (model(features).argmax(1) == labels).sum()
    steps, sums = run(model, data, [rows])
    assert steps == 1
    assert sums["examples"] == 16
    assert sums["loss"] == pytest.approx(float(loss), rel=1e-5)
    assert sums["correct"] == float(correct)
