"""Which examples each client of a group visits in which step, as one table."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from leptonic_client.data import passes, steps_of
from leptonic_client.training import LocalTrainer, LocalWork

__all__ = ["Schedule", "schedule"]


@dataclass(frozen=True)
class Schedule:
    """Which examples each client's steps visit; clients in descending order of their steps.

    rows: (steps, clients, batch) int64; a short batch is filled up with its own examples again.
    weights: (steps, clients, batch) float32, one over the batch's examples; 0 for what fills up.
    steps: of each client.
    """

    rows: Tensor
    weights: Tensor
    steps: list[int]

    def of(self, clients: Sequence[int]) -> "Schedule":
        """That of these clients alone, ascending."""
        steps = [self.steps[client] for client in clients]
        return Schedule(self.rows[: steps[0], clients], self.weights[: steps[0], clients], steps)

    def phases(self) -> Iterator[tuple[range, int]]:
        """Steps that the same clients train in, and how many clients those are."""
        done, active = 0, len(self.steps)
        while active:
            until = self.steps[active - 1]
            if until > done:
                yield range(done, until), active
            done = until
            while active and self.steps[active - 1] == done:
                active -= 1


def schedule(trainer: LocalTrainer, works: Sequence[LocalWork]) -> Schedule:
    """The batches that each client would visit alone."""
    training = trainer.experiment.training
    steps = [steps_of(training, len(work.data)) for work in works]
    width = min(training.batch_size, max(len(work.data) for work in works))
    rows = np.empty((steps[0], len(works), width), np.int64)
    weights = np.zeros(rows.shape, np.float32)
    for client, work in enumerate(works):
        own = work.data.rows.numpy()
        rows[:, client] = own[0]  # after its last step too, nobody else's
        step = 0
        for visited in passes(training, len(own), trainer.shuffle(work)):
            full, rest = divmod(len(visited), width)
            rows[step : step + full, client] = own[visited[: full * width]].reshape(full, width)
            weights[step : step + full, client] = 1 / width
            step += full
            if rest:
                # Not finite where it fills up, then not finite where it counts: weights need no mask beside them.
                rows[step, client] = np.resize(own[visited[full * width :]], width)
                weights[step, client, :rest] = 1 / rest
                step += 1
    return Schedule(torch.from_numpy(rows), torch.from_numpy(weights), steps)
