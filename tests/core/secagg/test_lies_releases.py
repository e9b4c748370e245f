"""Lies of clients at the end of a session: signatures and shares that the coordinator has no use for."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.core.secagg.lies import LIAR, assert_not_taken, bare
from tests.core.secagg.members import key_of, name_of
from tests.core.secagg.parties import Answer, Cast, Play, Step

from leptonic.errors import BadSignature, DecodeError, InconsistentCohort, LeptonicError
from leptonic.secagg.binding import signed
from leptonic.secagg.encoding import decoded, encoded
from leptonic.secagg.messages import Abort, Released, SharesReleased, Signed

OTHER = name_of(2)
Lies = dict[str, tuple[Callable[[Play], Answer], type[LeptonicError]]]


def agreed(play: Play, name: bytes, signature: bytes) -> Answer:
    return Answer(encoded(Signed(name, signature)))


SIGNATURES: Lies = {
    "another's signature": (lambda play: play.answers[Step.AGREE][OTHER], InconsistentCohort),
    "another's signature in its own name": (
        lambda play: agreed(play, LIAR, decoded(Signed, play.answers[Step.AGREE][OTHER].content).signature),
        BadSignature,
    ),
    "a signature of another set": (
        lambda play: agreed(
            play, LIAR, signed(key_of(LIAR), replace(play.agreeing.closed.agreement, survivors=bytes(32)))
        ),
        BadSignature,
    ),
    "a word that the session is given up": (
        lambda play: agreed(play, LIAR, signed(key_of(LIAR), Abort(play.session))),
        BadSignature,
    ),
    "no signature": (lambda play: agreed(play, LIAR, bytes(64)), BadSignature),
}


@pytest.mark.parametrize("kind", SIGNATURES)
def test_no_agreement_is_taken_with(kind: str) -> None:
    lie, error = SIGNATURES[kind]
    assert_not_taken(Step.AGREE, lie, error)


def released(play: Play) -> SharesReleased:
    return decoded(SharesReleased, play.answers[Step.UNMASK][LIAR].content)


def with_share(play: Play, name: bytes) -> Answer:
    shares = tuple(sorted((*released(play).shares, Released(name, bytes(33))), key=lambda each: each.client))
    return Answer(encoded(replace(released(play), shares=shares)))


RELEASES: Lies = {
    "another's": (lambda play: play.answers[Step.UNMASK][OTHER], InconsistentCohort),
    "another session's": (
        lambda play: Answer(encoded(replace(released(play), session=bytes(32)))),
        InconsistentCohort,
    ),
    "a share of itself": (lambda play: with_share(play, LIAR), InconsistentCohort),
    "a share of a stranger": (lambda play: with_share(play, b"phantom"), InconsistentCohort),
    "no seed of a survivor": (lambda play: Answer(encoded(replace(released(play), seed=b""))), InconsistentCohort),
    "two shares of one": (
        lambda play: Answer(bare(replace(released(play), shares=(released(play).shares[0], *released(play).shares)))),
        DecodeError,
    ),
}


@pytest.mark.parametrize("kind", RELEASES)
def test_no_shares_are_taken_with(kind: str) -> None:
    lie, error = RELEASES[kind]
    assert_not_taken(Step.UNMASK, lie, error)


def test_a_seed_of_somebody_who_was_left_out_is_not_taken() -> None:
    cast = Cast(5)
    play = cast.play().until(Step.MASK)
    for name in cast.names:
        answer = play.ask(Step.MASK, name)
        if name != LIAR:
            play.take(Step.MASK, name, answer)
    play.close(Step.MASK)
    play.step(Step.AGREE)
    play.ask(Step.UNMASK, LIAR)
    with pytest.raises(InconsistentCohort):
        play.take(Step.UNMASK, LIAR, Answer(encoded(replace(released(play), seed=bytes(32)))))
