"""Who is online: the stated fraction, a wave by time zone, slots, and nothing of the order of the population."""

import math
from typing import Any

import pytest

from leptonic import experiment
from leptonic_simulations.members import Everyone
from leptonic_simulations.scenario.availability import Availability, PresentMembers
from leptonic_simulations.scenario.clock import VirtualClock


def availability(**settings: Any) -> Availability:
    return Availability(experiment.Availability(**settings), seed=7)


def test_on_average_the_stated_fraction_is_online() -> None:
    wave = availability(online=0.3, swing=0.8)
    draws = [wave.is_online(client, slot) for client in range(400) for slot in range(24)]
    # Of 9600 draws of probability p between 0.06 and 0.54: deviation below sqrt(0.3 * 0.7 / 9600) = 0.0047.
    assert abs(sum(draws) / len(draws) - 0.3) < 5 * 0.0047


def test_the_wave_is_as_deep_as_stated_and_follows_the_zone() -> None:
    wave = availability(online=0.4, swing=0.5, zones=0.0, stay=3600.0)
    noon, midnight = 23, 11  # the slots beside the peak at time 0 and the trough half a day later
    cosine = math.cos(math.pi / 24)
    assert wave.probability(0, noon) == pytest.approx(0.4 * (1 + 0.5 * cosine))
    assert wave.probability(0, midnight) == pytest.approx(0.4 * (1 - 0.5 * cosine))
    shares = [sum(wave.is_online(client, slot) for client in range(3000)) / 3000 for slot in (noon, midnight)]
    assert shares[0] == pytest.approx(0.4 * (1 + 0.5 * cosine), abs=5 * 0.009)
    assert shares[1] == pytest.approx(0.4 * (1 - 0.5 * cosine), abs=5 * 0.009)
    shifted = availability(online=0.4, zones=1.0)
    client = next(client for client in range(100) if abs(shifted.zone(client) - 0.5) < 0.02)
    assert shifted.probability(client, midnight) > shifted.probability(client, noon)


def test_zones_are_spread_over_their_part_of_the_globe() -> None:
    zones = [availability(zones=0.25).zone(client) for client in range(1000)]
    assert 0 <= min(zones) < 0.01
    assert 0.24 < max(zones) < 0.25
    assert sum(zones) / 1000 == pytest.approx(0.125, abs=5 * 0.25 / math.sqrt(12 * 1000))


def test_whoever_is_online_stays_so_for_the_slot() -> None:
    clock, wave = VirtualClock(), availability(stay=600.0)
    members = PresentMembers(Everyone(50), wave, clock)
    first = dict(members.online())
    clock.pause(0.0, until=599.0)
    assert dict(members.online()) == first
    clock.pause(0.0, until=600.0)
    assert dict(members.online()) != first
    assert first == {client: client for client in range(50) if wave.is_online(client, 0)}
    assert wave.next_slot(599.0) == 600.0 < wave.next_slot(600.0) == 1200.0


def test_the_next_slot_is_always_later() -> None:
    wave = availability(stay=0.1)
    for time in (0.1 + 0.2, 3 * 0.1, 1e9 + 0.1, 0.0):
        assert wave.next_slot(time) > time


def test_of_a_large_population_only_those_that_are_asked_for_are_looked_at() -> None:
    class Counting(Availability):
        looked = 0

        def is_online(self, client: int, slot: int) -> bool:
            self.looked += 1
            return super().is_online(client, slot)

    wave = Counting(experiment.Availability(), seed=1)
    online = PresentMembers(Everyone(10**9), wave, VirtualClock()).online()
    assert sum(client in online for client in range(100)) == sum(client in online for client in range(100))
    assert 10**9 + 5 not in online
    assert wave.looked == 100
