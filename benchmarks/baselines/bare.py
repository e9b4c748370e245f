"""The bare PyTorch loop that simulations are compared with: one client's steps, and the four models.

Also a command: trains clients one after another, without any framework, and prints seconds per client.
"""

import argparse
import time
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["MODELS", "Workload", "build", "loop", "train"]

MODELS = ("logistic", "mlp", "lenet", "cnn")


@dataclass(frozen=True)
class Workload:
    """One client's local work: steps of plain SGD over shuffled passes of its examples."""

    model: str = "logistic"
    steps: int = 5
    batch: int = 10
    rate: float = 0.03

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        """The options that :meth:`of` reads."""
        parser.add_argument("--model", choices=MODELS, default="logistic")
        parser.add_argument("--steps", type=int, default=5)

    @classmethod
    def of(cls, options: argparse.Namespace) -> Self:
        """The workload of a command line."""
        return cls(model=options.model, steps=options.steps)


class _Classifier(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layers(x)
        return logits


def build(model: str) -> nn.Module:
    """A model for 28x28 grey images and ten classes, as in the experiments."""
    if model == "logistic":
        return _Classifier(nn.Flatten(), nn.Linear(784, 10))
    if model == "mlp":
        return _Classifier(nn.Flatten(), nn.Linear(784, 200), nn.ReLU(), nn.Linear(200, 10))
    first, second, padding, hidden = (6, 16, 0, (256, 120, 84)) if model == "lenet" else (32, 64, 2, (3136, 512))
    layers: list[nn.Module] = [
        nn.Conv2d(1, first, 5, padding=padding), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(first, second, 5, padding=padding), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
    ]  # fmt: skip
    for inputs, outputs in pairwise(hidden):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return _Classifier(*layers, nn.Linear(hidden[-1], 10))


def train(model: nn.Module, features: Tensor, labels: Tensor, workload: Workload) -> None:
    """One client's steps, in place."""
    optimizer = torch.optim.SGD(model.parameters(), lr=workload.rate)
    order = torch.cat([torch.randperm(len(labels)) for _ in range(-(-workload.steps * workload.batch // len(labels)))])
    for step in range(workload.steps):
        chosen = order[step * workload.batch : (step + 1) * workload.batch]
        optimizer.zero_grad()
        F.cross_entropy(model(features[chosen]), labels[chosen]).backward()
        optimizer.step()


def loop(model: nn.Module, features: Tensor, labels: Tensor, rows: Tensor, workload: Workload) -> float:
    """Seconds per client of a round over these clients' rows, with the mean of the models at its end."""
    start = [parameter.detach().clone() for parameter in model.parameters()]
    total = [torch.zeros_like(parameter) for parameter in start]
    began = time.perf_counter()
    for own in rows:
        with torch.no_grad():
            for parameter, value in zip(model.parameters(), start, strict=True):
                parameter.copy_(value)
        train(model, features[own], labels[own], workload)
        with torch.no_grad():
            for sum_, parameter in zip(total, model.parameters(), strict=True):
                sum_.add_(parameter)
    return (time.perf_counter() - began) / len(rows)
