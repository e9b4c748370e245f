"""Who takes part in a round: the roster's members, who of them is reachable, and the seeded draw."""

from collections.abc import Mapping, Set
from typing import Protocol

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
    candidates = range(federation.clients)
    if len(online) < federation.clients or failed:
        candidates = sorted(client for client in online if client not in failed)
        if len(candidates) < federation.wanted:
            candidates = sorted(online)
    count = min(federation.invited, len(candidates))
    if count == len(candidates):
        return list(candidates)
    draw = randomness.generator(experiment.seed, "cohort", round_number)
    return [candidates[position] for position in draw.choice(len(candidates), size=count, replace=False)]
