"""The optimiser steps of local training: gradient, clipping, the algorithm's correction, step."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn, optim

from leptonic.algorithms import Correction
from leptonic.errors import ExperimentError
from leptonic.experiment import Training
from leptonic.parameters import Layout
from leptonic.tasks import Task
from leptonic.tasks.evaluation import totalled
from leptonic_client.data import LocalData

__all__ = ["Corrector", "Precision", "optimizer_for", "plain_steps", "trainable"]


MEASURED = 2**18
"""Outputs that are remembered until their metrics are computed together, which costs as much as for one batch."""


class Corrector:
    """Adds ``proximal * (w - w_start) + offset`` to the gradients of a model that stands at ``w_start``."""

    def __init__(self, model: nn.Module, layout: Layout, correction: Correction) -> None:
        self._parameters = trainable(model)
        self._proximal = correction.proximal
        self._start = [p.detach().clone() for p in self._parameters] if correction.proximal else []
        self._offset: list[Tensor] = []
        if correction.offset is not None:
            # Received vectors are read-only, which torch cannot represent: those are copied.
            parts = torch.from_numpy(np.require(correction.offset, requirements=["C", "W"])).split(list(layout.sizes))
            self._offset = [part.view(p.shape).to(p.device) for part, p in zip(parts, self._parameters, strict=True)]

    def __call__(self) -> None:
        """Correct ``p.grad`` in place."""
        if not self._start and not self._offset:
            return
        gradients = []
        for parameter in self._parameters:
            if parameter.grad is None:  # a parameter that the loss does not reach drifts back all the same
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
        if self._start:
            drift = torch._foreach_sub([p.detach() for p in self._parameters], self._start)
            torch._foreach_add_(gradients, drift, alpha=self._proximal)
        if self._offset:
            torch._foreach_add_(gradients, self._offset)


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that training moves, in the order of the layout."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def optimizer_for(training: Training, parameters: Sequence[Tensor], learning_rate: float) -> optim.Optimizer:
    """A fresh local optimiser of these tensors at this round's learning rate."""
    # One kernel for all parameters: a third of the time of the default on the CPU.
    fused = training.precision == "float32" and all(p.device.type in ("cpu", "cuda") for p in parameters)
    decay = training.weight_decay
    match training.optimizer:
        case "sgd":
            return optim.SGD(parameters, lr=learning_rate, momentum=training.momentum, weight_decay=decay, fused=fused)
        case "adam":
            return optim.Adam(parameters, lr=learning_rate, weight_decay=decay, fused=fused)
        case "adamw":
            return optim.AdamW(parameters, lr=learning_rate, weight_decay=decay, fused=fused)


@dataclass(frozen=True)
class Precision:
    """Autocast and loss scaling for one device."""

    name: str
    device: torch.device

    def autocast(self) -> AbstractContextManager[object]:
        """The context of a forward pass."""
        if self.name == "float32":
            return nullcontext()
        dtype = torch.bfloat16 if self.name == "bfloat16" else torch.float16
        try:
            return torch.autocast(self.device.type, dtype=dtype)
        except RuntimeError as error:
            raise ExperimentError(
                f"training.precision = '{self.name}' does not work on {self.device.type}: {error}"
            ) from None

    def scaler(self) -> torch.amp.GradScaler:
        """Scales losses in float16, whose small gradients would vanish; does nothing otherwise."""
        return torch.amp.GradScaler(self.device.type, enabled=self.name == "float16")


def plain_steps(
    data: LocalData,
    order: Iterable[Tensor],
    *,
    model: nn.Module,
    task: Task,
    optimizer: optim.Optimizer,
    correct: Corrector,
    training: Training,
    device: torch.device,
) -> tuple[int, dict[str, float]]:
    """Train without privacy on the batches that ``order`` names.

    Returns the number of steps, and the metric sums over the examples as they were visited.
    """
    precision = Precision(training.precision, device)
    scaler = precision.scaler()
    parameters = trainable(model)
    seen = Seen(task)
    examples = steps = 0
    for chosen in order:
        optimizer.zero_grad()
        for part in chosen.chunk(training.accumulation_steps):
            features, labels = (tensor.to(device) for tensor in data.batch(part))
            with precision.autocast():
                output = model(features)
                loss = task.losses(output, labels).sum() / len(chosen)
            scaler.scale(loss).backward()
            seen.add(output.detach(), labels)
        scaler.unscale_(optimizer)
        if training.gradient_clip_norm is not None:
            nn.utils.clip_grad_norm_(parameters, training.gradient_clip_norm)
        correct()
        scale = scaler.get_scale()
        scaler.step(optimizer)
        scaler.update()
        steps += scaler.get_scale() >= scale  # a step that overflowed was skipped
        examples += len(chosen)
    totals = seen.sums()
    sums = dict(zip(task.metric_names, totals.tolist(), strict=True))
    return steps, {**sums, "examples": float(examples)}


class Seen:
    """Sums the task's metrics over the examples as they were visited, many batches at a time."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._outputs: list[Tensor] = []
        self._labels: list[Tensor] = []
        self._sums = torch.zeros(len(task.metric_names), dtype=torch.float64)

    def add(self, outputs: Tensor, labels: Tensor) -> None:
        """Remember one batch; outputs without gradient."""
        self._outputs.append(outputs)
        self._labels.append(labels)
        if outputs.numel() * len(self._outputs) > MEASURED:
            self.sums()

    def sums(self) -> Tensor:
        """The sums so far, (len(metric_names),) float64, on the CPU."""
        if self._outputs:
            measures = self._task.measures(torch.cat(self._outputs), torch.cat(self._labels))
            self._sums += totalled(measures)
            self._outputs, self._labels = [], []
        return self._sums
