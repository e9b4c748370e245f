"""What was reserved counts, in whatever order, for ever; what has left is not reserved again."""

import math
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.core.privacy.ledger.samples import COSTS, GAUSSIAN, STEP, UNPROTECTED, charge

from leptonic.errors import BudgetExhausted, DecodeError, ReplayedSession
from leptonic.privacy.composition import Composition
from leptonic.privacy.ledger import Cost, Ledger
from leptonic.privacy.ledger.books import Books
from leptonic.privacy.ledger.entries import Data, Opened, Reserve, Settle
from leptonic.privacy.ledger.verification import verified
from leptonic.privacy.mechanisms import SampledGaussian

TIME = "2026-01-02T03:04:05+00:00"
OPENED = Opened(time=TIME, ledger="0" * 32)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path / "node", lineage="ward")
    yield made
    made.close()


def reopened(ledger: Ledger) -> Ledger:
    ledger.close()
    return Ledger(ledger._folder, lineage="ward")


def test_a_run_costs_what_its_composition_does(ledger: Ledger) -> None:
    for number in range(1, 21):
        ledger.reserve(charge(number))
    expected = Composition.of([(SampledGaussian(1.0, 0.01), 200)]).renyi()
    assert np.allclose(ledger.books.spent("example").values, expected.values, rtol=1e-12)
    assert math.isinf(ledger.books.spent("client").epsilon(1e-5))


def test_a_clients_run_and_an_examples_add_up_for_examples(ledger: Ledger) -> None:
    ledger.reserve(charge(1))
    ledger.reserve(charge(1, run="run-b", cost=GAUSSIAN))
    expected = Composition.of([(SampledGaussian(1.0, 0.01), 10), (SampledGaussian(1.0), 1)]).renyi()
    assert np.allclose(ledger.books.spent("example").values, expected.values, rtol=1e-12)


def test_a_reservation_counts_whatever_becomes_of_it(ledger: Ledger) -> None:
    for number, outcome in ((1, "left"), (2, "failed"), (3, None)):
        ledger.reserve(charge(number))
        if outcome is not None:
            ledger.settle(("run-a", 3, number, ""), outcome)  # type: ignore[arg-type]
    expected = STEP.curve.times(3)
    assert np.allclose(ledger.books.spent("example").values, expected.values)
    again = reopened(ledger)
    assert again.books.spent("example") == ledger.books.spent("example")
    again.close()


def test_an_open_reservation_is_taken_up_again_and_a_settled_one_is_not(ledger: Ledger) -> None:
    assert [ledger.reserve(charge(1)) for _ in range(3)] == [1, 1, 1]
    ledger = reopened(ledger)
    assert ledger.reserve(charge(1)) == 1
    assert ledger.settle(("run-a", 3, 1, ""), "left")
    with pytest.raises(ReplayedSession, match="round 1 has left"):
        ledger.reserve(charge(1))
    ledger = reopened(ledger)
    with pytest.raises(ReplayedSession, match="round 1 has left"):
        ledger.reserve(charge(1))
    assert ledger.reserve(charge(2)) == 2
    ledger.close()


def test_a_failure_that_was_told_uses_its_charge_up(ledger: Ledger) -> None:
    ledger.reserve(charge(1))
    assert not ledger.settle(("run-a", 3, 1, ""), "failed")
    assert ledger.reserve(charge(1)) == 2
    assert ledger.settle(("run-a", 3, 1, ""), "left")
    attempts = [link.entry.attempt for link in verified(ledger._file.path) if isinstance(link.entry, Reserve)]
    assert attempts == [1, 2]


@pytest.mark.parametrize("change", [{"cost": GAUSSIAN}, {"session": "ab"}])
def test_other_noise_or_another_session_is_charged_anew(ledger: Ledger, change: dict[str, object]) -> None:
    ledger.reserve(charge(1))
    assert ledger.reserve(charge(1, **change)) == 2  # type: ignore[arg-type]


def test_a_settlement_of_nothing_is_nothing(ledger: Ledger) -> None:
    head = ledger.head
    assert not ledger.settle(("run-a", 3, 1, ""), "left")
    assert ledger.head == head


def test_no_more_rounds_are_charged_than_a_run_has(ledger: Ledger) -> None:
    assert [ledger.reserve(charge(number), 3) for number in (1, 2, 5)] == [1, 2, 3]
    head = ledger.head
    with pytest.raises(BudgetExhausted, match=r"answered 3 rounds.*round 6"):
        ledger.reserve(charge(6), 3)
    assert ledger.head == head
    assert ledger.reserve(charge(5), 3) == 3
    assert ledger.reserve(charge(6, run="run-b"), 3) == 1


def test_changed_data_keep_their_lineage_and_all_its_spend(ledger: Ledger) -> None:
    rows, labels = np.arange(12.0).reshape(3, 4), np.array([0, 1, 0])
    assert not ledger.note_data(rows, labels)
    ledger.reserve(charge(1))
    spent = ledger.books.spent("example")
    assert not ledger.note_data(rows.copy(), labels)
    assert ledger.note_data(rows[:2], labels[:2])
    assert ledger.note_data(rows[:2].reshape(4, 2), labels[:2])
    assert ledger.note_data(rows[:2].astype(np.float32), labels[:2])
    assert ledger.books.spent("example", lambda group: group.lineage == "ward") == spent
    noted = [link.entry for link in verified(ledger._file.path) if isinstance(link.entry, Data)]
    assert len(noted) == 4


def test_two_nodes_name_the_same_data_by_other_fingerprints(tmp_path: Path) -> None:
    found = []
    for name in ("a", "b"):
        ledger = Ledger(tmp_path / name, lineage="ward")
        ledger.note_data(np.arange(3))
        found.append(ledger.books.fingerprints["ward"])
        assert (tmp_path / name / "ledger.key").stat().st_mode & 0o777 == 0o600
        ledger.close()
    assert found[0] != found[1]


CHARGES = st.lists(st.tuples(st.sampled_from(COSTS), st.sampled_from("abc")), min_size=1, max_size=12)


def entries(charges: list[tuple[Cost, str]]) -> list[Reserve]:
    return [
        Reserve.of(charge(number, run=f"run-{run}", cost=cost), time=TIME, lineage="ward", attempt=1)
        for number, (cost, run) in enumerate(charges)
    ]


@given(CHARGES, st.randoms(use_true_random=False))
def test_the_order_of_reservations_does_not_matter(charges: list[tuple[Cost, str]], random: object) -> None:
    made = entries(charges)
    shuffled = made.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = Books([OPENED, *made]), Books([OPENED, *shuffled])
    assert all(one.spent(unit) == other.spent(unit) for unit in ("example", "client"))  # type: ignore[arg-type]


@given(CHARGES)
def test_the_balance_never_falls(charges: list[tuple[Cost, str]]) -> None:
    books, before = Books([OPENED]), 0.0
    for number, entry in enumerate(entries(charges), start=1):
        books.take(entry)
        after = books.spent("example").epsilon(1e-5)
        assert after >= before
        before = after
        books.take(Settle(time=TIME, reservation=2 * number, outcome="failed"))
        assert books.spent("example").epsilon(1e-5) == before


def test_nothing_brings_an_unbounded_balance_down(ledger: Ledger) -> None:
    ledger.reserve(charge(0, cost=UNPROTECTED))
    ledger.reserve(charge(1, run="run-b"))
    assert math.isinf(ledger.books.spent("example").epsilon(1e-5))
    assert math.isfinite(ledger.books.spent("example", lambda group: group.run == "run-b").epsilon(1e-5))


@pytest.mark.parametrize(
    "wrong",
    [
        [entries([(STEP, "a")])[0]],
        [OPENED, OPENED],
        [OPENED, Settle(time=TIME, reservation=1, outcome="left")],
        [OPENED, *entries([(STEP, "a")]), *[Settle(time=TIME, reservation=2, outcome="left")] * 2],
        [OPENED, *entries([(STEP, "a")]) * 2],
    ],
    ids=["not opened", "opened twice", "no reservation", "settled twice", "one attempt twice"],
)
def test_entries_that_cannot_follow_each_other_are_refused(wrong: list[Reserve]) -> None:
    with pytest.raises(DecodeError):
        Books(wrong)


class Lives(RuleBasedStateMachine):
    """Reservations and settlements in any order, the ledger closed at any time, beside a plain count."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.ledger = Ledger(Path(self._folder.name), lineage="ward")
        self.charged: dict[int, int] = {}
        self.open: set[int] = set()
        self.left: set[int] = set()

    @rule(number=st.integers(1, 4))
    def reserve(self, number: int) -> None:
        if number in self.left:
            with pytest.raises(ReplayedSession):
                self.ledger.reserve(charge(number))
            return
        if number not in self.open:
            self.charged[number] = self.charged.get(number, 0) + 1
            self.open.add(number)
        assert self.ledger.reserve(charge(number)) == sum(self.charged.values())

    @rule(number=st.integers(1, 4), outcome=st.sampled_from(["left", "failed"]))
    def settle(self, number: int, outcome: str) -> None:
        if number in self.open:
            self.open.remove(number)
            if outcome == "left":
                self.left.add(number)
        assert self.ledger.settle(("run-a", 3, number, ""), outcome) == (number in self.left)  # type: ignore[arg-type]

    @rule()
    def restart(self) -> None:
        head = self.ledger.head
        self.ledger.close()
        self.ledger = Ledger(Path(self._folder.name), lineage="ward", anchor=head)

    @invariant()
    def adds_up(self) -> None:
        expected = STEP.curve.times(sum(self.charged.values()))
        assert np.allclose(self.ledger.books.spent("example").values, expected.values)

    def teardown(self) -> None:
        self.ledger.close()
        self._folder.cleanup()


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=15, stateful_step_count=15)  # each step is brought to disk
