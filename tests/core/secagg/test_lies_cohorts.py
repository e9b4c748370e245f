"""Lies about who takes part: phantoms, cohorts too small, cohorts that are not the same for all."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest
from tests.core.secagg.lies import advertised, assert_refused, bare, introduction
from tests.core.secagg.members import key_of, name_of
from tests.core.secagg.parties import FIRST_RECORD, Cast, Play, Step

from leptonic.errors import (
    BadSignature,
    BelowThreshold,
    DecodeError,
    InconsistentCohort,
    LeptonicError,
    PolicyRefused,
)
from leptonic.secagg.binding import hashed, signed
from leptonic.secagg.encoding import decoded, encoded
from leptonic.secagg.messages import (
    Advertisement,
    Commitment,
    Introduction,
    Named,
    SessionSettings,
    Share,
    SignedAdvertisement,
    SignedCommitment,
    Train,
)
from leptonic.secagg.sealing import public_of
from leptonic.secagg.standing import Policy

ME, OTHER, COLLUDER = name_of(1), name_of(2), name_of(4)
STRANGER = key_of(b"somebody else")


def without(play: Play, *names: bytes) -> bytes:
    return introduction(play, {name: each for name, each in advertised(play).items() if name not in names})


def invented(play: Play, name: bytes) -> SignedAdvertisement:
    """An advertisement of somebody who never made one, signed by nobody who could."""
    advertisement = Advertisement(hashed(play.opening), name, public_of(b"1" * 32), public_of(b"2" * 32), bytes(32))
    return SignedAdvertisement(advertisement, signed(STRANGER, advertisement))


def reordered(play: Play, part: str, change: Callable[[tuple[Any, ...]], tuple[Any, ...]]) -> bytes:
    """The honest introduction with a list that no encoder makes."""
    honest = decoded(Introduction, play.message(Step.SHARE, ME))
    if part == "advertisements":
        return bare(replace(honest, advertisements=change(honest.advertisements)))
    return bare(replace(honest, cohort=replace(honest.cohort, members=change(honest.cohort.members))))


LIES: dict[str, tuple[Callable[[Play], bytes], type[LeptonicError]]] = {
    "I am left out": (lambda play: without(play, ME), InconsistentCohort),
    "a cohort signed by a member": (
        lambda play: introduction(play, advertised(play), signer=key_of(COLLUDER)),
        BadSignature,
    ),
    "a cohort signed by a stranger": (lambda play: introduction(play, advertised(play), signer=STRANGER), BadSignature),
    "a cohort under another one's signature": (
        lambda play: encoded(
            replace(
                decoded(Introduction, without(play, COLLUDER)),
                signature=decoded(Introduction, play.message(Step.SHARE, ME)).signature,
            )
        ),
        BadSignature,
    ),
    "a cohort without a signature": (
        lambda play: encoded(replace(decoded(Introduction, play.message(Step.SHARE, ME)), signature=bytes(64))),
        BadSignature,
    ),
    "a cohort of another session": (
        lambda play: introduction(play, advertised(play), opening=bytes(32)),
        InconsistentCohort,
    ),
    "somebody who is not on the roster": (
        lambda play: introduction(play, {**advertised(play), b"phantom": invented(play, b"phantom")}),
        InconsistentCohort,
    ),
    "somebody who is not on the roster, on the list alone": (
        lambda play: introduction(play, advertised(play), listed=[Named(b"phantom", bytes(32))]),
        InconsistentCohort,
    ),
    "somebody who never advertised": (
        lambda play: introduction(
            play,
            {name: each for name, each in advertised(play).items() if name != OTHER} | {OTHER: invented(play, OTHER)},
        ),
        BadSignature,
    ),
    "somebody on the list whose keys are not shown": (
        lambda play: introduction(
            play,
            advertised(play),
            brought={name: each for name, each in advertised(play).items() if name != OTHER},
        ),
        InconsistentCohort,
    ),
    "somebody shown who is not on the list": (
        lambda play: introduction(
            play,
            {name: each for name, each in advertised(play).items() if name != OTHER},
            brought=advertised(play),
        ),
        InconsistentCohort,
    ),
    "a cohort of two": (lambda play: without(play, name_of(0), OTHER, name_of(3)), BelowThreshold),
    "a cohort of me": (lambda play: without(play, name_of(0), OTHER, name_of(3), COLLUDER), BelowThreshold),
    "somebody twice": (lambda play: reordered(play, "members", lambda each: (each[0], *each)), DecodeError),
    "a list in another order": (lambda play: reordered(play, "members", lambda each: each[::-1]), DecodeError),
    "keys twice": (lambda play: reordered(play, "advertisements", lambda each: (each[0], *each)), DecodeError),
    "keys in another order": (lambda play: reordered(play, "advertisements", lambda each: each[::-1]), DecodeError),
}


@pytest.mark.parametrize("kind", LIES)
def test_no_secret_is_shared_after_the_lie_of(kind: str) -> None:
    lie, error = LIES[kind]
    play = Cast(5).play().until(Step.SHARE)
    assert_refused(play, Step.SHARE, ME, lie(play), error)


@pytest.mark.parametrize(
    ("policy", "gone", "error"),
    [
        (Policy(colluders=1, survivors=5), [OTHER], PolicyRefused),
        (Policy(colluders=1, threshold=4), [OTHER, COLLUDER], PolicyRefused),
        (Policy(colluders=1, peers=frozenset([OTHER])), [OTHER], BelowThreshold),
    ],
)
def test_a_cohort_that_is_not_the_owners_is_refused(
    policy: Policy, gone: list[bytes], error: type[LeptonicError]
) -> None:
    play = Cast(5, policy=policy).play().until(Step.SHARE)
    assert_refused(play, Step.SHARE, ME, without(play, *gone), error)


@pytest.mark.parametrize("colluders", [2, 3])
def test_a_cohort_with_too_few_honest_members_is_refused(colluders: int) -> None:
    # With c colluders two honest ones must be left in the smallest sum: three or four are not enough.
    play = Cast(6, colluders=colluders).play().until(Step.SHARE)
    left = [ME, OTHER, *(name_of(5 - number) for number in range(colluders - 1))]
    assert_refused(
        play, Step.SHARE, ME, without(play, *(name for name in play.cast.names if name not in left)), BelowThreshold
    )


def test_clients_that_were_shown_different_cohorts_do_not_work_together() -> None:
    play = Cast(5).play().until(Step.SHARE)
    shown = {ME: without(play, name_of(3)), OTHER: without(play, name_of(0))}
    said = {name: decoded(Share, play.ask(Step.SHARE, name, lie).content).commitment for name, lie in shown.items()}
    for name, colluders in ((ME, (name_of(0), COLLUDER)), (OTHER, (name_of(3), COLLUDER))):
        session = said[name].commitment.session
        # The colluders commit in whatever session they are asked to; the other honest client was never asked in it.
        sharers = dict(said)
        for colluder in colluders:
            commitment = Commitment(session, colluder, bytes(32), bytes(32))
            sharers[colluder] = SignedCommitment(commitment, signed(key_of(colluder), commitment))
        lie = Train(
            session=session,
            sharers=tuple(Named(each, hashed(sharers[each].commitment)) for each in sorted(sharers)),
            commitments=tuple(sharers[each] for each in sorted(sharers)),
            boxes=(),
            record=FIRST_RECORD,
            proofs=b"",
        )
        with pytest.raises(InconsistentCohort, match="committed to something else"):
            play.train(name, encoded(lie))


@pytest.mark.parametrize(
    "changes",
    [
        *({name: 6} for name in ("words", "sums", "invited", "dropping")),
        {"minimum": 5},
        {"bits": 24},
        {"colluders": 2},
        {"run": b"another"},
        {"round": 2},
        {"phase": 1},
        {"experiment": bytes(32)},
    ],
)
def test_clients_that_were_told_of_different_sessions_do_not_share(changes: dict[str, Any]) -> None:
    cast, of_settings = Cast(5), {field.name for field in fields(SessionSettings)}
    play = cast.play()
    told = {name: value for name, value in changes.items() if name not in of_settings}
    settings = replace(cast.settings, **{name: value for name, value in changes.items() if name in of_settings})
    other = Play(cast, replace(play.opening, settings=settings, **told), play.model, b"")
    for name in cast.names:
        (other if name == OTHER else play).ask(Step.ADVERTISE, name)
    everybody = {**advertised(play), **advertised(other)}
    with pytest.raises(InconsistentCohort):
        play.sessions[ME].introduced(introduction(play, everybody))
    with pytest.raises(InconsistentCohort):
        other.sessions[OTHER].introduced(introduction(other, everybody))
