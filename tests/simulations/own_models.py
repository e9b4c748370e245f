"""Models of a user's own, as an experiment names them."""

import torch
from torch import Tensor, nn

from leptonic.data.examples import DataSpec


def features_of(spec: DataSpec) -> int:
    return int(torch.tensor(spec.shape).prod())


def dropout(spec: DataSpec) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(features_of(spec), 8), nn.Dropout(0.5), nn.Linear(8, spec.classes))


def mixing(spec: DataSpec) -> nn.Module:
    """Normalises over the batch, without running statistics."""
    first = nn.Linear(features_of(spec), 8)
    return nn.Sequential(nn.Flatten(), first, nn.BatchNorm1d(8, track_running_stats=False), nn.Linear(8, spec.classes))


class Deciding(nn.Module):
    """Looks at its numbers, which vmap does not let it."""

    def __init__(self, spec: DataSpec) -> None:
        super().__init__()
        self.output = nn.Linear(features_of(spec), spec.classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.output(x.flatten(1))
        return logits if float(logits.detach().abs().max()) < 1e9 else logits * 0


class DoubledGradient(torch.autograd.Function):
    """Right forward; its gradient cannot be batched, since it leaves torch."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def setup_context(ctx: object, inputs: tuple[Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return torch.from_numpy(2 * gradient.detach().numpy())


class BackwardLeavesTorch(nn.Module):
    def __init__(self, spec: DataSpec) -> None:
        super().__init__()
        self.output = nn.Linear(features_of(spec), spec.classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = DoubledGradient.apply(self.output(x.flatten(1)))
        return logits


class Odd(nn.Module):
    """All that a stack must not trip over.

    A frozen layer, an unused parameter, a scalar, two biases with one gradient, tied weights, a constant buffer.
    """

    scale: Tensor

    def __init__(self, spec: DataSpec) -> None:
        super().__init__()
        self.frozen = nn.Linear(features_of(spec), 12)
        self.frozen.requires_grad_(False)
        self.inner = nn.Linear(12, 12)
        self.tied = nn.Linear(12, 12, bias=False)
        self.tied.weight = self.inner.weight
        self.unused = nn.Parameter(torch.ones(3))
        self.factor = nn.Parameter(torch.tensor(1.5))
        self.first_bias = nn.Parameter(torch.zeros(12))
        self.second_bias = nn.Parameter(torch.zeros(12))
        self.output = nn.Linear(12, spec.classes)
        self.register_buffer("scale", torch.tensor(0.5), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.inner(self.frozen(x.flatten(1))))
        x = self.tied(x) * self.factor + self.first_bias + self.second_bias
        logits: Tensor = self.output(x * self.scale)
        return logits


def failing(spec: DataSpec) -> nn.Module:
    return Failing(spec)


class Failing(nn.Module):
    """A defect that shows only when it trains."""

    def __init__(self, spec: DataSpec) -> None:
        super().__init__()
        self.output = nn.Linear(features_of(spec), spec.classes)

    def forward(self, x: Tensor) -> Tensor:
        raise ZeroDivisionError("a defect of the model")
