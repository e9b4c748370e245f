"""What a round begins with and ends with: the model, and the state of the algorithm and the server optimiser."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from leptonic.algorithms import Algorithm
from leptonic.errors import RunError
from leptonic.update import Mean, Vector
from leptonic_server.optimizers import ServerOptimizer

__all__ = ["RoundState"]


@dataclass(frozen=True)
class RoundState:
    """model: (d,) float32; algorithm, optimizer: named (d,) float32 vectors."""

    model: Vector
    algorithm: Mapping[str, Vector]
    optimizer: Mapping[str, Vector]

    @classmethod
    def first(cls, model: Vector, algorithm: Algorithm, optimizer: ServerOptimizer) -> Self:
        """The state before the first round."""
        return cls(model, algorithm.init(model.size), optimizer.init(model.size))

    @classmethod
    def from_vectors(cls, vectors: Mapping[str, Vector]) -> Self:
        """The inverse of :meth:`vectors`."""
        parts: dict[str, dict[str, Vector]] = {"algorithm": {}, "optimizer": {}}
        for name, vector in vectors.items():
            group, _, key = name.partition(".")
            if key:
                parts[group][key] = vector
        return cls(vectors["model"], **parts)

    def vectors(self) -> dict[str, Vector]:
        """One flat table, as the run store keeps it."""
        parts = {"model": self.model}
        parts |= {f"algorithm.{name}": vector for name, vector in self.algorithm.items()}
        return parts | {f"optimizer.{name}": vector for name, vector in self.optimizer.items()}

    def broadcast(self, algorithm: Algorithm) -> bytes:
        """What clients are sent: the model, then the algorithm's broadcast vectors, float32 little-endian."""
        vectors = [self.model, *(self.algorithm[name] for name in algorithm.broadcast)]
        return b"".join(vector.astype("<f4", copy=False).tobytes() for vector in vectors)

    def step(self, mean: Mean, algorithm: Algorithm, optimizer: ServerOptimizer, *, clients: int) -> "RoundState":
        """The state after a round. Raises RunError where the model is not finite any more."""
        moved, change = algorithm.step(self.algorithm, mean, clients=clients)
        stepped, model = optimizer.apply(dict(self.optimizer), self.model, change)
        if not np.isfinite(model).all():
            raise RunError("the model is not finite any more: lower the learning rates, and start again")
        return RoundState(model, moved, stepped)
