"""Clipped sums by two ways: one example at a time in float64, and by the recorder."""

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from leptonic.privacy.bookkeeping.recorder import Recorder

Losses = Callable[[Tensor], Tensor]


def squares(output: Tensor) -> Tensor:
    """A loss for each example, (n,)."""
    return output.flatten(1).square().sum(dim=1)


def exact(model: nn.Module, features: Tensor, clip_norm: float, losses: Losses = squares) -> dict[str, Tensor]:
    """The clipped sum by a loop over examples, in float64."""
    twin = copy.deepcopy(model).double()
    own = {name: p for name, p in twin.named_parameters() if p.requires_grad}
    totals = {name: torch.zeros_like(p) for name, p in own.items()}
    for x in features.double() if features.is_floating_point() else features:
        gradients = torch.autograd.grad(losses(twin(x[None])).sum(), list(own.values()))
        norm = math.sqrt(sum(float(g.square().sum()) for g in gradients))
        factor = min(1.0, clip_norm * (1 - 1e-4) / norm) if norm else 1.0
        for name, gradient in zip(own, gradients, strict=True):
            totals[name] += factor * gradient
    return totals


def recorded(model: nn.Module, features: Tensor, clip_norm: float, losses: Losses = squares) -> dict[str, Tensor]:
    """The same by the recorder, from the sum of the losses."""
    recorder = Recorder(model)
    try:
        losses(model(features)).sum().backward()
        sums = recorder.clipped_sums(len(features), clip_norm)
    finally:
        recorder.cleanup()
    return {name: sums[p] for name, p in model.named_parameters() if p.requires_grad}


def distance(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """The norm of the difference over all parameters."""
    assert list(one) == list(other)
    return math.sqrt(sum(float((one[name] - other[name]).double().square().sum()) for name in one))


def assert_same(model: nn.Module, features: Tensor, losses: Losses = squares) -> None:
    """Without effect of clipping, with all examples clipped, and in between, to one part in ten thousand."""
    for clip_norm in (1e4, 1.0, 1e-3):
        wanted = exact(model, features, clip_norm, losses)
        size = math.sqrt(sum(float(total.square().sum()) for total in wanted.values()))
        assert distance(recorded(model, features, clip_norm, losses), wanted) <= 1e-4 * max(size, clip_norm)
