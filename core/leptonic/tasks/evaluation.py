"""Metric sums of a model over a set of examples; used by the server's and the clients' evaluation."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from leptonic.tasks import Task

__all__ = ["evaluate", "totalled"]


def evaluate(
    task: Task,
    model: nn.Module,
    features: Tensor,
    labels: Tensor,
    *,
    batch_size: int,
    device: torch.device | str = "cpu",
) -> dict[str, float]:
    """The task's metrics summed over all examples, by name, and their number as "examples".

    features: (n, *shape), labels: (n,), n may be 0; each batch is moved to ``device``, where the model must
    be. The model runs in evaluation mode without gradients; its modules get their modes back afterwards.
    """
    parts = []
    with _evaluation_mode(model), torch.no_grad():
        for start in range(0, len(labels), batch_size):
            rows = slice(start, start + batch_size)
            measures = task.measures(model(features[rows].to(device)), labels[rows].to(device))
            parts.append(totalled(measures))
    totals = torch.stack(parts).sum(dim=0).tolist() if parts else [0.0] * len(task.metric_names)
    return {**dict(zip(task.metric_names, totals, strict=True)), "examples": float(len(labels))}


def totalled(measures: Tensor) -> Tensor:
    """Measures (m, n) summed over their examples, (m,) float64 on the CPU: MPS has no float64."""
    measures = measures.cpu() if measures.device.type == "mps" else measures
    return measures.sum(dim=1, dtype=torch.float64).cpu()


@contextmanager
def _evaluation_mode(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
