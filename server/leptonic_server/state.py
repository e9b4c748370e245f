"""What a round begins with and ends with: the model, and the state of the algorithm and the server optimiser."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from leptonic.algorithms import Algorithm
from leptonic.errors import RunError
from leptonic.update import Mean, Vector
from leptonic_server.optimizers import ServerOptimizer

__all__ = ["RoundState"]


@dataclass(frozen=True)
class RoundState:
    """model: (d,) float32; algorithm, optimizer: named (d,) float32 vectors; privacy: of the server's noise, if any."""

    model: Vector
    algorithm: Mapping[str, Vector]
    optimizer: Mapping[str, Vector]
    privacy: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    @classmethod
    def first(
        cls,
        model: Vector,
        algorithm: Algorithm,
        optimizer: ServerOptimizer,
        privacy: Mapping[str, NDArray[Any]] | None = None,
    ) -> Self:
        """The state before the first round."""
        return cls(model, algorithm.init(model.size), optimizer.init(model.size), privacy or {})

    @classmethod
    def from_vectors(cls, vectors: Mapping[str, NDArray[Any]]) -> Self:
        """The inverse of :meth:`vectors`."""
        parts: dict[str, dict[str, NDArray[Any]]] = {"algorithm": {}, "optimizer": {}, "privacy": {}}
        for name, vector in vectors.items():
            group, _, key = name.partition(".")
            if key:
                parts[group][key] = vector
        return cls(vectors["model"], **parts)

    def vectors(self) -> dict[str, NDArray[Any]]:
        """One flat table, as the run store keeps it."""
        groups = {"algorithm": self.algorithm, "optimizer": self.optimizer, "privacy": self.privacy}
        parts = {f"{group}.{name}": vector for group, named in groups.items() for name, vector in named.items()}
        return {"model": self.model, **parts}

    def broadcast(self, algorithm: Algorithm) -> bytes:
        """What clients are sent: the model, then the algorithm's broadcast vectors, float32 little-endian.

        Where the clip adapts it follows, float64.
        """
        vectors = [self.model, *(self.algorithm[name] for name in algorithm.broadcast)]
        parts = [vector.astype("<f4", copy=False).tobytes() for vector in vectors]
        if (clip := self.privacy.get("clip")) is not None:
            parts.append(clip.astype("<f8", copy=False).tobytes())
        return b"".join(parts)

    def step(
        self,
        mean: Mean,
        algorithm: Algorithm,
        optimizer: ServerOptimizer,
        *,
        clients: int,
        privacy: Mapping[str, NDArray[Any]] | None = None,
    ) -> "RoundState":
        """The state after a round. Raises RunError where the model is not finite any more."""
        moved, change = algorithm.step(self.algorithm, mean, clients=clients)
        stepped, model = optimizer.apply(dict(self.optimizer), self.model, change)
        if not np.isfinite(model).all():
            raise RunError("the model is not finite any more: lower the learning rates, and start again")
        return RoundState(model, moved, stepped, privacy or {})
