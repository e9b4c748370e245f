"""What is left of a session at the coordinator once no further masked input is taken."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from leptonic.secagg.binding import hashed
from leptonic.secagg.graph import Graph, graph_of
from leptonic.secagg.messages import (
    CohortList,
    Context,
    Named,
    Open,
    SignedAdvertisement,
    SignedCommitment,
    SignedHeader,
    SurvivorList,
    SurvivorSet,
    View,
)

__all__ = ["ClosedSum"]


@dataclass(frozen=True)
class ClosedSum:
    """Everything of a session but the masked sum, once no further input is taken."""

    opening: Open
    cohort: CohortList
    advertisements: tuple[SignedAdvertisement, ...]
    commitments: tuple[SignedCommitment, ...]
    headers: tuple[SignedHeader, ...]
    context: Context

    @cached_property
    def graph(self) -> Graph:
        """Who shared with whom."""
        return graph_of(self.opening, self.cohort)

    @cached_property
    def advertised(self) -> Mapping[bytes, SignedAdvertisement]:
        """The advertisements by client."""
        return {each.client: each for each in self.advertisements}

    @cached_property
    def committed(self) -> Mapping[bytes, SignedCommitment]:
        """The commitments by client: those who shared (U2)."""
        return {each.client: each for each in self.commitments}

    @cached_property
    def survived(self) -> frozenset[bytes]:
        """Whose inputs are in the sum (U3)."""
        return frozenset(each.client for each in self.headers)

    @cached_property
    def sharers(self) -> tuple[Named, ...]:
        """U2."""
        return tuple(Named(each.client, hashed(each.commitment)) for each in self.commitments)

    @cached_property
    def view(self) -> bytes:
        """The hash of what the survivors saw."""
        return hashed(View(self.graph.session, self.sharers, hashed(self.context)))

    @cached_property
    def survivors(self) -> SurvivorList:
        """U3."""
        return SurvivorList(self.graph.session, tuple(Named(each.client, hashed(each.header)) for each in self.headers))

    @cached_property
    def agreement(self) -> SurvivorSet:
        """What every client is asked to sign."""
        return SurvivorSet(self.graph.session, self.view, hashed(self.survivors))
