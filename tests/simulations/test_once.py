"""What a simulation works out once is what each of its clients would have worked out by itself."""

import os
from dataclasses import replace
from itertools import permutations

import pytest
from tests.core.secagg.test_transcript import CAST, FIRST_RECORD, RECORD, shown

from leptonic.errors import BadSignature, InconsistentCohort
from leptonic.secagg.binding import verified
from leptonic.secagg.sealing import agreed_with, public_of
from leptonic.secagg.transcript import check_record
from leptonic_simulations import once
from leptonic_simulations.once import AgreedOnce, CheckedOnce

SECRETS = {name: os.urandom(32) for name in (b"a", b"b", b"c")}
PUBLIC = {name: public_of(secret) for name, secret in SECRETS.items()}


def others_of(name: bytes) -> dict[bytes, bytes]:
    return {other: key for other, key in PUBLIC.items() if other != name}


@pytest.mark.parametrize("order", list(permutations(SECRETS)))
def test_both_ends_of_a_pair_have_what_they_would_have_had_alone(order: tuple[bytes, ...]) -> None:
    agree = AgreedOnce()
    for name in order:
        found = agree(bytearray(SECRETS[name]), PUBLIC[name], others_of(name))
        assert found == agreed_with(bytearray(SECRETS[name]), PUBLIC[name], others_of(name))
    assert not agree._waiting


def test_a_pair_is_agreed_on_once_and_kept_until_the_other_end_has_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[tuple[bytes, bytes]] = []

    def count(secret: bytearray, public: bytes, others: dict[bytes, bytes]) -> dict[bytes, bytes]:
        computed.extend((public, key) for key in others.values())
        return agreed_with(secret, public, others)

    monkeypatch.setattr(once, "agreed_with", count)
    agree = AgreedOnce()
    for _ in range(2):
        for name, secret in SECRETS.items():
            agree(bytearray(secret), PUBLIC[name], others_of(name))
    assert len(computed) == 6
    agree(bytearray(SECRETS[b"a"]), PUBLIC[b"a"], others_of(b"a"))
    agree.forget()
    agree(bytearray(SECRETS[b"b"]), PUBLIC[b"b"], {b"a": PUBLIC[b"a"]})
    assert len(computed) == 9


def test_who_is_shown_another_key_agrees_on_something_else() -> None:
    """A coordinator that puts its own key in somebody's place gains nothing from what was agreed before."""
    agree, false = AgreedOnce(), public_of(os.urandom(32))
    honest = agree(bytearray(SECRETS[b"a"]), PUBLIC[b"a"], {b"b": PUBLIC[b"b"]})
    deceived = agree(bytearray(SECRETS[b"b"]), PUBLIC[b"b"], {b"a": false})
    assert deceived == agreed_with(bytearray(SECRETS[b"b"]), PUBLIC[b"b"], {b"a": false})
    assert honest[b"b"] != deceived[b"a"]
    with pytest.raises(InconsistentCohort, match="small order"):
        agree(bytearray(SECRETS[b"b"]), PUBLIC[b"b"], {b"a": bytes(32)})


def test_a_record_is_checked_once_for_all_who_are_shown_it(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[object] = []

    def count(*arguments: object) -> object:
        checked.append(arguments)
        return check_record(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(once, "check_record", count)
    check, record = CheckedOnce(), shown(RECORD)
    for _ in range(3):
        check(record, CAST.roster, FIRST_RECORD, verified)
    assert len(checked) == 1
    check(shown(RECORD), CAST.roster, FIRST_RECORD, verified)
    assert len(checked) == 2
    with pytest.raises(InconsistentCohort):
        check(record, CAST.roster, bytes(31) + b"x", verified)
    for _ in range(2):
        with pytest.raises(BadSignature):
            check(replace(record, signature=bytes(64)), CAST.roster, FIRST_RECORD, verified)
