"""What the clients of a Flower app agree on beside the session's settings: how an update becomes integers.

The coordinator states the terms with the opening of each session, whose ``experiment`` is their hash: a client that was
told other terms is in another session.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Self

from leptonic.algorithms.fedavg import FederatedAveraging
from leptonic.errors import InconsistentCohort
from leptonic.experiment import SecureAggregation
from leptonic.integers import Lattice
from leptonic.pipeline import LatticePipeline
from leptonic.secagg.bounds import bounds_of
from leptonic.secagg.encoding import Name, Size
from leptonic.secagg.messages import SessionSettings

__all__ = ["MetricName", "Terms"]

_REAL = struct.Struct("<d")
_OWN_SUMS = 4
"""Sums that a pipeline makes by itself: count, weight, clamped, capped."""


@dataclass(frozen=True, slots=True)
class MetricName:
    """A training metric whose weighted sum is part of the masked input."""

    name: Name

    @property
    def client(self) -> bytes:
        """Its place in the list."""
        return self.name


@dataclass(frozen=True, slots=True)
class Terms:
    """How a client's reply becomes integers.

    range: clamps the change of each value; 8 bytes, a float64. weight_cap: the weight that counts as 1; larger ones are
    clamped to it. weighted_by: the metric that is the weight. metrics: those whose weighted means are wanted.
    """

    TAG: ClassVar[str] = "flower terms"
    range: Annotated[bytes, Size(8)]
    weight_cap: int
    weighted_by: Name
    metrics: tuple[MetricName, ...]

    @classmethod
    def of(cls, *, update_range: float, weight_cap: int, weighted_by: str, metrics: Iterable[str]) -> Self:
        """The terms of these values. Raises DecodeError, when they are encoded, for a name that is too long."""
        names = tuple(MetricName(name.encode()) for name in sorted(set(metrics)))
        return cls(_REAL.pack(update_range), weight_cap, weighted_by.encode(), names)

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The metrics, in the order of their sums."""
        return tuple(each.name.decode(errors="replace") for each in self.metrics)

    @property
    def weight_name(self) -> str:
        """The metric that is the weight."""
        return self.weighted_by.decode(errors="replace")

    def settings(self, secure: SecureAggregation, *, words: int, invited: int) -> SessionSettings:
        """The settings of a session of so many clients. Raises BelowThreshold where none of that size is safe."""
        colluders, dropping = secure.colluding(invited), secure.dropping(invited)
        neighbours = 0 if secure.neighbours == "auto" else secure.neighbours
        lying = secure.adversary == "lying"
        bounds = bounds_of(invited, colluders=colluders, lying=lying, neighbours=neighbours, dropping=dropping)
        return SessionSettings(
            words=words,
            sums=_OWN_SUMS + len(self.metrics),
            bits=secure.bits,
            invited=invited,
            lying=int(lying),
            colluders=colluders,
            neighbours=neighbours,
            dropping=dropping,
            minimum=bounds.survivors,
        )

    def pipeline(self, settings: SessionSettings) -> LatticePipeline:
        """The encoding of a session's inputs.

        Raises InconsistentCohort where terms and settings do not fit, ExperimentError where they make no encoding.
        """
        if settings.words < 1 or settings.sums != _OWN_SUMS + len(self.metrics) or self.weight_cap < 1:
            raise InconsistentCohort("the session's lengths are not those of its terms")
        (reach,) = _REAL.unpack(self.range)
        return LatticePipeline(
            algorithm=FederatedAveraging(),
            lattice=Lattice(range=reach, clients=settings.invited, bits=settings.bits),
            size=settings.words,
            weight_cap=float(self.weight_cap),
            sum_names=self.metric_names,
        )
