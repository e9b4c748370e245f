"""Messages that are cut, continued or altered: not one byte of them can be another."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.core.secagg.lies import assert_refused, headers
from tests.core.secagg.parties import Answer, Cast, Play, Step, assert_exact

from leptonic.errors import DecodeError, LeptonicError, ReplayedSession
from leptonic.secagg.client.session import ClientSession
from leptonic.secagg.encoding import decoded
from leptonic.secagg.messages import SignedHeader, Train

TO_CLIENTS = [Step.SHARE, Step.MASK, Step.AGREE, Step.UNMASK]


def clients(step: Step) -> Iterator[tuple[Play, bytes]]:
    """A client that is about to be told something, as often as one is needed."""
    cast, number = Cast(5), 0
    while True:
        number += 1
        play = cast.play(b"model %d" % number).until(step)
        for name in cast.names:
            yield play, name


def cuts(content: bytes) -> list[int]:
    return sorted({0, 1, 2, 3, 4, len(content) - 1, *range(0, len(content), len(content) // 40 + 1)})


def flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :]


@pytest.mark.parametrize("step", TO_CLIENTS)
def test_a_message_with_more_behind_it_is_refused(step: Step) -> None:
    for more, (play, name) in zip((b"\0", b"\xff", bytes(100)), clients(step), strict=False):
        assert_refused(play, step, name, play.message(step, name) + more, DecodeError)


@pytest.mark.parametrize("step", TO_CLIENTS)
def test_a_message_that_is_cut_short_is_refused(step: Step) -> None:
    length = len(next(clients(step))[0].message(step, b"client-0000"))
    for at, (play, name) in zip(cuts(bytes(length)), clients(step), strict=False):
        assert_refused(play, step, name, play.message(step, name)[:at], DecodeError)


@pytest.mark.parametrize("content", [b"", b"\0", b"\xff" * 4, b"\xff" * 1000, bytes(1000)])
@pytest.mark.parametrize("step", TO_CLIENTS)
def test_bytes_that_are_no_message_are_refused(step: Step, content: bytes) -> None:
    play, name = next(clients(step))
    assert_refused(play, step, name, content, DecodeError)


@pytest.mark.parametrize("step", [Step.SHARE, Step.AGREE, Step.UNMASK])
def test_a_message_with_one_bit_altered_is_refused(step: Step) -> None:
    length = len(next(clients(step))[0].message(step, b"client-0000"))
    for at, (play, name) in zip(range(0, length, length // 150 + 1), clients(step), strict=False):
        client, lie = play.cast.clients[name], flipped(play.message(step, name), at)
        before = list(client.journal.notes)
        with pytest.raises(LeptonicError):
            play.ask(step, name, lie)
        assert client.journal.notes == before
        assert name not in play.answers[step]


def test_work_with_one_bit_altered_is_refused_or_done_for_a_view_that_no_other_has() -> None:
    length = len(next(clients(Step.MASK))[0].message(Step.MASK, b"client-0000"))
    ends = set()
    for at, (play, name) in zip(range(0, length, length // 200 + 1), clients(Step.MASK), strict=False):
        lie = flipped(play.message(Step.MASK, name), at)
        try:
            answer = play.ask(Step.MASK, name, lie)
        except LeptonicError:
            ends.add("refused")
            continue
        # One box may be broken, as many as may collude; the last record is part of the view.
        honest, told = decoded(Train, play.message(Step.MASK, name)), decoded(Train, lie)
        assert replace(told, boxes=honest.boxes, record=honest.record) == honest
        same = decoded(SignedHeader, answer.content).header.view == play.summing.view
        assert same == (told.record == honest.record)
        ends.add("same view" if same else "another view")
    assert ends == {"refused", "same view", "another view"}


def test_an_opening_that_is_no_message_is_refused() -> None:
    cast = Cast(5)
    client, honest = cast.clients[b"client-0001"], cast.play().inviting.message
    for at in range(len(honest)):
        with pytest.raises(DecodeError):
            ClientSession(client.standing, honest[:at])
    with pytest.raises(DecodeError):
        ClientSession(client.standing, honest + b"\0")
    assert client.journal.notes == []


def test_every_step_that_is_asked_again_is_answered_with_the_same_bytes_and_no_other_is_taken() -> None:
    cast = Cast(5)
    name, play = cast.names[1], cast.play()
    for step in Step:
        play.step(step)
        if step is Step.MASK:  # of which the next test tells
            continue
        honest, answer = play.message(step, name), play.answers[step][name]
        assert play.ask(step, name, honest) == answer
        for lie in (flipped(honest, len(honest) - 1), b""):
            with pytest.raises(ReplayedSession):
                play.ask(step, name, lie)
        assert play.ask(step, name, honest) == answer


def test_work_that_was_taken_up_is_not_taken_up_otherwise_and_done_once() -> None:
    play, name = next(clients(Step.MASK))
    play.train(name)
    play.train(name)
    for content, payload in ((flipped(play.message(Step.MASK, name), 3), None), (None, bytes(32))):
        with pytest.raises(ReplayedSession):
            play.train(name, content, payload=payload)
    sent = play.mask(name)
    with pytest.raises(ReplayedSession):
        play.mask(name)
    assert play.answers[Step.MASK][name] == sent
    assert headers(play).keys() == {name}


@pytest.mark.parametrize("step", Step)
def test_answers_that_are_cut_continued_or_altered_are_not_taken(step: Step) -> None:
    cast = Cast(4)
    play, liar = cast.play().until(step), cast.names[2]
    for name in cast.names:
        answer = play.ask(step, name)
        if name == liar:
            lies = [answer.content + b"\0", *(answer.content[:at] for at in range(len(answer.content)))]
            for lie in lies:
                with pytest.raises(DecodeError):
                    play.take(step, name, Answer(lie, answer.masked))
            # What is released is not signed: it is checked when the sum is opened.
            for at in range(len(answer.content)) if step < Step.UNMASK else ():
                with pytest.raises(LeptonicError):
                    play.take(step, name, Answer(flipped(answer.content, at), answer.masked))
            for at in range(len(answer.masked)):
                with pytest.raises(DecodeError):
                    play.take(step, name, Answer(answer.content, flipped(answer.masked, at)))
                with pytest.raises(DecodeError):
                    play.take(step, name, Answer(answer.content, answer.masked[:at]))
        play.take(step, name, answer)
    play.close(step)
    for later in Step:
        if later > step:
            play.step(later)
    assert_exact(cast, play.result, cast.names)
    assert play.result.suspects == frozenset()
