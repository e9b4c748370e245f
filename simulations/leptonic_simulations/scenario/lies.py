"""What lying clients send: pure functions of an update, or of what is known of the honest ones."""

from collections.abc import Mapping
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from leptonic.experiment import ALittleIsEnough, Attack, GaussianUpdate, InnerProduct, Scale, SignFlip
from leptonic.integers import Lattice
from leptonic.update import Vector

__all__ = ["Moments", "hidden_deviations", "lie", "lie_from", "needs_the_honest"]


def needs_the_honest(attack: Attack) -> bool:
    """Whether the attack is made from the updates of the honest clients."""
    return isinstance(attack, ALittleIsEnough | InnerProduct)


def lie(attack: Attack, vectors: Mapping[str, Vector], draw: np.random.Generator) -> dict[str, Vector]:
    """What a client sends instead of its vectors, each (d,) float32; the same where the attack is made elsewhere."""
    return {name: _lie(attack, vector, draw) for name, vector in vectors.items()}


def _lie(attack: Attack, vector: Vector, draw: np.random.Generator) -> Vector:
    # What does not fit float32 becomes infinite, and its client fails, as it would in earnest.
    with np.errstate(over="ignore"):
        match attack:
            case SignFlip():
                return np.float32(-attack.factor) * vector
            case Scale():
                return np.float32(attack.factor) * vector
            case GaussianUpdate():
                return (attack.deviation * draw.standard_normal(vector.size)).astype(np.float32)
            case _:
                return vector


def lie_from(attack: Attack, honest: "Moments", *, clients: int, liars: int) -> Vector:
    """What every liar sends who knows the honest updates, (d,) float32. clients: of the round, liars included."""
    match attack:
        case ALittleIsEnough():
            z = hidden_deviations(clients, liars) if attack.z is None else attack.z
            return (honest.mean() - z * honest.deviation()).astype(np.float32)
        case InnerProduct():
            return (-attack.factor * honest.mean()).astype(np.float32)
        case _:
            raise TypeError(f"{attack.name} is no attack on the honest clients' updates")


def hidden_deviations(clients: int, liars: int) -> float:
    """How many standard deviations off the mean m liars among n clients hide.

    So many that s = floor(n / 2) + 1 - m honest clients lie still further out, who with the liars are a majority:
    the standard normal quantile of (n - m - s) / (n - m). At least one honest client is reckoned with, and never
    less than the mean itself: with few liars the formula gives 0, and there is nothing to hide behind.
    Source: Baruch et al. 2019, arXiv 1902.06156, section 3.3, Algorithm 3.
    """
    honest = clients - liars
    needed = max(1, clients // 2 + 1 - liars)
    return max(0.0, NormalDist().inv_cdf((honest - needed) / honest)) if honest > needed else 0.0


class Moments:
    """Mean and standard deviation of vectors that are added one by one, entry by entry.

    Kept as integers of the lattice, which is exact in 64 bits for as many as it was made for: the outcome does not
    depend on who came first.
    """

    def __init__(self, lattice: Lattice, size: int) -> None:
        self._lattice, self.count = lattice, 0
        self._total, self._squares = np.zeros(size, dtype=np.int64), np.zeros(size, dtype=np.int64)

    def add(self, vector: Vector) -> None:
        """Take in one vector, (d,) float32."""
        words = self._lattice.quantise(vector)[0].view(np.int32).astype(np.int64)
        self._total += words
        self._squares += words * words
        self.count += 1

    def mean(self) -> NDArray[np.float64]:
        """(d,) float64."""
        return self._total / (self.count * self._lattice.scale)

    def deviation(self) -> NDArray[np.float64]:
        """Of the population, (d,) float64."""
        spread = self.count * self._squares - self._total * self._total
        deviation: NDArray[np.float64] = np.sqrt(spread.astype(np.float64)) / (self.count * self._lattice.scale)
        return deviation
