"""What the entries add up to: replayed in their order when a ledger is opened, and with each entry that is written.

Pure: no file, no clock. Called by :class:`Ledger`, and by whoever only reads one.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from leptonic.errors import DecodeError
from leptonic.privacy.ledger.charge import Cost, RoundKey, Unit
from leptonic.privacy.ledger.entries import Data, Entry, Opened, Reserve, Settle
from leptonic.privacy.renyi import ORDERS, RenyiCurve

__all__ = ["Books", "Group"]


@dataclass(frozen=True)
class Group:
    """Equal charges, which are counted together. curve: as it stands in their entries."""

    lineage: str
    run: str
    purpose: str | None
    cost: Cost
    curve: RenyiCurve

    def curve_for(self, unit: Unit) -> RenyiCurve:
        """What each costs such a unit: the written curve, where it is of that unit."""
        return self.curve if unit == self.cost.unit else self.cost.curve_for(unit)


@dataclass(frozen=True)
class _Waiting:
    """A reservation that was not settled. number: of its entry."""

    number: int
    cost: Cost


class Books:
    """Sums and open reservations. charged: how often each group was."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.charged = Counter[Group]()
        self.left = set[RoundKey]()
        self.failed = Counter[str]()
        self.fingerprints = dict[str, str]()
        self._charges = Counter[tuple[str, int]]()
        self._attempts = Counter[RoundKey]()
        self._last = dict[tuple[str, int], int]()
        self._waiting = dict[RoundKey, _Waiting]()
        self._numbers = dict[int, RoundKey]()
        self._entries = 0
        for entry in entries:
            self.take(entry)

    def take(self, entry: Entry) -> None:
        """Go on by one entry. Raises DecodeError where it cannot follow those before it."""
        number = self._entries + 1
        if isinstance(entry, Opened) != (number == 1):
            raise DecodeError("a ledger has one entry that opens it, the first")
        if isinstance(entry, Reserve):
            self._reserved(number, entry)
        elif isinstance(entry, Settle):
            self._settled(entry)
        elif isinstance(entry, Data):
            self.fingerprints[entry.lineage] = entry.fingerprint
        self._entries = number

    def charges(self, run: str, client: int | None = None) -> int:
        """How often a client of a run was charged; with None, all that are kept in this ledger."""
        return sum(times for (name, index), times in self._charges.items() if name == run and client in (None, index))

    def attempts(self, key: RoundKey) -> int:
        """How often a round was charged."""
        return self._attempts[key]

    def waiting(self, key: RoundKey) -> _Waiting | None:
        """The last reservation of a round, unless it was settled."""
        return self._waiting.get(key)

    def last_round(self, run: str, client: int) -> int | None:
        """The latest round that a client of a run was charged for."""
        return self._last.get((run, client))

    def waits(self, run: str) -> int:
        """Rounds of a run that are reserved, and not settled."""
        return sum(1 for key in self._waiting if key[0] == run)

    def spent(self, unit: Unit, where: Callable[[Group], bool] = lambda _: True) -> RenyiCurve:
        """What these groups cost a unit together, whatever order they were charged in."""
        curves = [(group.curve_for(unit).values, times) for group, times in self.charged.items() if where(group)]
        return RenyiCurve(tuple(math.fsum(times * values[at] for values, times in curves) for at in range(len(ORDERS))))

    def _reserved(self, number: int, entry: Reserve) -> None:
        key = (entry.run, entry.client, entry.round, entry.session)
        if key in self.left:
            raise DecodeError("a round is reserved again after its update has left")
        if entry.attempt != self._attempts[key] + 1:
            raise DecodeError(f"attempt {entry.attempt} of a round that was charged {self._attempts[key]} times")
        cost = entry.cost
        self.charged[Group(entry.lineage, entry.run, entry.purpose, cost, entry.renyi)] += 1
        self._charges[entry.run, entry.client] += 1
        self._attempts[key] += 1
        self._last[entry.run, entry.client] = max(entry.round, self._last.get((entry.run, entry.client), 0))
        self._waiting[key] = _Waiting(number, cost)
        self._numbers[number] = key

    def _settled(self, entry: Settle) -> None:
        key = self._numbers.get(entry.reservation)
        waiting = None if key is None else self._waiting.get(key)
        if key is None or waiting is None or waiting.number != entry.reservation:
            raise DecodeError(f"entry {entry.reservation} is settled, which is no open reservation")
        del self._waiting[key], self._numbers[entry.reservation]
        if entry.outcome == "left":
            self.left.add(key)
        else:
            self.failed[key[0]] += 1
