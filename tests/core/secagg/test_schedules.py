"""Sessions in any order, with drop-outs, repeats, restarts and lies: no sum is opened that should not be."""

import pytest
from hypothesis import settings
from tests.core.secagg.schedules import NAMES, Schedules

TestSchedules = Schedules.TestCase
TestSchedules.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)


def opened(machine: Schedules) -> list[frozenset[bytes]]:
    return [survivors for sums in machine.opened.values() for survivors in sums.values()]


def test_a_schedule_without_mishap_opens_a_sum() -> None:
    machine = Schedules()
    machine.first()
    machine.finish(-1, [NAMES[2]], [])
    machine.next_model()
    machine.finish(-1, [], [NAMES[1]])
    machine.teardown()
    assert opened(machine) == [frozenset(NAMES) - {NAMES[2]}, frozenset(NAMES)]


def test_a_session_that_fell_apart_is_repeated() -> None:
    machine = Schedules()
    machine.first()
    machine.fall_apart([], [NAMES[0]])
    machine.finish(-1, [], [])
    machine.teardown()
    assert opened(machine) == [frozenset(NAMES)]


def test_of_two_sessions_side_by_side_one_is_opened() -> None:
    machine = Schedules()
    machine.first()
    machine.side_by_side([])
    machine.teardown()
    assert opened(machine) == [frozenset(NAMES)]


@pytest.mark.parametrize("crashes", [False, True])
def test_a_coordinator_that_lost_everything_but_a_closed_sum_opens_it(crashes: bool) -> None:
    machine = Schedules()
    machine.first()
    for absent in ([], [], [NAMES[2]]):
        machine.advance(-1, absent)
    for _ in range(1 + crashes):
        machine.sign(-1, [])
        machine.unmask(-1, [])
        if crashes:
            machine.crash(-1)
    machine.sign(-1, [])
    machine.unmask(-1, [])
    machine.open(-1)
    assert opened(machine) == [frozenset(NAMES) - {NAMES[2]}]


def test_a_session_that_was_opened_is_not_repeated_upon_the_words_of_the_rest() -> None:
    machine = Schedules()
    machine.first()
    machine.open_and_repeat([NAMES[0]])
    machine.teardown()
    assert opened(machine) == [frozenset(NAMES)]
    assert len(machine.plays) == 2


@pytest.mark.parametrize("counted", [False, True])
def test_a_client_that_was_told_of_other_work_is_in_no_sum(counted: bool) -> None:
    machine = Schedules()
    machine.first()
    for _ in range(2):
        machine.advance(-1, [])
    play, step = machine.plays[-1]
    machine.work(-1, NAMES[1], True)
    for name in NAMES:
        machine.answer(play, step, name)
    machine.cut(-1, [] if counted else [NAMES[1]], [])
    machine.teardown()
    assert opened(machine) == ([] if counted else [frozenset(NAMES) - {NAMES[1]}])
