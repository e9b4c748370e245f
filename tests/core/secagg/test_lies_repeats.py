"""The same asked for twice: only after a quorum has given the first session up, and then it is never opened."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.core.secagg.lies import assert_refused, bare, quorum
from tests.core.secagg.members import key_of, name_of
from tests.core.secagg.parties import Cast, Play, Step, assert_exact

from leptonic.errors import BadSignature, BelowThreshold, DecodeError, LeptonicError, ReplayedSession
from leptonic.secagg.binding import hashed, signed
from leptonic.secagg.encoding import decoded, encoded
from leptonic.secagg.journal import MemoryJournal
from leptonic.secagg.messages import Abort, AbortCertificate, Named, Proofs, Signed, Train

ME, OTHER, COLLUDER, UNINVITED = (name_of(number) for number in (1, 2, 4, 5))


def answered(cast: Cast, proofs: bytes = b"") -> Play:
    """A session in which five of six have sent a masked input, and that has not come to its sum."""
    return cast.play(proofs=proofs).until(Step.AGREE, {UNINVITED: Step.ADVERTISE})


def certificate(play: Play, signatures: dict[bytes, bytes]) -> AbortCertificate:
    return AbortCertificate(play.sharing.cohort, tuple(Signed(name, signatures[name]) for name in sorted(signatures)))


def given_up(play: Play, count: int = 5) -> dict[bytes, bytes]:
    """What the first ``count`` say of the session."""
    return {each.client: each.signature for each in play.give_up(play.cast.names[:count]).signatures}


def proof(*certificates: AbortCertificate) -> bytes:
    return encoded(Proofs(tuple(sorted(certificates, key=lambda each: hashed(each.cohort)))))


def lie_of_two(play: Play, liar: bytes, word: bytes) -> bytes:
    """Two have given the session up, which is one too few; of a third this is said to be the word."""
    return proof(certificate(play, {**given_up(play, 2), liar: word}))


def with_phantom(play: Play) -> AbortCertificate:
    """A cohort that one more belongs to."""
    whole = certificate(play, {**given_up(play, 2), UNINVITED: signed(key_of(UNINVITED), Abort(play.session))})
    members = (*whole.cohort.members, Named(UNINVITED, bytes(32)))
    return replace(whole, cohort=replace(whole.cohort, members=members))


def of_another_session(play: Play) -> AbortCertificate:
    other = play.cast.play(b"something else").until(Step.MASK)
    return other.give_up(play.cast.names)


def disordered(play: Play, change: Callable[[tuple[Signed, ...]], tuple[Signed, ...]]) -> bytes:
    whole = certificate(play, given_up(play))
    return bare(Proofs((replace(whole, signatures=change(whole.signatures)),)))


LIES: dict[str, tuple[Callable[[Play], bytes], type[LeptonicError]]] = {
    "nothing": (lambda play: b"", ReplayedSession),
    "no proofs": (lambda play: proof(), ReplayedSession),
    "that another session is given up": (lambda play: proof(of_another_session(play)), ReplayedSession),
    "too few words": (lambda play: proof(play.give_up(play.cast.names[:2])), ReplayedSession),
    "no words": (lambda play: proof(play.give_up([])), ReplayedSession),
    "too few words, and that another session is given up": (
        lambda play: proof(play.give_up(play.cast.names[:2]), of_another_session(play)),
        ReplayedSession,
    ),
    "the words of too few and of a stranger to the session": (
        lambda play: lie_of_two(play, UNINVITED, signed(key_of(UNINVITED), Abort(play.session))),
        ReplayedSession,
    ),
    "a cohort with one more in it": (lambda play: proof(with_phantom(play)), ReplayedSession),
    "one word as often as needed": (lambda play: disordered(play, lambda words: (words[0],) * 5), DecodeError),
    "words in another order": (lambda play: disordered(play, lambda words: words[::-1]), DecodeError),
    "one proof twice": (lambda play: bare(Proofs((certificate(play, given_up(play)),) * 2)), DecodeError),
    "an empty word": (lambda play: lie_of_two(play, name_of(3), bytes(64)), BadSignature),
    "a word in another's name": (
        lambda play: lie_of_two(play, name_of(3), signed(key_of(COLLUDER), Abort(play.session))),
        BadSignature,
    ),
    "a word on another session": (
        lambda play: lie_of_two(play, COLLUDER, signed(key_of(COLLUDER), Abort(bytes(32)))),
        BadSignature,
    ),
    "a signed set": (
        lambda play: lie_of_two(play, COLLUDER, signed(key_of(COLLUDER), play.agreeing.closed.agreement)),
        BadSignature,
    ),
    "a proof too short": (lambda play: proof(play.give_up(play.cast.names[:5]))[:-1], DecodeError),
    "a proof and a byte": (lambda play: proof(play.give_up(play.cast.names[:5])) + b"\0", DecodeError),
}


@pytest.mark.parametrize("kind", LIES)
def test_the_same_is_not_answered_again_upon(kind: str) -> None:
    lie, error = LIES[kind]
    cast = Cast(6)
    told = lie(answered(cast))
    play = cast.play().until(Step.MASK)
    honest = decoded(Train, play.message(Step.MASK, ME))
    play.proofs = b"what an honest coordinator has"
    assert_refused(play, Step.MASK, ME, encoded(replace(honest, proofs=told)), error)


@pytest.mark.parametrize("count", [4, 5])
def test_a_session_that_a_quorum_gave_up_is_repeated(count: int) -> None:
    cast = Cast(6)
    first = answered(cast)
    second = cast.play(proofs=proof(of_another_session(first), first.give_up(cast.names[:count])))
    assert_exact(cast, second.run(), cast.names)


def test_the_proof_for_one_repetition_is_none_for_the_next() -> None:
    cast = Cast(6)
    first = answered(cast)
    once = proof(first.give_up(cast.names[:5]))
    answered(cast, once)
    third = cast.play(proofs=once).until(Step.MASK)
    with pytest.raises(ReplayedSession):
        third.ask(Step.MASK, ME)


def test_what_was_answered_is_remembered_in_a_new_process_and_by_who_was_left_out() -> None:
    cast = Cast(6)
    first = cast.play().until(Step.MASK)
    for name in cast.names:
        first.ask(Step.MASK, name)  # and not one of them reaches the sum
    second = cast.play().until(Step.MASK)
    for name in cast.names:
        with pytest.raises(ReplayedSession):
            second.ask(Step.MASK, name)


def test_the_same_model_with_other_wishes_is_the_same_question() -> None:
    cast = Cast(6)
    answered(cast)
    second = cast.play(round=2, experiment=bytes(32)).until(Step.MASK)
    second.payload = bytes(32)
    with pytest.raises(ReplayedSession):
        second.train(ME)


def test_the_same_model_in_another_run_is_another_question() -> None:
    # An honest rerun from the same seed begins with the same model.
    cast = Cast(6)
    answered(cast)
    assert_exact(cast, cast.play(run=b"another run").run(), cast.names)


def test_who_has_not_answered_needs_no_proof() -> None:
    cast = Cast(6)
    cast.play().until(Step.MASK)
    assert_exact(cast, cast.play().run(), cast.names)
    assert_exact(cast, cast.play(b"the next model").run(), cast.names)


def test_a_journal_takes_one_end_of_a_session_and_one_answer_at_a_time() -> None:
    journal = MemoryJournal()
    for session in (b"signed", b"given up"):
        journal.enter(session, 3, run=b"run", number=1)
    journal.agree(b"signed", b"survivors")
    journal.abort(b"given up")
    journal.abort(b"given up")
    with pytest.raises(ReplayedSession):
        journal.abort(b"signed")
    for session in (b"signed", b"given up"):
        with pytest.raises(ReplayedSession):
            journal.agree(session, b"others")
    journal.answer(b"query", b"signed", after=None, header=b"header")
    for after in (None, b"given up"):
        with pytest.raises(ReplayedSession):
            journal.answer(b"query", b"given up", after=after, header=b"another")
    assert journal.answered(b"query") == (b"signed", 3)


@pytest.mark.parametrize("first_to_answer", [0, 1])
def test_two_sessions_at_a_time_do_not_both_answer_the_same(first_to_answer: int) -> None:
    # Both are taken up before either is answered: two sums of one model could differ by one client.
    cast = Cast(6)
    plays = [cast.play().until(Step.MASK), cast.play().until(Step.MASK)]
    for play in plays:
        play.train(ME)
    plays[first_to_answer].mask(ME)
    before = list(cast.clients[ME].journal.notes)
    with pytest.raises(ReplayedSession):
        plays[1 - first_to_answer].mask(ME)
    assert cast.clients[ME].journal.notes == before
    assert ME not in plays[1 - first_to_answer].answers[Step.MASK]


def test_one_proof_does_not_repeat_a_session_twice_at_a_time() -> None:
    cast = Cast(6)
    once = proof(answered(cast).give_up(cast.names[:5]))
    plays = [cast.play(proofs=once).until(Step.MASK) for _ in range(2)]
    for play in plays:
        play.train(ME)
    plays[1].mask(ME)
    with pytest.raises(ReplayedSession):
        plays[0].mask(ME)


def test_work_for_a_session_that_was_given_up_does_not_leave_after_another_has_answered() -> None:
    # Else the journal would name the session that was given up, whose proof then repeats the other one.
    cast = Cast(6)
    stale = cast.play().until(Step.MASK)
    stale.train(ME)
    once = proof(stale.give_up(cast.names))
    cast.play().run()
    with pytest.raises(ReplayedSession):
        stale.mask(ME)
    third = cast.play(proofs=once).until(Step.MASK)
    with pytest.raises(ReplayedSession):
        third.ask(Step.MASK, ME)


def test_a_session_is_not_given_up_by_who_has_signed_survivors_nor_by_a_stranger_to_it() -> None:
    cast = Cast(6)
    play = answered(cast)
    signature = play.ask(Step.AGREE, ME)
    notes = list(cast.clients[ME].journal.notes)
    for session in (play.session, bytes(32)):
        with pytest.raises(ReplayedSession):
            cast.clients[ME].abort(session)
    with pytest.raises(ReplayedSession):
        cast.clients[UNINVITED].abort(play.session)
    assert cast.clients[ME].journal.notes == notes
    assert play.ask(Step.AGREE, ME) == signature


def test_survivors_are_not_signed_by_who_has_given_the_session_up() -> None:
    cast = Cast(6)
    play = answered(cast)
    word = cast.clients[ME].abort(play.session)
    notes = list(cast.clients[ME].journal.notes)
    with pytest.raises(ReplayedSession):
        play.ask(Step.AGREE, ME)
    assert cast.clients[ME].journal.notes == notes
    assert cast.clients[ME].abort(play.session) == word


def happens(ask: Callable[..., object], *arguments: object) -> bool:
    try:
        ask(*arguments)
    except (BelowThreshold, ReplayedSession):
        return False
    return True


@pytest.mark.parametrize(("size", "colluders"), [(4, 1), (5, 1), (7, 2)])
def test_no_session_is_both_opened_and_repeated_whatever_the_colluders_sign(size: int, colluders: int) -> None:
    cast, ends = Cast(size, colluders=colluders), set()
    honest, colluding = cast.names[:-colluders], cast.names[-colluders:]
    for signing in range(1, len(honest)):
        model = b"model %d" % signing
        play = cast.play(model).until(Step.AGREE)
        sets = {name: play.ask(Step.AGREE, name).content[-64:] for name in (*honest[:signing], *colluding)}
        words = {name: cast.clients[name].abort(play.session)[-64:] for name in honest[signing:]}
        words |= {name: signed(key_of(name), Abort(play.session)) for name in colluding}
        again = cast.play(model, proof(certificate(play, words))).until(Step.MASK)
        opened = happens(play.ask, Step.UNMASK, honest[0], quorum(play.agreeing.closed.agreement, sets))
        ends.add((opened, happens(again.train, honest[0])))
    assert (True, False) in ends
    assert (True, True) not in ends
