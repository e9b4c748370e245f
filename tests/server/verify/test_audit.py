"""An auditor's sum is the opened one, and whatever was changed in what was kept is found."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.server.verify.deployed import ROUNDS, Deployed

from leptonic.errors import BadSignature, InconsistentCohort, LeptonicError, RunError
from leptonic.secagg.binding import hashed
from leptonic.secagg.encoding import encoded
from leptonic.secagg.expansion import Here
from leptonic_server.secure.retained import OpenedWith, Retained
from leptonic_server.verify.audit import audit


def audited(made: Deployed, number: int = 2) -> int:
    return audit(made.chain().links[number - 1], Retained(made.run), Here())


def test_the_kept_inputs_give_the_opened_sum(whole: Deployed) -> None:
    assert [audited(whole, number) for number in range(1, ROUNDS + 1)] == [5, 4, 5]


def test_what_opened_a_sum_is_not_for_everybody(whole: Deployed) -> None:
    path = whole.run / "inputs" / "round-00002" / "opening.bin"
    assert path.stat().st_mode & 0o077 == 0
    assert Retained(whole.run).opened_with(2).secrets[0].secret.hex() not in repr(Retained(whole.run).opened_with(2))


def test_an_input_that_was_changed_or_is_gone(made: Deployed) -> None:
    retained = Retained(made.run)
    path = retained.input_file(2, hashed(retained.opened_with(2).closed.headers[1].header))
    content = bytearray(path.read_bytes())
    content[7] ^= 1
    path.write_bytes(content)
    with pytest.raises(InconsistentCohort, match="is not the masked input that its client has signed"):
        audited(made)
    path.unlink()
    with pytest.raises(RunError, match="cannot be read"):
        audited(made)


Change = Callable[[OpenedWith], OpenedWith]
CHANGES: dict[str, tuple[Change, type[LeptonicError], str]] = {
    "another secret": (
        lambda kept: replace(kept, secrets=(replace(kept.secrets[0], secret=bytes(32)), *kept.secrets[1:])),
        InconsistentCohort,
        "had committed to another secret",
    ),
    "a secret less": (
        lambda kept: replace(kept, secrets=kept.secrets[1:]),
        InconsistentCohort,
        "of all who had shared",
    ),
    "a survivor less": (
        lambda kept: replace(kept, closed=replace(kept.closed, headers=kept.closed.headers[1:])),
        InconsistentCohort,
        "another session than the record's",
    ),
    "another key": (
        lambda kept: replace(kept, closed=replace(kept.closed, advertisements=kept.closed.advertisements[::-1][:1])),
        InconsistentCohort,
        "keys are not those",
    ),
    "another signature": (
        lambda kept: replace(
            kept,
            closed=replace(
                kept.closed, headers=(replace(kept.closed.headers[0], signature=bytes(64)), *kept.closed.headers[1:])
            ),
        ),
        BadSignature,
        "'masked' signature",
    ),
}


@pytest.mark.parametrize("case", CHANGES)
def test_what_opened_a_sum_cannot_be_changed(made: Deployed, case: str) -> None:
    change, error, words = CHANGES[case]
    path = made.run / "inputs" / "round-00002" / "opening.bin"
    path.write_bytes(encoded(change(Retained(made.run).opened_with(2))))
    with pytest.raises(error, match=words):
        audited(made)


def test_a_file_that_is_nothing_of_the_kind(made: Deployed) -> None:
    path = made.run / "inputs" / "round-00002" / "opening.bin"
    path.write_bytes(b"something else")
    with pytest.raises(RunError, match="is not what opened a sum"):
        audited(made)
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(RunError, match="is not a plain file"):
        audited(made)


def test_another_sum_in_the_record(made: Deployed) -> None:
    made.rewrite(3, lambda record: replace(record, sum=bytes(32)))
    with pytest.raises(InconsistentCohort, match="the opened sum is not the sum of the inputs"):
        audited(made, 3)
