"""Lies about who has survived and who has agreed: a client signs one true set, and opens masks for a quorum alone."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.core.secagg.lies import agreement, assert_refused, bare, headers, quorum, reheaded, survivors
from tests.core.secagg.members import key_of, name_of
from tests.core.secagg.parties import Cast, Play, Step

from leptonic.errors import (
    BadSignature,
    BelowThreshold,
    DecodeError,
    InconsistentCohort,
    LeptonicError,
    PolicyRefused,
    ReplayedSession,
)
from leptonic.secagg.binding import signed
from leptonic.secagg.encoding import decoded
from leptonic.secagg.messages import Abort, Consistency, Named, SharesReleased, Signed, SignedHeader, Unmask
from leptonic.secagg.standing import Policy

ME, OTHER, COLLUDER, LATE, UNSHARED, UNINVITED = (name_of(number) for number in (1, 2, 4, 5, 6, 7))
Lies = dict[str, tuple[Callable[[Play], bytes], type[LeptonicError]]]


def five_of_eight(**options: Any) -> Play:
    """One never advertised, one never shared, one's masked input came too late; five are needed, and survive."""
    play = Cast(8, **options).play().until(Step.MASK, {UNINVITED: Step.ADVERTISE, UNSHARED: Step.SHARE})
    for name in play.present:
        answer = play.ask(Step.MASK, name)
        if name != LATE:
            play.take(Step.MASK, name, answer)
    play.close(Step.MASK)
    return play


def counted(play: Play) -> dict[bytes, SignedHeader]:
    return {name: each for name, each in headers(play).items() if name != LATE}


def with_header(play: Play, header: SignedHeader) -> bytes:
    return survivors(play, {**counted(play), header.client: header})


def unsigned(play: Play, name: bytes, **changes: Any) -> bytes:
    return with_header(play, replace(reheaded(play, name, **changes), signature=counted(play)[name].signature))


def of_the_unshared(play: Play) -> SignedHeader:
    """A header in the name of somebody who never shared, and may have helped to make it up."""
    header = replace(counted(play)[ME].header, client=UNSHARED)
    return SignedHeader(header, signed(key_of(UNSHARED), header))


def consistency(play: Play) -> Consistency:
    return decoded(Consistency, play.message(Step.AGREE, ME))


def disordered(play: Play, part: str, change: Callable[[tuple[Any, ...]], tuple[Any, ...]]) -> bytes:
    """The honest message with a list that no encoder makes."""
    honest = consistency(play)
    if part == "headers":
        return bare(replace(honest, headers=change(honest.headers)))
    return bare(replace(honest, survivors=replace(honest.survivors, survivors=change(honest.survivors.survivors))))


SETS: Lies = {
    "survivors of another session": (
        lambda play: survivors(play, counted(play), session=bytes(32)),
        InconsistentCohort,
    ),
    "too few survivors": (
        lambda play: survivors(play, {name: each for name, each in counted(play).items() if name != OTHER}),
        BelowThreshold,
    ),
    "a survivor who is not of the cohort": (
        lambda play: survivors(play, counted(play), listed=[Named(UNINVITED, bytes(32))]),
        InconsistentCohort,
    ),
    "a survivor who is not on the roster": (
        lambda play: survivors(play, counted(play), listed=[Named(b"phantom", bytes(32))]),
        InconsistentCohort,
    ),
    "a survivor who never shared": (lambda play: with_header(play, of_the_unshared(play)), InconsistentCohort),
    "a phantom in my place": (
        lambda play: survivors(
            play,
            {name: each for name, each in counted(play).items() if name != ME} | {UNSHARED: of_the_unshared(play)},
        ),
        InconsistentCohort,
    ),
    "another input of mine": (lambda play: unsigned(play, ME, digest=bytes(32)), InconsistentCohort),
    "another input of mine on the list": (
        lambda play: survivors(
            play,
            {name: each for name, each in counted(play).items() if name != ME},
            listed=[Named(ME, bytes(32))],
            brought=counted(play),
        ),
        InconsistentCohort,
    ),
    "another's input under the old signature": (lambda play: unsigned(play, OTHER, digest=bytes(32)), BadSignature),
    "another's length under the old signature": (lambda play: unsigned(play, OTHER, length=1), BadSignature),
    "another's input signed by a colluder": (
        lambda play: with_header(play, reheaded(play, OTHER, digest=bytes(32), signer=key_of(COLLUDER))),
        BadSignature,
    ),
    "no signature of a header": (
        lambda play: with_header(play, replace(counted(play)[OTHER], signature=bytes(64))),
        BadSignature,
    ),
    "another view": (lambda play: with_header(play, reheaded(play, COLLUDER, view=bytes(32))), InconsistentCohort),
    "a header of another session": (
        lambda play: with_header(play, reheaded(play, COLLUDER, session=bytes(32))),
        InconsistentCohort,
    ),
    "a header that is not the one on the list": (
        lambda play: survivors(
            play,
            counted(play),
            brought={**counted(play), COLLUDER: reheaded(play, COLLUDER, digest=bytes(32))},
        ),
        InconsistentCohort,
    ),
    "a header that is not shown": (
        lambda play: survivors(
            play,
            counted(play),
            brought={name: each for name, each in counted(play).items() if name != OTHER},
        ),
        InconsistentCohort,
    ),
    "a header of nobody on the list": (
        lambda play: survivors(play, counted(play), brought=headers(play)),
        InconsistentCohort,
    ),
    "a survivor twice": (lambda play: disordered(play, "survivors", lambda each: (each[0], *each)), DecodeError),
    "survivors in another order": (lambda play: disordered(play, "survivors", lambda each: each[::-1]), DecodeError),
    "a header twice": (lambda play: disordered(play, "headers", lambda each: (each[0], *each)), DecodeError),
    "headers in another order": (lambda play: disordered(play, "headers", lambda each: each[::-1]), DecodeError),
}


@pytest.mark.parametrize("kind", SETS)
def test_no_set_is_signed_after_the_lie_of(kind: str) -> None:
    lie, error = SETS[kind]
    play = five_of_eight()
    assert_refused(play, Step.AGREE, ME, lie(play), error)


@pytest.mark.parametrize(
    "policy", [Policy(colluders=1, survivors=6), Policy(colluders=1, peers=frozenset([OTHER, LATE]))]
)
def test_a_set_that_the_owner_would_not_have_is_not_signed(policy: Policy) -> None:
    play = five_of_eight(policy=policy)
    before = list(play.cast.clients[ME].journal.notes)
    with pytest.raises(PolicyRefused):
        play.ask(Step.AGREE, ME)
    assert play.cast.clients[ME].journal.notes == before


def signatures(play: Play) -> dict[bytes, bytes]:
    said = {name: decoded(Signed, answer.content) for name, answer in play.answers[Step.AGREE].items()}
    return {name: each.signature for name, each in said.items()}


def gathered(play: Play, changes: dict[bytes, bytes | None], **of_the_set: Any) -> bytes:
    """The true signatures, but for those that are replaced, added or (None) left out."""
    collected = {**signatures(play), **changes}
    statement = replace(play.agreeing.closed.agreement, **of_the_set)
    return quorum(statement, {name: each for name, each in collected.items() if each is not None})


def larger_set(play: Play) -> Any:
    """Another set that would be as good: the late one is in it too."""
    return agreement(survivors(play, headers(play)), play.summing.view)


def unmask(play: Play) -> Unmask:
    return decoded(Unmask, play.message(Step.UNMASK, ME))


QUORUMS: Lies = {
    "signatures of another session": (lambda play: gathered(play, {}, session=bytes(32)), InconsistentCohort),
    "too few signatures": (lambda play: gathered(play, {OTHER: None, LATE: None}), BelowThreshold),
    "no signatures": (lambda play: gathered(play, dict.fromkeys(signatures(play))), BelowThreshold),
    "a signature of somebody who is not of the cohort": (
        lambda play: gathered(
            play,
            {OTHER: None, UNINVITED: signed(key_of(UNINVITED), play.agreeing.closed.agreement)},
        ),
        InconsistentCohort,
    ),
    "a signature of somebody who is not on the roster": (
        lambda play: gathered(play, {OTHER: None, b"phantom": bytes(64)}),
        InconsistentCohort,
    ),
    "an empty signature": (lambda play: gathered(play, {OTHER: bytes(64)}), BadSignature),
    "a signature by a colluder in another's name": (
        lambda play: gathered(play, {OTHER: signatures(play)[COLLUDER]}),
        BadSignature,
    ),
    "a signature of another set": (
        lambda play: gathered(play, {COLLUDER: signed(key_of(COLLUDER), larger_set(play))}),
        BadSignature,
    ),
    "a signature of another view": (
        lambda play: gathered(
            play, {COLLUDER: signed(key_of(COLLUDER), replace(play.agreeing.closed.agreement, view=bytes(32)))}
        ),
        BadSignature,
    ),
    "a word that the session is given up": (
        lambda play: gathered(play, {COLLUDER: signed(key_of(COLLUDER), Abort(play.session))}),
        BadSignature,
    ),
    "a signature of the list itself": (
        lambda play: gathered(play, {COLLUDER: signed(key_of(COLLUDER), consistency(play).survivors)}),
        BadSignature,
    ),
    "a signature twice": (
        lambda play: bare(replace(unmask(play), signatures=(unmask(play).signatures[0],) * 5)),
        DecodeError,
    ),
    "signatures in another order": (
        lambda play: bare(replace(unmask(play), signatures=unmask(play).signatures[::-1])),
        DecodeError,
    ),
}


@pytest.mark.parametrize("kind", QUORUMS)
def test_nothing_is_released_after_the_lie_of(kind: str) -> None:
    lie, error = QUORUMS[kind]
    play = five_of_eight()
    play.step(Step.AGREE)
    assert_refused(play, Step.UNMASK, ME, lie(play), error)


def test_of_each_neighbour_one_share_is_released_and_nobody_is_both_survivor_and_dropped() -> None:
    play = five_of_eight()
    play.step(Step.AGREE)
    for name in play.present:
        held, gone = dict(play.sessions[name].state.shares), {LATE}
        released = decoded(SharesReleased, play.ask(Step.UNMASK, name).content)
        assert {each.client for each in released.shares} == set(headers(play)) - {name}
        for each in released.shares:
            of_key, of_seed = held[each.client]
            assert each.share == (of_key if each.client in gone else of_seed)
        assert len(released.seed) == (0 if name == LATE else 32)


def test_signatures_of_members_that_dropped_out_count() -> None:
    # Everybody of the cohort may sign, also who never shared.
    play = five_of_eight()
    play.step(Step.AGREE)
    theirs = signed(key_of(UNSHARED), play.agreeing.closed.agreement)
    assert play.ask(Step.UNMASK, ME, gathered(play, {OTHER: None, LATE: None, UNSHARED: theirs})).content


def test_other_signatures_of_the_same_set_bring_nothing_once_shares_were_released() -> None:
    play = five_of_eight()
    play.step(Step.AGREE)
    released = play.ask(Step.UNMASK, ME)
    with pytest.raises(ReplayedSession):
        play.ask(Step.UNMASK, ME, gathered(play, {OTHER: None}))
    assert play.ask(Step.UNMASK, ME) == released
