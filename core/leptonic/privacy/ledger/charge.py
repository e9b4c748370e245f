"""What is charged: a mechanism, how often, for which unit of privacy; and whose round it is for.

Made by a client before it trains, taken by :meth:`Ledger.reserve`.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from leptonic.errors import PrivacyError, UnaccountedMechanism
from leptonic.privacy.composition import Composition
from leptonic.privacy.mechanisms import Mechanism
from leptonic.privacy.renyi import ORDERS, RenyiCurve

__all__ = ["UNBOUNDED", "Adjacency", "Charge", "Cost", "RoundKey", "Unit"]

Unit = Literal["example", "client"]
Adjacency = Literal["add_remove", "zero_out"]
RoundKey = tuple[str, int, int, str]
"""Run, client, round; and the session, where each has noise of its own."""

UNBOUNDED = RenyiCurve((math.inf,) * len(ORDERS))
"""The curve of what no mechanism protects."""


@dataclass(frozen=True)
class Cost:
    """``times`` outputs of one mechanism. mechanism: None for what leaves without any privacy.

    unit: whose contribution the mechanism's sensitivity bounds. adjacency: what it bounds of it: that a unit is there
    or not, or is there or zero.
    """

    mechanism: Mechanism | None
    times: int
    unit: Unit
    adjacency: Adjacency

    def __post_init__(self) -> None:
        if self.times < 1:
            raise PrivacyError(f"{self.times} outputs cannot be charged")

    @property
    def curve(self) -> RenyiCurve:
        """What it costs its own unit."""
        return _curve(self.mechanism, self.times)

    def curve_for(self, unit: Unit) -> RenyiCurve:
        """What it costs such a unit.

        A mechanism for whole clients bounds examples too, at doubled sensitivity: another example replaces the
        client's update by another one within the same bound. One for examples bounds no client, who has many.
        """
        if unit == self.unit:
            return self.curve
        if unit == "client" or self.mechanism is None:
            return UNBOUNDED
        return _doubled(self.mechanism, self.times)


@dataclass(frozen=True)
class Charge:
    """One round of one run, as a client is about to work on it.

    client: index in the run's roster. session: names the session of secure aggregation, or the attempt, where each has
    noise of its own: one that comes to nothing is charged too, and the round again with the next.
    purpose: what the run says that it is for. server: the coordinator, by its key or else its address.
    """

    run: str
    client: int
    round: int
    cost: Cost
    session: str = ""
    purpose: str | None = None
    server: str = ""

    @property
    def key(self) -> RoundKey:
        """What is charged once."""
        return (self.run, self.client, self.round, self.session)


@lru_cache(maxsize=1024)
def _curve(mechanism: Mechanism | None, times: int) -> RenyiCurve:
    if mechanism is None:
        return UNBOUNDED
    return Composition.of([(mechanism, times)]).renyi()


@lru_cache(maxsize=1024)
def _doubled(mechanism: Mechanism, times: int) -> RenyiCurve:
    try:
        return Composition.of([(mechanism.at_double_sensitivity(), times)]).renyi()
    except UnaccountedMechanism:
        return UNBOUNDED
