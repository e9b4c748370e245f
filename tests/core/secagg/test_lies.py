"""Lies about keys: no client shares a secret with a key that nobody, or somebody else, has advertised."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.core.secagg.lies import advertised, assert_refused, introduction, readvertised
from tests.core.secagg.members import key_of, name_of
from tests.core.secagg.parties import Cast, Play, Step

from leptonic.errors import BadSignature, InconsistentCohort, LeptonicError
from leptonic.secagg.sealing import public_of

ME, OTHER, COLLUDER = name_of(1), name_of(2), name_of(4)
STRANGER = key_of(b"somebody else")
MADE = public_of(b"a key that the coordinator made.")
FIELD = 2**255 - 19
# u-coordinates of the points whose order divides 8, in their canonical form.
SMALL_ORDER = [
    0,
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
    FIELD - 1,
]


def with_keys(play: Play, name: bytes, **changes: Any) -> bytes:
    """The cohort with another advertisement of this client, which has signed it."""
    return introduction(play, {**advertised(play), name: readvertised(play, name, **changes)})


def unsigned(play: Play, name: bytes, **changes: Any) -> bytes:
    """The cohort with another advertisement of this client, under the signature of the true one."""
    false = replace(readvertised(play, name, **changes), signature=advertised(play)[name].signature)
    return introduction(play, {**advertised(play), name: false})


LIES: dict[str, tuple[Callable[[Play], bytes], type[LeptonicError]]] = {
    "a channel key of the coordinator's, signed by itself": (
        lambda play: introduction(
            play, {**advertised(play), OTHER: readvertised(play, OTHER, channel=MADE, signer=STRANGER)}
        ),
        BadSignature,
    ),
    "a channel key of the coordinator's, under the old signature": (
        lambda play: unsigned(play, OTHER, channel=MADE),
        BadSignature,
    ),
    "a mask key of the coordinator's, under the old signature": (
        lambda play: unsigned(play, OTHER, masks=MADE),
        BadSignature,
    ),
    "another nonce, under the old signature": (lambda play: unsigned(play, OTHER, nonce=bytes(32)), BadSignature),
    "a key of the coordinator's that is not on the list": (
        lambda play: introduction(
            play,
            advertised(play),
            brought={**advertised(play), OTHER: readvertised(play, OTHER, channel=MADE, signer=STRANGER)},
        ),
        InconsistentCohort,
    ),
    "no signature of an advertisement": (
        lambda play: introduction(
            play, {**advertised(play), OTHER: replace(advertised(play)[OTHER], signature=bytes(64))}
        ),
        BadSignature,
    ),
    "an advertisement signed by another member": (
        lambda play: introduction(
            play, {**advertised(play), OTHER: readvertised(play, OTHER, signer=key_of(COLLUDER))}
        ),
        BadSignature,
    ),
    "my channel key altered": (lambda play: unsigned(play, ME, channel=MADE), InconsistentCohort),
    "my mask key altered": (lambda play: unsigned(play, ME, masks=MADE), InconsistentCohort),
    "my nonce altered": (lambda play: unsigned(play, ME, nonce=bytes(32)), InconsistentCohort),
    "my keys altered in what is shown": (
        lambda play: introduction(
            play,
            advertised(play),
            brought={**advertised(play), ME: readvertised(play, ME, channel=MADE, signer=STRANGER)},
        ),
        InconsistentCohort,
    ),
    "a channel key of mine, advertised by a colluder": (
        lambda play: with_keys(play, COLLUDER, channel=advertised(play)[ME].advertisement.channel),
        InconsistentCohort,
    ),
    "a mask key of mine, advertised by a colluder as its channel key": (
        lambda play: with_keys(play, COLLUDER, channel=advertised(play)[ME].advertisement.masks),
        InconsistentCohort,
    ),
    "a mask key of another's, advertised by a colluder": (
        lambda play: with_keys(play, COLLUDER, masks=advertised(play)[OTHER].advertisement.masks),
        InconsistentCohort,
    ),
    "one key for both purposes": (
        lambda play: with_keys(play, COLLUDER, masks=advertised(play)[COLLUDER].advertisement.channel),
        InconsistentCohort,
    ),
}


@pytest.mark.parametrize("kind", LIES)
def test_no_secret_is_shared_after_the_lie_of(kind: str) -> None:
    lie, error = LIES[kind]
    play = Cast(5).play().until(Step.SHARE)
    assert_refused(play, Step.SHARE, ME, lie(play), error)


@pytest.mark.parametrize("which", ["channel", "masks"])
def test_a_coordinator_between_two_clients_deceives_neither(which: str) -> None:
    play = Cast(5).play().until(Step.SHARE)
    for receiver, victim in ((ME, OTHER), (OTHER, ME)):
        false = readvertised(play, victim, signer=STRANGER, **{which: public_of(victim.rjust(32))})
        assert_refused(
            play, Step.SHARE, receiver, introduction(play, {**advertised(play), victim: false}), BadSignature
        )


@pytest.mark.parametrize("which", ["channel", "masks"])
@pytest.mark.parametrize("number", [FIELD, FIELD + 9, 2**255 - 1, 2**255 + 9, 2**256 - 1])
def test_a_key_that_is_not_in_its_canonical_form_is_refused(number: int, which: str) -> None:
    play = Cast(5).play().until(Step.SHARE)
    lie = with_keys(play, COLLUDER, **{which: number.to_bytes(32, "little")})
    assert_refused(play, Step.SHARE, ME, lie, InconsistentCohort)


@pytest.mark.parametrize("which", ["channel", "masks"])
@pytest.mark.parametrize("number", SMALL_ORDER)
def test_a_key_that_gives_everybody_the_same_secret_is_refused_before_anything_is_shared(
    number: int, which: str
) -> None:
    play = Cast(5).play().until(Step.SHARE)
    lie = with_keys(play, COLLUDER, **{which: number.to_bytes(32, "little")})
    assert_refused(play, Step.SHARE, ME, lie, InconsistentCohort)


def test_keys_of_an_earlier_session_are_refused() -> None:
    cast = Cast(5)
    earlier = advertised(cast.play().until(Step.SHARE))
    play = cast.play().until(Step.SHARE)
    lie = introduction(play, {**advertised(play), OTHER: earlier[OTHER]})
    assert_refused(play, Step.SHARE, ME, lie, InconsistentCohort)
