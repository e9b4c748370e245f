"""Who shares secrets with whom: everybody with everybody, or neighbours on a ring that nobody chose.

The order on the ring is that of hashes which hold every client's fresh nonce, and it is fixed for the session.
Bell et al. 2020 (CCS), arXiv 2012.11386, with a ring of hashes for the random graph.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import ClassVar

from leptonic.errors import InconsistentCohort
from leptonic.secagg.binding import hashed
from leptonic.secagg.bounds import Bounds, bounds_of
from leptonic.secagg.encoding import Digest, Id
from leptonic.secagg.messages import CohortList, Open

__all__ = ["Graph", "graph_of"]

RECENT = 4
"""Graphs that are remembered."""


@dataclass(frozen=True)
class _Place:
    TAG: ClassVar[str] = "graph"
    session: Digest
    client: Id


@dataclass(frozen=True)
class Graph:
    """The graph of one session. clients: ids of those who advertised, ascending."""

    session: bytes
    clients: tuple[bytes, ...]
    bounds: Bounds

    @cached_property
    def ring(self) -> tuple[bytes, ...]:
        """The clients in the order of their places."""
        return tuple(sorted(self.clients, key=lambda client: hashed(_Place(self.session, client))))

    @cached_property
    def _positions(self) -> dict[bytes, int]:
        return {client: position for position, client in enumerate(self.ring)}

    def neighbours(self, client: bytes) -> tuple[bytes, ...]:
        """The client's neighbours, ascending; itself not among them."""
        if self.bounds.complete:
            return tuple(other for other in self.clients if other != client)
        at, half = self._positions[client], self.bounds.neighbours // 2
        steps = (*range(-half, 0), *range(1, half + 1))
        return tuple(sorted(self.ring[(at + step) % len(self.ring)] for step in steps))

    @cached_property
    def _ranks(self) -> dict[bytes, int]:
        return {client: 1 + rank for rank, client in enumerate(self.clients)}

    def place(self, client: bytes) -> int:
        """Where this client's shares lie: never read from a message."""
        return self._ranks[client]

    def thinnest_window(self, survivors: Collection[bytes]) -> int:
        """The fewest of these clients in any half neighbourhood of consecutive places; all of them if complete."""
        if self.bounds.complete:
            return len(survivors)
        return _thinnest([client in survivors for client in self.ring], self.bounds.neighbours // 2)


@lru_cache(RECENT)
def graph_of(opening: Open, cohort: CohortList) -> Graph:
    """The graph of a cohort, as every party finds it: once in a process. Raises BelowThreshold, InconsistentCohort."""
    settings, clients = opening.settings, tuple(member.client for member in cohort.members)
    if len(clients) > settings.invited:
        raise InconsistentCohort(f"a cohort of {len(clients)}, and sums have room for {settings.invited}")
    bounds = bounds_of(
        len(clients),
        colluders=settings.colluders,
        lying=bool(settings.lying),
        neighbours=settings.neighbours,
        dropping=settings.dropping,
        minimum=settings.minimum,
    )
    return Graph(hashed(cohort), clients, bounds)


def _thinnest(present: Sequence[bool], width: int) -> int:
    inside = fewest = sum(present[:width])
    for start in range(1, len(present)):
        inside += present[(start + width - 1) % len(present)] - present[start - 1]
        fewest = min(fewest, inside)
    return fewest
