"""Lies of clients: the coordinator refuses each by name, adds nothing of it to the sum, and goes on without it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.core.secagg.lies import LIAR, altered, assert_not_taken, bare, readvertised, recommitted, reheaded
from tests.core.secagg.members import key_of, name_of
from tests.core.secagg.parties import Answer, Cast, Play, Step, assert_exact

from leptonic.errors import BadSignature, DecodeError, InconsistentCohort, LeptonicError
from leptonic.secagg.binding import hashed, signed
from leptonic.secagg.encoding import decoded, encoded
from leptonic.secagg.long_digest import long_digest
from leptonic.secagg.messages import (
    Advertisement,
    Boxes,
    MaskedHeader,
    SealedBox,
    Share,
    SignedAdvertisement,
    SignedHeader,
)

OTHER = name_of(2)
Lies = dict[str, tuple[Callable[[Play], Answer], type[LeptonicError]]]


def advertisement(play: Play, name: bytes = LIAR, **changes: Any) -> Answer:
    return Answer(encoded(readvertised(play, name, **changes)))


KEYS: Lies = {
    "another's advertisement": (lambda play: play.answers[Step.ADVERTISE][OTHER], InconsistentCohort),
    "another session's": (lambda play: advertisement(play, opening=bytes(32)), InconsistentCohort),
    "another's name under its own signature": (
        lambda play: advertisement(play, client=OTHER, signer=key_of(LIAR)),
        InconsistentCohort,
    ),
    "a signature by another": (lambda play: advertisement(play, signer=key_of(OTHER)), BadSignature),
    "no signature": (
        lambda play: Answer(encoded(replace(readvertised(play, LIAR), signature=bytes(64)))),
        BadSignature,
    ),
    "a key above the field": (lambda play: advertisement(play, channel=b"\xff" * 32), InconsistentCohort),
    "a mask key above the field": (lambda play: advertisement(play, masks=b"\xff" * 32), InconsistentCohort),
    "a key of small order": (lambda play: advertisement(play, channel=bytes(32)), InconsistentCohort),
    "a mask key of small order": (lambda play: advertisement(play, masks=b"\1" + bytes(31)), InconsistentCohort),
    "one key twice": (
        lambda play: advertisement(play, masks=readvertised(play, LIAR).advertisement.channel),
        InconsistentCohort,
    ),
}


@pytest.mark.parametrize("kind", KEYS)
def test_keys_are_not_taken_with(kind: str) -> None:
    lie, error = KEYS[kind]
    assert_not_taken(Step.ADVERTISE, lie, error)


@pytest.mark.parametrize("which", ["channel", "masks"])
def test_a_key_that_somebody_else_has_advertised_is_not_taken(which: str) -> None:
    cast = Cast(5)
    play = cast.play()
    for name in cast.names:
        play.ask(Step.ADVERTISE, name)
    play.take(Step.ADVERTISE, OTHER, play.answers[Step.ADVERTISE][OTHER])
    theirs = readvertised(play, OTHER).advertisement
    for stolen in (theirs.channel, theirs.masks):
        with pytest.raises(InconsistentCohort):
            play.take(Step.ADVERTISE, LIAR, advertisement(play, **{which: stolen}))
    play.take(Step.ADVERTISE, LIAR, play.answers[Step.ADVERTISE][LIAR])


def test_keys_of_somebody_who_is_not_on_the_roster_are_not_taken() -> None:
    play = Cast(5).play().until(Step.SHARE)
    fresh = play.cast.play()
    theirs = Advertisement(hashed(fresh.opening), b"phantom", bytes(range(32)), bytes(range(1, 33)), bytes(32))
    content = encoded(SignedAdvertisement(theirs, signed(key_of(b"phantom"), theirs)))
    with pytest.raises(InconsistentCohort, match="roster"):
        fresh.take(Step.ADVERTISE, b"phantom", Answer(content))


def share(play: Play) -> Share:
    return decoded(Share, play.answers[Step.SHARE][LIAR].content)


def committed(play: Play, boxes: tuple[SealedBox, ...], **changes: Any) -> Answer:
    """A share of these boxes, to which the liar commits."""
    own = recommitted(play, LIAR, **{"boxes": hashed(Boxes(play.session, boxes)), **changes})
    return Answer(encoded(Share(own, boxes)))


SHARES: Lies = {
    "another's share": (lambda play: play.answers[Step.SHARE][OTHER], InconsistentCohort),
    "another session's": (lambda play: committed(play, share(play).boxes, session=bytes(32)), InconsistentCohort),
    "another's name": (
        lambda play: committed(play, share(play).boxes, client=OTHER, signer=key_of(LIAR)),
        InconsistentCohort,
    ),
    "a signature by another": (lambda play: committed(play, share(play).boxes, signer=key_of(OTHER)), BadSignature),
    "other boxes than it committed to": (
        lambda play: Answer(
            encoded(replace(share(play), boxes=(SealedBox(name_of(0), bytes(82)), *share(play).boxes[1:])))
        ),
        InconsistentCohort,
    ),
    "too few boxes": (lambda play: committed(play, share(play).boxes[1:]), InconsistentCohort),
    "no boxes": (lambda play: committed(play, ()), InconsistentCohort),
    "a box for itself": (
        lambda play: committed(play, (share(play).boxes[0], SealedBox(LIAR, bytes(82)), *share(play).boxes[1:])),
        InconsistentCohort,
    ),
    "a box for a stranger": (
        lambda play: committed(play, (*share(play).boxes, SealedBox(b"phantom", bytes(82)))),
        InconsistentCohort,
    ),
    "a box too long": (
        lambda play: Answer(
            bare(replace(share(play), boxes=(SealedBox(name_of(0), bytes(83)), *share(play).boxes[1:])))
        ),
        DecodeError,
    ),
}


@pytest.mark.parametrize("kind", SHARES)
def test_shares_are_not_taken_with(kind: str) -> None:
    lie, error = SHARES[kind]
    assert_not_taken(Step.SHARE, lie, error)


def masked(play: Play, vector: bytes | None = None, **changes: Any) -> Answer:
    """A header of the liar's with these changes, beside this vector or the true one."""
    true = play.answers[Step.MASK][LIAR].masked
    signer = changes.pop("signer", None)
    return Answer(encoded(reheaded(play, LIAR, signer=signer, **changes)), true if vector is None else vector)


def fitting(play: Play, vector: bytes) -> Answer:
    """A vector with a header that is made for it."""
    return masked(play, vector, length=len(vector), digest=hash_of(play, vector))


def hash_of(play: Play, vector: bytes) -> bytes:
    at = len(vector) - 8 * play.opening.settings.sums
    return long_digest(vector[:at], vector[at:])


def true(play: Play) -> bytes:
    return play.answers[Step.MASK][LIAR].masked


INPUTS: Lies = {
    "another's input": (lambda play: play.answers[Step.MASK][OTHER], InconsistentCohort),
    "another session's": (lambda play: masked(play, session=bytes(32)), InconsistentCohort),
    "another's name": (lambda play: masked(play, client=OTHER, signer=key_of(LIAR)), InconsistentCohort),
    "a signature by another": (lambda play: masked(play, signer=key_of(OTHER)), BadSignature),
    "another view": (lambda play: masked(play, view=bytes(32)), InconsistentCohort),
    "another hash": (lambda play: masked(play, digest=bytes(32)), DecodeError),
    "another length": (lambda play: masked(play, length=1), DecodeError),
    "an input altered after it was signed": (lambda play: masked(play, altered(true(play), 0)), DecodeError),
    "sums altered after they were signed": (lambda play: masked(play, altered(true(play))), DecodeError),
    "an input too long": (lambda play: fitting(play, true(play) + b"\0"), DecodeError),
    "an input too short": (lambda play: fitting(play, true(play)[:-1]), DecodeError),
    "no input": (lambda play: fitting(play, b""), DecodeError),
    "another's input under its own header": (
        lambda play: masked(play, play.answers[Step.MASK][OTHER].masked),
        DecodeError,
    ),
}


@pytest.mark.parametrize("kind", INPUTS)
def test_nothing_is_added_of(kind: str) -> None:
    lie, error = INPUTS[kind]
    assert_not_taken(Step.MASK, lie, error)


def test_an_input_whose_last_bits_are_not_zero_is_not_added() -> None:
    cast = Cast(5, bits=20, words=3, sums=0)
    play = cast.play().until(Step.MASK)
    for name in cast.names:
        play.ask(Step.MASK, name)
    vector = true(play)[:-1] + bytes([true(play)[-1] | 0x80])
    before = play.summing._words.copy()
    with pytest.raises(DecodeError, match="bit after the last"):
        play.take(Step.MASK, LIAR, fitting(play, vector))
    assert np.array_equal(play.summing._words, before)


def test_an_input_that_comes_after_the_sum_is_closed_is_not_added() -> None:
    cast = Cast(5)
    play = cast.play().until(Step.MASK)
    for name in cast.names:
        answer = play.ask(Step.MASK, name)
        if name != LIAR:
            play.take(Step.MASK, name, answer)
    play.close(Step.MASK)
    with pytest.raises(LeptonicError):
        play.take(Step.MASK, LIAR, play.answers[Step.MASK][LIAR])
    play.step(Step.AGREE)
    play.step(Step.UNMASK)
    assert_exact(cast, play.result, set(cast.names) - {LIAR})


def test_headers_hold_nothing_of_the_input_but_its_hash() -> None:
    play = Cast(3).play().until(Step.AGREE)
    header = decoded(SignedHeader, play.answers[Step.MASK][LIAR].content).header
    assert header == MaskedHeader(play.session, LIAR, play.summing.view, len(true(play)), hash_of(play, true(play)))
