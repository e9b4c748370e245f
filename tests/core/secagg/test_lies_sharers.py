"""Lies about who has shared, and about the shares: a client works for nobody who was not there for all."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.core.secagg.lies import (
    altered,
    assert_refused,
    bare,
    commitments,
    dealt,
    recommitted,
    work,
)
from tests.core.secagg.members import key_of, name_of
from tests.core.secagg.parties import Cast, Play, Step, assert_exact

from leptonic.errors import (
    BadShare,
    BadSignature,
    BelowThreshold,
    DecodeError,
    InconsistentCohort,
    LeptonicError,
    PolicyRefused,
)
from leptonic.secagg.encoding import decoded, encoded
from leptonic.secagg.messages import Named, SealedBox, SignedCommitment, Train
from leptonic.secagg.shamir import PRIME
from leptonic.secagg.standing import Policy

ME, OTHER, THIRD, COLLUDER, ABSENT = (name_of(number) for number in (1, 2, 3, 4, 5))
STRANGER = key_of(b"somebody else")


def five_of_six() -> Play:
    """Six have advertised, all but the last have shared; one may collude."""
    return Cast(6).play().until(Step.MASK, {ABSENT: Step.SHARE})


def train(play: Play) -> Train:
    return decoded(Train, play.message(Step.MASK, ME))


def without(play: Play, *names: bytes) -> bytes:
    return work(play, ME, {name: each for name, each in commitments(play).items() if name not in names})


def with_commitment(play: Play, name: bytes, **changes: Any) -> bytes:
    return work(play, ME, {**commitments(play), name: recommitted(play, name, **changes)})


def unsigned(play: Play, name: bytes, **changes: Any) -> bytes:
    false = replace(recommitted(play, name, **changes), signature=commitments(play)[name].signature)
    return work(play, ME, {**commitments(play), name: false})


def of_the_absent(play: Play, signer: bytes) -> SignedCommitment:
    """In the name of somebody who never shared."""
    theirs = replace(commitments(play)[COLLUDER].commitment, client=ABSENT)
    return SignedCommitment(theirs, key_of(signer).sign(b"whatever"))


def brought(play: Play, change: Callable[[dict[bytes, SignedCommitment]], dict[bytes, SignedCommitment]]) -> bytes:
    """The honest list beside other commitments."""
    shown = change(commitments(play))
    return encoded(replace(train(play), commitments=tuple(shown[name] for name in sorted(shown))))


def disordered(play: Play, part: str, change: Callable[[tuple[Any, ...]], tuple[Any, ...]]) -> bytes:
    """The honest message with a list that no encoder makes."""
    return bare(replace(train(play), **{part: change(getattr(train(play), part))}))


def first_twice(elements: tuple[Any, ...]) -> tuple[Any, ...]:
    return (elements[0], *elements)


def backwards(elements: tuple[Any, ...]) -> tuple[Any, ...]:
    return elements[::-1]


LIES: dict[str, tuple[Callable[[Play], bytes], type[LeptonicError]]] = {
    "work of another session": (
        lambda play: work(play, ME, commitments(play), session=bytes(32)),
        InconsistentCohort,
    ),
    "I have not shared": (lambda play: without(play, ME), InconsistentCohort),
    "I have shared another seed": (lambda play: unsigned(play, ME, seed=bytes(32)), InconsistentCohort),
    "I have sent other boxes": (lambda play: unsigned(play, ME, boxes=bytes(32)), InconsistentCohort),
    "too few have shared": (lambda play: without(play, OTHER, THIRD), BelowThreshold),
    "somebody who is not of the cohort": (
        lambda play: encoded(replace(train(play), sharers=(*train(play).sharers, Named(b"phantom", bytes(32))))),
        InconsistentCohort,
    ),
    "somebody who never shared, on the list alone": (
        lambda play: encoded(replace(train(play), sharers=(*train(play).sharers, Named(ABSENT, bytes(32))))),
        InconsistentCohort,
    ),
    "somebody who never shared, signed by a colluder": (
        lambda play: work(play, ME, {**commitments(play), ABSENT: of_the_absent(play, COLLUDER)}),
        BadSignature,
    ),
    "another's seed under the old signature": (lambda play: unsigned(play, OTHER, seed=bytes(32)), BadSignature),
    "another's boxes under the old signature": (lambda play: unsigned(play, OTHER, boxes=bytes(32)), BadSignature),
    "another's seed signed by a colluder": (
        lambda play: with_commitment(play, OTHER, seed=bytes(32), signer=key_of(COLLUDER)),
        BadSignature,
    ),
    "no signature of a commitment": (
        lambda play: work(
            play, ME, {**commitments(play), OTHER: replace(commitments(play)[OTHER], signature=bytes(64))}
        ),
        BadSignature,
    ),
    "a colluder's commitment in another session": (
        lambda play: with_commitment(play, COLLUDER, session=bytes(32)),
        InconsistentCohort,
    ),
    "a commitment that is not the one on the list": (
        lambda play: brought(play, lambda shown: {**shown, COLLUDER: recommitted(play, COLLUDER, seed=bytes(32))}),
        InconsistentCohort,
    ),
    "a commitment that is not shown": (
        lambda play: brought(play, lambda shown: {name: shown[name] for name in shown if name != OTHER}),
        InconsistentCohort,
    ),
    "a commitment of somebody who is not on the list": (
        lambda play: brought(play, lambda shown: {**shown, ABSENT: of_the_absent(play, COLLUDER)}),
        InconsistentCohort,
    ),
    "a box of somebody who never shared": (
        lambda play: encoded(replace(train(play), boxes=(*train(play).boxes, SealedBox(ABSENT, bytes(82))))),
        InconsistentCohort,
    ),
    "a box of mine": (
        lambda play: encoded(
            replace(train(play), boxes=(train(play).boxes[0], SealedBox(ME, bytes(82)), *train(play).boxes[1:]))
        ),
        InconsistentCohort,
    ),
    "a sharer twice": (lambda play: disordered(play, "sharers", first_twice), DecodeError),
    "sharers in another order": (lambda play: disordered(play, "sharers", backwards), DecodeError),
    "a commitment twice": (lambda play: disordered(play, "commitments", first_twice), DecodeError),
    "commitments in another order": (lambda play: disordered(play, "commitments", backwards), DecodeError),
    "a box twice": (lambda play: disordered(play, "boxes", first_twice), DecodeError),
    "boxes in another order": (lambda play: disordered(play, "boxes", backwards), DecodeError),
    "a box cut short": (
        lambda play: disordered(
            play, "boxes", lambda boxes: (SealedBox(boxes[0].client, boxes[0].content[:-1]), *boxes[1:])
        ),
        DecodeError,
    ),
}


@pytest.mark.parametrize("kind", LIES)
def test_nobody_works_after_the_lie_of(kind: str) -> None:
    lie, error = LIES[kind]
    play = five_of_six()
    assert_refused(play, Step.MASK, ME, lie(play), error)


BREAKS: dict[str, Callable[[dict[bytes, bytes]], dict[bytes, bytes]]] = {
    "altered": lambda boxes: {**boxes, OTHER: altered(boxes[OTHER], 3), THIRD: altered(boxes[THIRD])},
    "left out": lambda boxes: {name: boxes[name] for name in boxes if name not in (OTHER, THIRD)},
    "swapped between their senders": lambda boxes: {**boxes, OTHER: boxes[THIRD], THIRD: boxes[OTHER]},
    "all one sender's": lambda boxes: dict.fromkeys(boxes, boxes[OTHER]),
    "empty": lambda boxes: {**boxes, OTHER: bytes(82), THIRD: bytes(82)},
}


@pytest.mark.parametrize("kind", BREAKS)
def test_more_broken_boxes_than_colluders_are_bad_shares(kind: str) -> None:
    play = five_of_six()
    boxes = BREAKS[kind]({box.client: box.content for box in train(play).boxes})
    lie = replace(train(play), boxes=tuple(SealedBox(name, boxes[name]) for name in sorted(boxes)))
    assert_refused(play, Step.MASK, ME, encoded(lie), BadShare)


def test_boxes_for_another_receiver_are_bad_shares() -> None:
    play = five_of_six()
    theirs = {box.client: box for box in decoded(Train, play.message(Step.MASK, COLLUDER)).boxes}
    lie = replace(train(play), boxes=tuple(theirs.get(box.client, box) for box in train(play).boxes))
    assert_refused(play, Step.MASK, ME, encoded(lie), BadShare)


def test_boxes_of_an_earlier_session_are_bad_shares() -> None:
    cast = Cast(5)
    earlier = train(cast.play(b"earlier").until(Step.MASK)).boxes
    play = cast.play().until(Step.MASK)
    assert_refused(play, Step.MASK, ME, encoded(replace(train(play), boxes=earlier)), BadShare)


@pytest.mark.parametrize("colluders", [1, 2])
def test_as_many_broken_boxes_as_colluders_do_not_keep_the_sum_shut(colluders: int) -> None:
    cast = Cast(7, colluders=colluders)
    play = cast.play().until(Step.MASK)
    for name in cast.names:
        honest = decoded(Train, play.message(Step.MASK, name))
        # Everybody's, from the colluders: the last ones.
        broken = tuple(
            SealedBox(box.client, altered(box.content)) if box.client in cast.names[-colluders:] else box
            for box in honest.boxes
        )
        told = honest if name in cast.names[-colluders:] else replace(honest, boxes=broken)
        play.take(Step.MASK, name, play.ask(Step.MASK, name, encoded(told)))
    play.close(Step.MASK)
    play.step(Step.AGREE)
    play.step(Step.UNMASK)
    assert_exact(cast, play.result, cast.names)


@pytest.mark.parametrize("liars", [1, 2])
def test_shares_outside_the_field_count_as_missing(liars: int) -> None:
    play, large = Cast(5).play().until(Step.SHARE), PRIME.to_bytes(33, "little")
    honest, dealers = play.cast.names[:-liars], play.cast.names[-liars:]
    for name in honest:
        play.take(Step.SHARE, name, play.ask(Step.SHARE, name))
    for name in dealers:
        play.take(Step.SHARE, name, dealt(play, name, lambda _, shares: (shares[0], large)))
    play.close(Step.SHARE)
    if liars > 1:
        with pytest.raises(BadShare):
            play.ask(Step.MASK, ME)
    else:
        assert play.ask(Step.MASK, ME).masked


def test_sharers_that_are_too_few_for_the_owner_are_not_worked_for() -> None:
    # The node's own minimum is among the survivors needed, at this step too.
    cast = Cast(5, policy=Policy(colluders=1, survivors=5))
    play = cast.play().until(Step.MASK)
    lie, before = without(play, OTHER), list(cast.clients[ME].journal.notes)
    with pytest.raises((PolicyRefused, BelowThreshold)):
        play.train(ME, lie)
    assert cast.clients[ME].journal.notes == before
