"""What is used up is overwritten, what has failed keeps nothing, and no state is left twice."""

from typing import Any

import numpy as np
import pytest
from tests.core.secagg.members import bytes_in, name_of
from tests.core.secagg.parties import FIRST_RECORD, Cast, Step

from leptonic.errors import DecodeError, ProtocolError, ReplayedSession
from leptonic.secagg.encoding import decoded
from leptonic.secagg.expansion import Here
from leptonic.secagg.messages import SharesReleased

ME, GONE = name_of(1), name_of(3)


def zero(secret: Any) -> bool:
    held = list(secret.values()) if isinstance(secret, dict) else [secret]
    return bool(held) and all(isinstance(each, bytearray) and len(each) == 32 and not any(each) for each in held)


def test_what_is_used_up_is_overwritten() -> None:
    play = Cast(4).play().until(Step.SHARE)
    opened = play.sessions[ME].state
    assert not zero(opened._channel)
    play.step(Step.SHARE)
    shared = play.sessions[ME].state
    assert zero(opened._channel)
    assert not any(zero(secret) for secret in (shared._channels, shared._pairs, shared._seed))
    play.train(ME)
    ready = play.sessions[ME].state
    assert zero(shared._channels)
    words, sums = play.cast.clients[ME].update.encoded()
    masked = play.sessions[ME].mask(words, sums, Here())
    assert zero(opened._masks)
    assert zero(ready._pairs)
    assert not np.array_equal(words, play.cast.clients[ME].update.encoded()[0])
    assert not np.array_equal(sums, play.cast.clients[ME].update.encoded()[1])
    assert not zero(masked._seed)


def test_a_seed_is_overwritten_once_it_is_released() -> None:
    play = Cast(4).play().until(Step.UNMASK)
    agreed = play.sessions[ME].state
    play.ask(Step.UNMASK, ME)
    assert zero(agreed._seed)


@pytest.mark.parametrize("step", list(Step)[1:])
def test_a_session_that_has_failed_keeps_nothing(step: Step) -> None:
    play = Cast(5).play().until(step)
    with pytest.raises(ProtocolError):
        play.ask(step, ME, b"")
    assert play.sessions[ME].state is None


@pytest.mark.parametrize(
    ("words", "sums"),
    [
        (np.zeros(20, np.uint32), np.zeros(2, np.uint64)),
        (np.zeros(21, np.uint32), np.zeros(3, np.uint64)),
        (np.zeros(21, np.int64), np.zeros(2, np.uint64)),
        (np.zeros(21, np.uint32), np.zeros(2, np.float64)),
    ],
)
def test_an_update_of_another_layout_does_not_leave(words: Any, sums: Any) -> None:
    play = Cast(4).play().until(Step.MASK)
    play.train(ME)
    notes = list(play.cast.clients[ME].journal.notes)
    with pytest.raises(DecodeError):
        play.sessions[ME].mask(words, sums, Here())
    assert play.sessions[ME].state is None
    assert play.cast.clients[ME].journal.notes == notes


def test_a_coordinator_keeps_no_share_of_an_opened_sum() -> None:
    play = Cast(4).play()
    play.run({GONE: Step.MASK})
    released = decoded(SharesReleased, play.answers[Step.UNMASK][ME].content)
    secrets = {released.seed, *(each.share for each in released.shares)}
    held = {each for value in vars(play.unmasking).values() for each in bytes_in(value)}
    assert not held & secrets


def test_a_clients_state_is_left_once() -> None:
    play = Cast(4).play()
    leaving = {
        Step.SHARE: lambda state, content: state.introduced(content),
        Step.AGREE: lambda state, content: state.agree(content),
        Step.UNMASK: lambda state, content: state.unmask(content),
    }
    for step in Step:
        state = play.sessions[ME].state if play.sessions else None
        play.step(step)
        if step in leaving:
            with pytest.raises(ReplayedSession):
                leaving[step](state, play.message(step, ME))


def test_a_clients_work_is_taken_up_once_and_done_once() -> None:
    play = Cast(4).play().until(Step.MASK)
    shared = play.sessions[ME].state
    content = play.message(Step.MASK, ME)
    ready = shared.train(content, model=play.model, payload=play.payload)
    with pytest.raises(ReplayedSession):
        shared.train(content, model=play.model, payload=play.payload)
    ready.mask(*play.cast.clients[ME].update.encoded(), Here())
    with pytest.raises(ReplayedSession):
        ready.mask(*play.cast.clients[ME].update.encoded(), Here())


@pytest.mark.parametrize("step", Step)
def test_a_coordinators_state_is_left_once_and_takes_nothing_more(step: Step) -> None:
    play = Cast(4).play().until(step)
    play.step(step)
    with pytest.raises(ReplayedSession):
        play.take(step, ME, play.answers[step][ME])
    with pytest.raises(ReplayedSession):
        play.close(step)


def test_a_sum_is_opened_in_place_and_once() -> None:
    play = Cast(4).play()
    opened = play.run()
    before = opened.words.copy()
    with pytest.raises(ReplayedSession):
        play.unmasking.open(Here(), FIRST_RECORD)
    assert np.array_equal(opened.words, before)
