"""Who takes part in a round: the roster's members, who of them is reachable, and the seeded draw."""

from collections.abc import Mapping, Sequence, Set
from typing import Protocol

import numpy as np

from leptonic import randomness
from leptonic.experiment import Experiment

__all__ = ["Members", "choose"]


class Members(Protocol):
    """The federation's clients as the coordinator reaches them."""

    def online(self) -> Mapping[int, int]:
        """Roster index -> network node, of those that can be asked now."""
        ...

    def key(self, client: int) -> str | None:
        """The Ed25519 public key that signs this client's replies, or None where replies are not signed."""
        ...

    def name(self, client: int) -> str:
        """What people call this client."""
        ...


def choose(experiment: Experiment, round_number: int, online: Mapping[int, int], failed: Set[int]) -> list[int]:
    """The clients to invite, in the order in which they are asked.

    The draw depends on the seed and the round alone while everyone is reachable, so that a run repeats and a
    repeated round asks the same clients. failed: clients that failed in this round before; they are asked
    again only if there are not enough others.
    """
    federation = experiment.federation
    draw = randomness.generator(experiment.seed, "cohort", round_number)
    everyone = len(online) == federation.clients and not failed
    fresh = range(federation.clients) if everyone else sorted(client for client in online if client not in failed)
    chosen = _draw(draw, fresh, federation.invited)
    if len(chosen) < federation.wanted:
        chosen += _draw(draw, sorted(failed & online.keys()), federation.invited - len(chosen))
    return chosen


def _draw(draw: np.random.Generator, candidates: Sequence[int], count: int) -> list[int]:
    """So many of the candidates in a random order, or all of them in theirs."""
    if count >= len(candidates):
        return list(candidates)
    return [candidates[position] for position in draw.choice(len(candidates), size=count, replace=False)]
