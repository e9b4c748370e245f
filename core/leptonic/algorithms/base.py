"""The two halves of a federated algorithm: what a client adds to local training, what the server does.

Every algorithm here corrects a client's gradient by an affine term of its drift,

    gradient + proximal * (w - w_start) + offset,

so local training knows one form (:class:`Correction`), and an algorithm states two numbers.
State is passed in and returned, never kept: vectors by name, saved with the round (server) or beside the
data (client).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from leptonic.update import Mean, Segment, Vector

__all__ = ["Algorithm", "Contributed", "Correction", "Trained", "Work", "accumulated"]


@dataclass(frozen=True)
class Correction:
    """What a client adds to each gradient: proximal * (w - w_start) + offset, offset (d,) or None."""

    proximal: float = 0.0
    offset: Vector | None = None


@dataclass(frozen=True)
class Work:
    """The amount of local work a client did.

    steps: optimiser steps taken. reference_steps: steps of a client of mean size, known to both sides.
    learning_rate, momentum: of the local optimiser in this round.
    """

    steps: int
    reference_steps: int
    learning_rate: float
    momentum: float


@dataclass(frozen=True)
class Trained:
    """A client's local training, as :meth:`Algorithm.contribute` sees it.

    delta: the model's change, (d,). weight: what this client counts for. sent: the broadcast vectors.
    state: what the client had kept.
    """

    delta: Vector
    weight: float
    work: Work
    sent: Mapping[str, Vector]
    state: Mapping[str, Vector]


@dataclass(frozen=True)
class Contributed:
    """What :meth:`Algorithm.contribute` returns: vectors per segment, scalars to sum, state to keep."""

    vectors: Mapping[str, Vector]
    sums: Mapping[str, float]
    state: Mapping[str, Vector]


def accumulated(steps: int, momentum: float) -> float:
    """||a||_1: how far ``steps`` equal gradients move the model under SGD with momentum, in learning rates.

    Source: Wang et al. 2020, arXiv 2007.07481, section 4.
    """
    if momentum == 0.0:
        return float(steps)
    return (steps - momentum * (1.0 - momentum**steps) / (1.0 - momentum)) / (1.0 - momentum)


class Algorithm(Protocol):
    """A federated algorithm. Implementations are frozen; both halves stand in one file."""

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The vectors a client contributes; the first is called ``model``."""
        ...

    @property
    def sums(self) -> tuple[str, ...]:
        """Scalars beyond the metrics that clients contribute."""
        ...

    @property
    def broadcast(self) -> tuple[str, ...]:
        """Server-state vectors that are sent beside the model."""
        ...

    @property
    def stateful(self) -> bool:
        """Whether a client keeps vectors from round to round."""
        ...

    def correction(self, sent: Mapping[str, Vector], state: Mapping[str, Vector]) -> Correction:
        """Client: the term added to each gradient. ``sent``: the broadcast; ``state``: the client's own."""
        ...

    def contribute(self, trained: Trained) -> Contributed:
        """Client: what to send and what to keep."""
        ...

    def init(self, size: int) -> dict[str, Vector]:
        """Server: the state before the first round."""
        ...

    def step(self, state: Mapping[str, Vector], mean: Mean, *, clients: int) -> tuple[dict[str, Vector], Vector]:
        """Server: the next state and the change of the model, given the mean over the counted clients.

        clients: population of the federation (not of the cohort).
        """
        ...
