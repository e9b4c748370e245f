"""Who is online when: a wave over the day, with a time zone of each client's own.

Nothing is stored for a population: whether a client is online is drawn when it is asked for.
"""

import math
from collections.abc import Iterator, Mapping
from functools import lru_cache

from leptonic import experiment, randomness
from leptonic_server.clock import Clock
from leptonic_simulations.members import Everyone

__all__ = ["Availability", "PresentMembers"]

REMEMBERED = 65536


class Availability:
    """Draws each client's time zone once, and in each slot of ``stay`` seconds whether it is online."""

    def __init__(self, settings: "experiment.Availability", seed: int) -> None:
        self._settings, self._seed = settings, seed
        self.zone = lru_cache(REMEMBERED)(self._zone)

    def slot(self, time: float) -> int:
        """The slot of a moment. time: virtual seconds."""
        return math.floor(time / self._settings.stay)

    def next_slot(self, time: float) -> float:
        """When the next slot begins."""
        following = (self.slot(time) + 1) * self._settings.stay
        return following if following > time else math.nextafter(time, math.inf)

    def probability(self, client: int, slot: int) -> float:
        """That the client is online in the slot, by its local time at the middle of it."""
        settings = self._settings
        day = (slot + 0.5) * settings.stay / settings.day
        return settings.online * (1 + settings.swing * math.cos(2 * math.pi * (day - self.zone(client))))

    def is_online(self, client: int, slot: int) -> bool:
        """The draw."""
        draw = randomness.generator(self._seed, "scenario", "online", client, slot).random()
        return bool(draw < self.probability(client, slot))

    def _zone(self, client: int) -> float:
        """A client's time zone, as a part of a day."""
        return float(self._settings.zones * randomness.generator(self._seed, "scenario", "zone", client).random())


class Present(Mapping[int, int]):
    """Client -> node of those that are online in one slot. Its length alone looks at the whole population."""

    def __init__(self, everyone: Mapping[int, int], availability: Availability, slot: int) -> None:
        self._everyone, self.slot = everyone, slot
        self._online = lru_cache(None)(lambda client: availability.is_online(client, slot))

    def __getitem__(self, client: int) -> int:
        node = self._everyone[client]
        if not self._online(client):
            raise KeyError(client)
        return node

    def __iter__(self) -> Iterator[int]:
        return (client for client in self._everyone if self._online(client))

    def __len__(self) -> int:
        return sum(1 for _ in self)


class PresentMembers:
    """The members of a simulation whose clients come and go."""

    def __init__(self, everyone: Everyone, availability: Availability, clock: Clock) -> None:
        self._everyone, self._availability, self._clock = everyone, availability, clock
        self._present = Present(everyone, availability, availability.slot(clock.now()))

    def online(self) -> Mapping[int, int]:
        """Those that are online now."""
        slot = self._availability.slot(self._clock.now())
        if slot != self._present.slot:
            self._present = Present(self._everyone, self._availability, slot)
        return self._present

    def key(self, client: int) -> None:
        """No key, as of every simulated client."""
        return

    def name(self, client: int) -> str:
        """What people call this client."""
        return self._everyone.name(client)
