"""One client's examples, scaled and split, and the order in which a round visits them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from leptonic import randomness
from leptonic.data.catalogue import spec_of
from leptonic.data.examples import Examples
from leptonic.errors import DataError
from leptonic.experiment import Experiment, Training

__all__ = ["LocalData", "batches", "gathered", "local_data", "passes", "split", "steps_of"]


@dataclass(frozen=True)
class LocalData:
    """Training and held-out examples of one client, on the CPU.

    features: (n, *shape) float32, labels: (n,) int64; held_features, held_labels: kept for evaluation.
    rows: this client's training rows within features and labels, so that clients of a simulation share them.
    """

    features: Tensor
    labels: Tensor
    rows: Tensor
    held_rows: Tensor

    def __len__(self) -> int:
        return self.rows.numel()

    def batch(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Fresh tensors of the examples at these positions: slices are aligned differently, and sum differently."""
        rows = self.rows.index_select(0, chosen)
        return gathered(self.features, rows), gathered(self.labels, rows)

    def held_out(self) -> tuple[Tensor, Tensor]:
        """The examples kept for evaluation."""
        return self.features[self.held_rows], self.labels[self.held_rows]


_NO_ROWS = torch.empty(0, dtype=torch.long)


def gathered(values: Tensor, rows: Tensor) -> Tensor:
    """Values (n, *shape) at rows (*index): a fresh (*index, *shape). Twice as fast as to index."""
    return values.index_select(0, rows.flatten()).view(*rows.shape, *values.shape[1:])


def local_data(experiment: Experiment, client: int, examples: Examples) -> LocalData:
    """A deployed client's own examples, split as the experiment says."""
    features, labels = examples.tensors(spec_of(experiment.data))
    return split(experiment, client, features, labels, np.arange(len(examples)))


def split(experiment: Experiment, client: int, features: Tensor, labels: Tensor, rows: NDArray[np.intp]) -> LocalData:
    """Split a client's ``rows`` of shared tensors, ascending, into training and held-out rows.

    The choice depends on the client's index and on how many rows it has, not on where they lie.
    """
    held = round(experiment.evaluation.holdout * len(rows))
    if not held:
        return LocalData(features, labels, rows=torch.from_numpy(rows.copy()), held_rows=_NO_ROWS)
    order = randomness.generator(experiment.seed, "holdout", client).permutation(len(rows))
    if len(rows) and held == len(rows):
        raise DataError(f"client {client} has {len(rows)} examples: evaluation.holdout leaves none for training")
    kept = torch.from_numpy(np.sort(rows[order[held:]]))
    return LocalData(features, labels, rows=kept, held_rows=torch.from_numpy(np.sort(rows[order[:held]])))


def steps_of(training: Training, examples: int) -> int:
    """Optimiser steps of one round for a client with so many examples."""
    if training.local_steps is not None:
        return training.local_steps
    return (training.local_epochs or 1) * -(-examples // training.batch_size)


def passes(training: Training, examples: int, order: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Positions of a round's examples as they are visited: shuffled passes, the last one cut where the work ends."""
    left = steps_of(training, examples)
    while left > 0:
        yield order.permutation(examples)[: left * training.batch_size]
        left -= -(-examples // training.batch_size)


def batches(training: Training, examples: int, order: np.random.Generator) -> Iterator[Tensor]:
    """Positions of each optimiser step's examples; the last batch of a pass may be smaller."""
    for visited in passes(training, examples, order):
        yield from torch.from_numpy(visited).split(training.batch_size)
