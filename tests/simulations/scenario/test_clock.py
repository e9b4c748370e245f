"""Virtual time jumps from event to event, and never back."""

import math

import pytest

from leptonic.errors import RunError
from leptonic_simulations.scenario.clock import VirtualClock


def test_a_pause_ends_at_the_first_event_or_at_its_end() -> None:
    clock = VirtualClock(10.0)
    clock.follow(lambda now: 17.0 if now < 17.0 else math.inf)
    clock.follow(lambda now: 20.0 if now < 20.0 else math.inf)
    seen = []
    for until in (13.0, 100.0, 100.0, 100.0):
        clock.pause(0.25, until=until)
        seen.append(clock.now())
    assert seen == [13.0, 17.0, 20.0, 100.0]
    assert clock.virtual_seconds() == 100.0


def test_it_never_goes_back() -> None:
    clock = VirtualClock(10.0)
    clock.pause(1.0, until=3.0)
    assert clock.now() == 10.0


def test_a_pause_that_would_never_end_is_an_error() -> None:
    clock = VirtualClock()
    clock.follow(lambda now: math.inf)
    with pytest.raises(RunError, match="finite deadline"):
        clock.pause(1.0, until=math.inf)
