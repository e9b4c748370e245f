"""Who takes part in a round: the roster's members, who of them is reachable, and the seeded draw."""

import math
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Protocol

import numpy as np

from leptonic import randomness
from leptonic.experiment import Experiment

__all__ = ["Members", "choose", "others"]


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
    repeated round asks the same clients; who is not reachable is replaced. failed: clients that failed in this
    round before; they are asked again only if there are not enough others.
    """
    federation = experiment.federation
    if experiment.privacy is not None and experiment.privacy.unit == "client":
        return _in_turn(experiment, round_number, online, failed)
    draw = randomness.generator(experiment.seed, "cohort", round_number)
    drawn = _draw(draw, range(federation.clients), federation.invited)
    chosen = [client for client in drawn if client in online and client not in failed]
    if len(chosen) < federation.invited:
        fresh = lambda client: client in online and client not in failed  # noqa: E731
        chosen += others(draw, federation.clients, set(drawn), federation.invited - len(chosen), fresh)
    if len(chosen) < federation.wanted:
        chosen += _draw(draw, sorted(failed & online.keys()), federation.invited - len(chosen))
    return chosen


def _in_turn(experiment: Experiment, round_number: int, online: Mapping[int, int], failed: Set[int]) -> list[int]:
    """The clients whose turn it is: in an order drawn from the seed, again and again.

    So nobody joins more rounds, or sooner again, than its noise was calibrated for; who is away is not replaced.
    """
    clients, invited = experiment.federation.clients, experiment.federation.invited
    draw = randomness.generator(experiment.seed, "turns")
    step = int(draw.integers(clients))
    while math.gcd(step, clients) != 1:
        step = (step + 1) % clients
    first = int(draw.integers(clients)) + (round_number - 1) * invited
    turn = [(first + place) * step % clients for place in range(invited)]
    present = [client for client in turn if client in online]
    willing = [client for client in present if client not in failed]
    return willing if len(willing) >= experiment.needed else present


def _draw(draw: np.random.Generator, candidates: Sequence[int], count: int) -> list[int]:
    """So many of the candidates in a random order, or all of them in theirs."""
    if count >= len(candidates):
        return list(candidates)
    return [candidates[position] for position in draw.choice(len(candidates), size=count, replace=False)]


def others(
    draw: np.random.Generator, clients: int, drawn: set[int], count: int, fresh: Callable[[int], bool]
) -> list[int]:
    """So many further clients that are ``fresh``, or all there are.

    Drawn by rejection, so that of a large population only a few are looked at unless very few are fresh.
    """
    found: list[int] = []
    for _ in range(clients):
        if len(found) == count or len(drawn) == clients:
            return found
        client = int(draw.integers(clients))
        if client not in drawn:
            drawn.add(client)
            found += [client] if fresh(client) else []
    rest = [client for client in range(clients) if client not in drawn and fresh(client)]
    return found + _draw(draw, rest, count - len(found))
