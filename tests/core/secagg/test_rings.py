"""Sessions whose clients share with neighbours on a ring only: sums, and the lies that a ring invites."""

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from tests.core.secagg.lies import advertised, altered, assert_refused
from tests.core.secagg.members import COORDINATOR
from tests.core.secagg.parties import Cast, Play, Step, assert_exact

from leptonic.errors import BadShare, BelowThreshold, InconsistentCohort
from leptonic.secagg.binding import signed
from leptonic.secagg.encoding import decoded, encoded
from leptonic.secagg.graph import graph_of
from leptonic.secagg.messages import Consistency, Introduction, Named, SealedBox, SurvivorList, Train


def small_ring() -> Cast:
    """Thirty clients with eight neighbours: two shares open a secret, and two of any four places must survive."""
    return Cast(30, lying=0, colluders=1, neighbours=8, dropping=1, words=5)


def test_two_hundred_on_a_ring_with_a_lying_coordinator() -> None:
    cast = Cast(200, colluders=10, dropping=10, words=3)
    drops = dict(zip(cast.names[::19], [*Step, *Step], strict=False))
    play = cast.play().until(Step.SHARE, drops)
    bounds = play.sharing.graph.bounds
    assert (bounds.neighbours, bounds.threshold, bounds.window) == (38, 11, 11)
    for step in (Step.SHARE, Step.MASK, Step.AGREE, Step.UNMASK):
        play.step(step, [name for name, at in drops.items() if at == step])
    assert_exact(cast, play.result, {name for name in cast.names if drops.get(name, 6) > Step.MASK})
    assert play.result.suspects == frozenset()


def test_fifty_with_twelve_neighbours_each_and_a_curious_coordinator() -> None:
    cast = Cast(50, lying=0, colluders=1, neighbours=12, dropping=3, bits=20, words=7)
    drops = {
        cast.names[3]: Step.SHARE,
        cast.names[30]: Step.MASK,
        cast.names[44]: Step.MASK,
        cast.names[9]: Step.UNMASK,
    }
    play = cast.play()
    opened = play.run(drops)
    assert play.sharing.graph.bounds.neighbours == 12
    assert_exact(cast, opened, {name for name in cast.names if drops.get(name, 6) > Step.MASK})


@cache
def masked_ring() -> Play:
    """Everybody has sent a masked input. Each test lies to another client."""
    play = small_ring().play().until(Step.AGREE)
    assert (play.sharing.graph.bounds.threshold, play.sharing.graph.bounds.window) == (2, 2)
    return play


def without(play: Play, receiver: bytes, absent: set[bytes]) -> bytes:
    """The survivors as if these had not sent a masked input."""
    honest = decoded(Consistency, play.message(Step.AGREE, receiver))
    named = tuple(each for each in honest.survivors.survivors if each.client not in absent)
    known = tuple(each for each in honest.headers if each.client not in absent)
    return encoded(Consistency(SurvivorList(play.session, named), known))


@pytest.mark.parametrize("number", range(0, 30, 5))
def test_survivors_that_leave_a_window_of_the_ring_too_thin_are_refused(number: int) -> None:
    play = masked_ring()
    ring = play.sharing.graph.ring
    receiver = play.cast.names[number]
    # Three of four consecutive places; far from the receiver and near it, and over the end of the ring.
    at = (number * 7) % 30
    cut = {ring[(at + step) % 30] for step in range(3)} - {receiver}
    cut |= {ring[(at + 3) % 30]} if len(cut) < 3 else set()
    words = assert_refused(play, Step.AGREE, receiver, without(play, receiver, cut), BelowThreshold)
    assert "half a neighbourhood" in words


def test_survivors_that_leave_every_window_thick_enough_are_signed() -> None:
    play = small_ring().play().until(Step.AGREE)
    ring = play.sharing.graph.ring
    receiver, cut = ring[0], {ring[7], ring[8], ring[11], ring[12]}
    assert play.ask(Step.AGREE, receiver, without(play, receiver, cut)).content


def test_a_coordinator_does_not_close_a_sum_with_too_thin_a_window() -> None:
    play = small_ring().play().until(Step.MASK)
    ring = play.sharing.graph.ring
    with pytest.raises(BelowThreshold, match="half a neighbourhood"):
        play.step(Step.MASK, ring[4:7])
    assert len(play.present) > play.sharing.graph.bounds.survivors


def test_the_ring_is_that_of_the_cohort_and_not_of_those_who_stayed() -> None:
    cast = small_ring()
    play = cast.play().until(Step.MASK, {cast.names[4]: Step.SHARE})
    ring, gone = play.sharing.graph.ring, cast.names[4]
    at = ring.index(gone)
    assert ring[(at + 5) % 30] not in play.summing.graph.neighbours(ring[at - 1])
    assert gone in play.summing.graph.neighbours(ring[at - 1])


def test_too_few_neighbours_that_have_shared_are_refused() -> None:
    play = small_ring().play().until(Step.MASK)
    receiver = play.cast.names[3]
    gone = set(play.sharing.graph.neighbours(receiver)[1:])
    honest = decoded(Train, play.message(Step.MASK, receiver))
    lie = replace(
        honest,
        sharers=tuple(each for each in honest.sharers if each.client not in gone),
        commitments=tuple(each for each in honest.commitments if each.client not in gone),
        boxes=tuple(each for each in honest.boxes if each.client not in gone),
    )
    words = assert_refused(play, Step.MASK, receiver, encoded(lie), BelowThreshold)
    assert "1 neighbours" in words


STATEMENTS = {
    "advertisements": (Step.SHARE, Introduction),
    "commitments": (Step.MASK, Train),
    "headers": (Step.AGREE, Consistency),
}


@pytest.mark.parametrize("part", STATEMENTS)
def test_statements_of_a_stranger_or_too_few_are_refused(part: str) -> None:
    step, kind = STATEMENTS[part]
    play = small_ring().play().until(step)
    graph, names = play.sharing.graph, play.cast.names

    def brought(name: bytes) -> dict[bytes, Any]:
        return {each.client: each for each in getattr(decoded(kind, play.message(step, name)), part)}

    for receiver, friends in ((names[0], 9), (names[1], 7)):
        honest, mine = decoded(kind, play.message(step, receiver)), brought(receiver)
        if friends > 8:
            stranger = next(name for name in names if name not in (receiver, *graph.neighbours(receiver)))
            mine[stranger] = brought(stranger)[stranger]
        else:
            del mine[graph.neighbours(receiver)[0]]
        lie = replace(honest, **{part: tuple(mine[name] for name in sorted(mine))})
        assert_refused(play, step, receiver, encoded(lie), InconsistentCohort)


def test_a_survivor_that_is_no_neighbour_cannot_be_made_up_before_its_own_neighbours() -> None:
    # The others only see the hash of its header; those whom it shares masks with are shown the header itself.
    play = masked_ring()
    graph, made_up, other = play.sharing.graph, play.cast.names[17], bytes(32)
    # Somebody whom no other test has lied to.
    receiver = next(name for name in graph.neighbours(made_up) if name not in play.cast.names[::5])
    honest = decoded(Consistency, play.message(Step.AGREE, receiver))
    named = tuple(Named(each.client, other) if each.client == made_up else each for each in honest.survivors.survivors)
    lie = replace(honest, survivors=SurvivorList(play.session, named))
    assert_refused(play, Step.AGREE, receiver, encoded(lie), InconsistentCohort)


def test_more_broken_boxes_than_colluders_are_refused_and_as_many_tolerated() -> None:
    play = small_ring().play().until(Step.MASK)
    first, second = play.cast.names[:2]
    for receiver, broken in ((first, 2), (second, 1)):
        honest = decoded(Train, play.message(Step.MASK, receiver))
        boxes = tuple(
            SealedBox(box.client, altered(box.content)) if number < broken else box
            for number, box in enumerate(honest.boxes)
        )
        lie = encoded(replace(honest, boxes=boxes))
        if broken > 1:
            assert_refused(play, Step.MASK, receiver, lie, BadShare)
        else:
            assert play.ask(Step.MASK, receiver, lie).masked


def test_a_phantom_that_is_no_neighbour_is_refused_too() -> None:
    play = small_ring().play().until(Step.SHARE)
    receiver, gone = play.cast.names[:2]
    known = advertised(play)
    honest = decoded(Introduction, play.message(Step.SHARE, receiver)).cohort
    for number in range(100):
        phantom = Named(b"phantom-%d" % number, bytes(32))
        cohort = replace(honest, members=(*(each for each in honest.members if each.client != gone), phantom))
        near = graph_of(play.opening, cohort).neighbours(receiver)
        if phantom.client not in near:
            break
    brought = tuple(known[name] for name in sorted((receiver, *near)))
    lie = Introduction(cohort, signed(COORDINATOR, cohort), brought)
    words = assert_refused(play, Step.SHARE, receiver, encoded(lie), InconsistentCohort)
    assert "roster" in words
