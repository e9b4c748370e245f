"""Clients with quadratic losses, and a federated loop over our two halves: correction and contribute, step.

Client i has f_i(w) = 1/2 sum_j h_ij (w_j - m_ij)^2. With the affine correction every local objective is again
a quadratic, so that the references in the tests need no loop: K gradient steps from w at rate r end at
``centre + (1 - r h)^K (w - centre)``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from leptonic.algorithms import Algorithm, Correction, Trained, Work
from leptonic.update import Mean, Vector

Real = NDArray[np.float64]


@dataclass(frozen=True)
class Client:
    """curvature h (d,), optimum m (d,), weight (number of examples) and local steps."""

    curvature: Real
    optimum: Real
    weight: float = 1.0
    steps: int = 5

    def gradient(self, w: Real) -> Real:
        return self.curvature * (w - self.optimum)

    def descended(self, w: Real, rate: float, steps: int | None = None) -> Real:
        """The end of plain gradient descent from w, in closed form."""
        shrink = (1.0 - rate * self.curvature) ** (self.steps if steps is None else steps)
        return self.optimum + shrink * (w - self.optimum)


def draw(seed: int, count: int, size: int = 3, *, steps: Sequence[int] = (5,), weights: bool = False) -> list[Client]:
    """Heterogeneous clients: curvatures in [0.5, 2], optima about 1 apart."""
    random = np.random.default_rng(seed)
    return [
        Client(
            curvature=random.uniform(0.5, 2.0, size),
            optimum=random.normal(0.0, 1.0, size),
            weight=float(random.integers(1, 100)) if weights else 1.0,
            steps=steps[index % len(steps)],
        )
        for index in range(count)
    ]


def optimum_of(clients: Sequence[Client], weights: Sequence[float] | None = None) -> Real:
    """The minimiser of sum_i weight_i f_i; equal weights if none are given."""
    shares = [1.0] * len(clients) if weights is None else weights
    top = sum(share * c.curvature * c.optimum for share, c in zip(shares, clients, strict=True))
    bottom = sum(share * c.curvature for share, c in zip(shares, clients, strict=True))
    return np.asarray(top / bottom, dtype=np.float64)


def local_sgd(client: Client, start: Real, rate: float, *, momentum: float, correction: Correction) -> Real:
    """Gradient descent with momentum in PyTorch's form, each gradient corrected affinely."""
    w, velocity = start.copy(), np.zeros_like(start)
    offset = 0.0 if correction.offset is None else correction.offset.astype(np.float64)
    for _ in range(client.steps):
        velocity = momentum * velocity + client.gradient(w) + correction.proximal * (w - start) + offset
        w = w - rate * velocity
    return w


@dataclass
class Federation:
    """Our algorithm on quadratic clients. The means are taken here, as each segment declares."""

    algorithm: Algorithm
    clients: Sequence[Client]
    rate: float
    momentum: float = 0.0
    reference_steps: int = 5
    model: Real = field(default_factory=lambda: np.zeros(0))
    server: dict[str, Vector] = field(default_factory=dict)
    kept: dict[int, dict[str, Vector]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        size = len(self.clients[0].optimum)
        if not self.model.size:
            self.model = np.zeros(size)
        self.server = self.algorithm.init(size)

    def play(self, cohort: Sequence[int] | None = None) -> Real:
        """One round with the clients of ``cohort`` (default: all). Returns the new model."""
        chosen = range(len(self.clients)) if cohort is None else cohort
        sent = {name: self.server[name] for name in self.algorithm.broadcast}
        vectors: list[dict[str, Real]] = []
        totals = {"weight": 0.0, "count": 0.0} | dict.fromkeys(self.algorithm.sums, 0.0)
        for index in chosen:
            client, state = self.clients[index], self.kept.get(index, {})
            correction = self.algorithm.correction(sent, state)
            end = local_sgd(client, self.model, self.rate, momentum=self.momentum, correction=correction)
            trained = Trained(
                (end - self.model).astype(np.float32),
                weight=client.weight,
                work=Work(client.steps, self.reference_steps, self.rate, self.momentum),
                sent=sent,
                state=state,
            )
            contributed = self.algorithm.contribute(trained)
            self.kept[index] = dict(contributed.state)
            assert set(contributed.sums) == set(self.algorithm.sums)
            vectors.append({name: vector.astype(np.float64) for name, vector in contributed.vectors.items()})
            totals["weight"] += client.weight
            totals["count"] += 1.0
            for name, value in contributed.sums.items():
                totals[name] += value
        means: dict[str, Vector] = {}
        for segment in self.algorithm.segments:
            shares = [
                self.clients[i].weight / totals["weight"] if segment.weighted else 1 / len(chosen) for i in chosen
            ]
            parts = [share * v[segment.name] for share, v in zip(shares, vectors, strict=True)]
            means[segment.name] = np.sum(parts, axis=0).astype(np.float32)
        mean = Mean(vectors=means, sums=totals, count=len(chosen))
        self.server, change = self.algorithm.step(self.server, mean, clients=len(self.clients))
        self.model = self.model + change.astype(np.float64)
        return self.model
