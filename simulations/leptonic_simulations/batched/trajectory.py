"""Metric sums of many clients over the examples that their training visits."""

import torch
from torch import Tensor

from leptonic.tasks import Task

__all__ = ["Trajectory", "measured"]

MEASURED = 2**18
"""Outputs that are kept until their metrics are computed together."""


class Trajectory:
    """Sums each client's metrics over the examples as they are visited, many steps at a time."""

    def __init__(self, task: Task, clients: int) -> None:
        self._task = task
        self._kept: list[tuple[Tensor, Tensor, Tensor]] = []
        self._held = 0
        self.sums = torch.zeros(len(task.metric_names), clients, dtype=torch.float64)

    def visit(self, outputs: Tensor, labels: Tensor, visited: Tensor) -> None:
        """outputs: (k, n, classes), labels and visited: (k, n)."""
        if self._kept and self._kept[0][0].shape != outputs.shape:
            self.flush()
        self._kept.append((outputs.detach(), labels, visited))
        self._held += outputs.numel()
        if self._held > MEASURED:
            self.flush()

    def flush(self) -> None:
        """Add what was kept."""
        if not self._kept:
            return
        outputs, labels, visited = (torch.stack(part) for part in zip(*self._kept, strict=True))
        self.sums[:, : outputs.shape[1]] += measured(self._task, outputs, labels, visited)
        self._kept, self._held = [], 0


def measured(task: Task, outputs: Tensor, labels: Tensor, visited: Tensor) -> Tensor:
    """Each client's sums, (metrics, k) float64 on the CPU.

    outputs: (steps, k, n, classes). labels, visited: (steps, k, n); what only fills up a batch is not visited.
    """
    measures = task.measures(outputs.flatten(0, 2), labels.flatten()).view(-1, *labels.shape)
    return torch.where(visited, measures, 0.0).to("cpu", torch.float64).sum(dim=(1, 3))
