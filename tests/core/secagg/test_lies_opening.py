"""Lies about what a session is: its roster, its assumptions, its number. A client says nothing to them."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest
from tests.core.secagg.lies import advertised, bare, introduction
from tests.core.secagg.members import AUTHORITY, COORDINATOR, FEDERATION, key_of, public, roster_of
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
from leptonic.secagg.client.session import ClientSession
from leptonic.secagg.encoding import encoded
from leptonic.secagg.messages import Open
from leptonic.secagg.roster import Roster, RosterContent, RosterEntry, SignedRoster
from leptonic.secagg.standing import Policy

ME = b"client-0002"


def assert_not_opened(cast: Cast, opening: bytes, error: type[LeptonicError]) -> None:
    """The client neither answers nor notes anything."""
    client = cast.clients[ME]
    before = list(client.journal.notes)
    with pytest.raises(LeptonicError) as refusal:
        ClientSession(client.standing, opening)
    assert refusal.type is error, f"{refusal.type.__name__}: {refusal.value}"
    assert client.journal.notes == before


def opening(cast: Cast, changes: dict[str, Any]) -> Open:
    """The next session's; ``changes`` of the settings or of the rest."""
    names = {field.name for field in fields(cast.settings)}
    settings = replace(cast.settings, **{name: value for name, value in changes.items() if name in names})
    return cast.opening(settings=settings, **{name: value for name, value in changes.items() if name not in names})


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"federation": b"another"}, InconsistentCohort),
        ({"roster": bytes(32)}, InconsistentCohort),
        ({"roster": roster_of(5, version=2).hash}, InconsistentCohort),
        ({"lying": 0}, PolicyRefused),
        ({"lying": 2}, PolicyRefused),
        ({"bits": 0}, InconsistentCohort),
        ({"bits": 7}, InconsistentCohort),
        ({"bits": 33}, InconsistentCohort),
        ({"bits": 2**64 - 1}, InconsistentCohort),
    ],
)
def test_a_session_that_is_not_the_owners_is_not_opened(changes: dict[str, Any], error: type[LeptonicError]) -> None:
    cast = Cast(5, policy=Policy(colluders=1, curious=False))
    assert_not_opened(cast, encoded(opening(cast, changes)), error)
    assert cast.play().run() is not None


def refusal(cast: Cast, changes: dict[str, Any]) -> type[LeptonicError]:
    """What a client raises that has taken these settings, once a coordinator that minds nothing shows it the cohort."""
    play = Play(cast, opening(cast, changes), bytes(32), b"")
    for name in cast.names:
        play.ask(Step.ADVERTISE, name)
    notes = list(cast.clients[ME].journal.notes)
    with pytest.raises(LeptonicError) as caught:
        play.sessions[ME].introduced(introduction(play, advertised(play)))
    assert cast.clients[ME].journal.notes == notes
    return caught.type


@pytest.mark.parametrize(
    ("policy", "changes", "error"),
    [
        (Policy(colluders=2), {"colluders": 1}, PolicyRefused),
        (Policy(colluders=1), {"colluders": 0}, PolicyRefused),
        (Policy(), {"colluders": 0}, PolicyRefused),
        (Policy(colluders=1, survivors=6), {}, PolicyRefused),
        (Policy(colluders=1, threshold=5), {}, PolicyRefused),
        (Policy(colluders=1), {"colluders": 4}, BelowThreshold),
        (Policy(colluders=1), {"colluders": 2**64 - 1}, BelowThreshold),
        (Policy(colluders=1), {"minimum": 6}, BelowThreshold),
        (Policy(colluders=1), {"minimum": 2**64 - 1}, BelowThreshold),
        (Policy(colluders=1), {"neighbours": 2}, BelowThreshold),
        (Policy(colluders=1), {"neighbours": 3}, BelowThreshold),
        (Policy(colluders=1), {"neighbours": 2**64 - 2}, BelowThreshold),
        (Policy(colluders=1), {"neighbours": 2, "dropping": 2**64 - 1}, BelowThreshold),
        (Policy(colluders=1), {"invited": 4}, InconsistentCohort),
    ],
)
def test_a_session_that_is_too_trusting_or_too_small_gets_no_shares(
    policy: Policy, changes: dict[str, Any], error: type[LeptonicError]
) -> None:
    assert refusal(Cast(5, policy=policy), changes) is error


def test_drop_outs_that_nobody_could_count_are_named() -> None:
    cast = Cast(30, lying=0, neighbours=8, dropping=1)
    for dropping in (29, 30, 31, 2**64 - 1):
        assert refusal(cast, {"dropping": dropping}) is BelowThreshold


@pytest.mark.parametrize("back", [0, 1, 2])
def test_a_session_of_a_number_that_is_not_above_the_last_is_not_opened(back: int) -> None:
    cast = Cast(5)
    cast.play().run()
    last = cast.play().until(Step.SHARE).opening
    assert_not_opened(cast, encoded(replace(last, serial=last.serial - back)), ReplayedSession)
    other = replace(last, serial=last.serial - back, round=7, phase=1, experiment=bytes(32))
    assert_not_opened(cast, encoded(other), ReplayedSession)


def test_an_opening_that_was_taken_is_answered_with_the_same_bytes_and_no_other_is() -> None:
    cast = Cast(5)
    play = cast.play().until(Step.SHARE)
    session, honest = play.sessions[ME], play.message(Step.ADVERTISE, ME)
    assert session.opened(honest) == play.answers[Step.ADVERTISE][ME].content
    with pytest.raises(ReplayedSession):
        session.opened(encoded(replace(play.opening, serial=99)))
    assert session.opened(honest) == play.answers[Step.ADVERTISE][ME].content
    play.step(Step.SHARE)


def test_fresh_keys_and_a_fresh_nonce_are_advertised_in_every_session() -> None:
    cast, seen = Cast(3), list[bytes]()
    for _ in range(3):
        play = cast.play().until(Step.SHARE)
        for signed_one in (play.sessions[name].state.own.advertisement for name in cast.names):
            seen += [signed_one.channel, signed_one.masks, signed_one.nonce]
    assert len(set(seen)) == len(seen)


def read(content: bytes, **changes: Any) -> Roster:
    known = {"authority": public(AUTHORITY), "federation": FEDERATION, "client": ME, "key": public(key_of(ME))}
    return Roster.read(content, **{**known, "now": 1000, "seen": 3, **changes})


def resigned(**changes: Any) -> bytes:
    signer = changes.pop("signer", AUTHORITY)
    return Roster.sign(replace(roster_of(5, version=3).content, **changes), signer).encoding


CONTENT = roster_of(5, version=3).content
MINE_AS_ANOTHERS = tuple(
    replace(entry, key=public(key_of(b"another"))) if entry.client == ME else entry
    for entry in roster_of(5).content.entries
)
ROSTERS: dict[str, tuple[Callable[[], bytes], type[LeptonicError]]] = {
    "of another authority": (lambda: resigned(signer=key_of(b"another authority")), BadSignature),
    "signed by the coordinator": (
        lambda: encoded(SignedRoster(CONTENT, public(COORDINATOR), signed(COORDINATOR, CONTENT))),
        BadSignature,
    ),
    "signed by the coordinator in the authority's name": (
        lambda: encoded(SignedRoster(CONTENT, public(AUTHORITY), signed(COORDINATOR, CONTENT))),
        BadSignature,
    ),
    "changed after it was signed": (
        lambda: encoded(
            replace(roster_of(5, version=3).signed, content=replace(roster_of(5, version=3).content, version=4))
        ),
        BadSignature,
    ),
    "rolled back": (lambda: resigned(version=2), ReplayedSession),
    "expired": (lambda: resigned(expires=1000), ReplayedSession),
    "of another federation": (lambda: resigned(federation=b"another"), InconsistentCohort),
    "without this client": (
        lambda: resigned(entries=tuple(each for each in roster_of(5).content.entries if each.client != ME)),
        InconsistentCohort,
    ),
    "with another key for this client": (lambda: resigned(entries=MINE_AS_ANOTHERS), InconsistentCohort),
    "with bytes left over": (lambda: resigned() + b"\0", DecodeError),
    "cut short": (lambda: resigned()[:-1], DecodeError),
}


@pytest.mark.parametrize("kind", ROSTERS)
def test_a_roster_that_no_node_may_follow_is_refused(kind: str) -> None:
    made, error = ROSTERS[kind]
    assert read(resigned()).content.version == 3
    with pytest.raises(LeptonicError) as refusal:
        read(made())
    assert refusal.type is error


@pytest.mark.parametrize(
    "entries",
    [
        (RosterEntry(b"a", bytes(32)), RosterEntry(b"b", bytes(32))),
        (RosterEntry(b"a", public(COORDINATOR)),),
    ],
)
def test_a_roster_that_gives_one_key_to_two_is_refused(entries: tuple[RosterEntry, ...]) -> None:
    content = RosterContent(FEDERATION, 3, 2**40, public(COORDINATOR), entries)
    with pytest.raises(DecodeError):
        Roster.sign(content, AUTHORITY)
    forged = bare(replace(roster_of(5).signed, content=content, signature=signed(AUTHORITY, content)))
    with pytest.raises(DecodeError):
        read(forged)
