"""Who is through when, by stated speeds; who is drawn; and what is kept of it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from tests.simulations.small import experiment

from leptonic.errors import RunError
from leptonic.experiment import Asynchronous, Experiment
from leptonic_simulations.asynchronous.flights import Flights
from leptonic_simulations.members import Everyone
from leptonic_simulations.scenario.clock import VirtualClock
from leptonic_simulations.scenario.journeys import Journey


def made(clients: int, deadline: float = 100.0, **settings: Any) -> tuple[Experiment, Asynchronous]:
    one = experiment(
        federation={"clients": clients, "deadline": deadline},
        scenario={"asynchronous": {"buffer": 1, "concurrency": clients, **settings}},
    )
    assert one.scenario is not None
    assert one.scenario.asynchronous is not None
    return one, one.scenario.asynchronous


def flights_of(
    seconds: Mapping[int, float], clock: VirtualClock, lost: frozenset[tuple[int, int]] = frozenset(), **settings: Any
) -> Flights:
    """Clients that take so many seconds. lost: (client, try) whose answer never comes."""

    def travel(client: int, version: int, attempt: int) -> Journey:
        return Journey(seconds[client], "never_trains" if (client, attempt) in lost else "arrives")

    return Flights(*made(len(seconds), **settings), travel=travel, clock=clock)


def test_they_arrive_by_their_speeds_and_begin_anew_after_each_step() -> None:
    clock = VirtualClock()
    flights, members = flights_of({0: 5.0, 1: 2.0, 2: 3.0}, clock), Everyone(3)
    seen = []
    for version in range(1, 8):
        flight = flights.next(members)
        seen.append((clock.now(), flight.client, flight.version))
        flights.begin_step(version)
    # By hand: 1 at 2, 4, 6, 8; 2 at 3, 6, 9; 0 at 5. At 6 client 2 began first, at 3.
    assert seen == [(2, 1, 0), (3, 2, 0), (4, 1, 1), (5, 0, 0), (6, 2, 2), (6, 1, 3), (8, 1, 6)]


def test_who_is_through_waits_for_the_step_and_another_begins() -> None:
    clock = VirtualClock()
    flights = flights_of(dict.fromkeys(range(6), 1.0), clock, concurrency=2)
    through = [flights.next(Everyone(6)) for _ in range(6)]
    assert sorted(flight.client for flight in through) == list(range(6))
    assert [flight.end for flight in through] == [1.0, 1.0, 2.0, 2.0, 3.0, 3.0]
    with pytest.raises(RunError, match="nobody trains"):
        flights.next(Everyone(6))


def test_the_silent_are_given_up_by_the_deadline_and_drawn_again() -> None:
    clock = VirtualClock()
    flights = flights_of({0: 7.0}, clock, lost=frozenset({(0, 1), (0, 2)}), deadline=10.0)
    found = [flights.next(Everyone(1)) for _ in range(3)]
    assert [(flight.end, flight.silent) for flight in found] == [(10.0, True), (20.0, True), (27.0, False)]


def test_an_answer_at_the_deadline_is_too_late() -> None:
    flights = flights_of({0: 10.0}, VirtualClock(), deadline=10.0)
    assert flights.next(Everyone(1)).silent


def test_what_is_under_way_is_restored_whole() -> None:
    seconds = {client: 1.0 + client / 3 for client in range(9)}
    one, other = VirtualClock(), VirtualClock()
    first, second = (flights_of(seconds, clock, concurrency=5) for clock in (one, other))
    members = Everyone(9)
    for version in range(1, 5):
        first.next(members)
        first.begin_step(version)
    other.pause(0.0, until=one.now())
    second.restore(first.vectors(), 4)
    assert first.versions() == second.versions()
    for version in range(5, 12):
        mine, restored = first.next(members), second.next(members)
        assert (mine.end, mine.client, mine.version) == (restored.end, restored.client, restored.version)
        first.begin_step(version)
        second.begin_step(version)


def test_models_are_kept_only_for_updates_that_will_be_young_enough() -> None:
    flights = flights_of({0: 1.0, 1: 50.0}, VirtualClock(), max_staleness=2)
    kept = []
    for version in range(1, 5):
        flights.next(Everyone(2))
        flights.begin_step(version)
        kept.append(flights.versions())
    assert kept == [{0}, {0}, set(), set()]


def test_nothing_under_way_can_be_kept() -> None:
    flights = flights_of({0: 1.0}, VirtualClock())
    empty = flights.vectors()
    assert [vector.size for vector in empty.values()] == [0, 0]
    flights.restore({name: np.asarray(vector) for name, vector in empty.items()}, 0)
    assert flights.next(Everyone(1)).client == 0
