"""An owner's limits: kept to the last round, by unit and scope, and refused with all that the owner needs to know."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.core.privacy.ledger.samples import GAUSSIAN, STEP, UNPROTECTED, charge

from leptonic.errors import BudgetExhausted, PrivacyError
from leptonic.privacy.ledger import Cost, Ledger, Limits

DELTA = 1e-5
Open = Callable[..., Ledger]


@pytest.fixture
def opened(tmp_path: Path) -> Any:
    made: list[Ledger] = []

    def open_one(name: str = "ward", **limits: Any) -> Ledger:
        for ledger in made:
            ledger.close()
        made.append(Ledger(tmp_path / "node", lineage=name, limits=Limits(delta=DELTA, **limits)))
        return made[-1]

    yield open_one
    made[-1].close()


def cost_of(rounds: int, cost: Cost = STEP) -> float:
    return cost.curve_for("example").times(rounds).epsilon(DELTA)


def test_a_limit_is_kept_to_the_last_round_that_fits(opened: Open) -> None:
    ledger = opened(total=cost_of(3))
    for number in (1, 2, 3):
        ledger.reserve(charge(number))
    head = ledger.head
    with pytest.raises(BudgetExhausted):
        ledger.reserve(charge(4))
    assert ledger.head == head
    assert opened(total=cost_of(4)).reserve(charge(4)) == 4


def test_a_refusal_says_what_was_asked_and_spent_and_is_left_and_where_to_raise_it(opened: Open) -> None:
    ledger = opened(total=1.5)
    for number in range(1, 4):
        ledger.reserve(charge(number))
    with pytest.raises(BudgetExhausted) as caught:
        ledger.check_run("run-b", "research", STEP, 2000, note=" (epsilon 3 per example)")
    said = str(caught.value)
    spent, asked, both = cost_of(3), cost_of(2000), cost_of(2003)
    for part in (
        "run run-b asks for 2000 more of 2000 rounds (epsilon 3 per example)",
        f"epsilon {asked:.4g} per example at delta 1e-05, by Renyi curves",
        f"{spent:.4g} of 1.5 is spent, and {1.5 - spent:.4g} left",
        f"together it would be {both:.4g}",
        "raise max_epsilon in [ledger] of the node file",
    ):
        assert part in said


def test_a_run_is_refused_before_its_first_round_if_not_all_of_it_fits(opened: Open) -> None:
    ledger = opened(total=cost_of(30))
    assert ledger.check_run("run-a", None, STEP, 30) == [f"{cost_of(30):.4g} of {cost_of(30):g} (max_epsilon)"]
    with pytest.raises(BudgetExhausted):
        ledger.check_run("run-a", None, STEP, 31)


def test_what_a_run_has_charged_counts_towards_its_plan(opened: Open) -> None:
    """Asked again after a restart, it needs the rest alone; another run needs all of it."""
    ledger = opened(total=cost_of(30))
    for number in range(1, 21):
        ledger.reserve(charge(number))
    ledger.check_run("run-a", None, STEP, 30)
    with pytest.raises(BudgetExhausted):
        ledger.check_run("run-b", None, STEP, 30)
    ledger.check_run("run-b", None, STEP, 10)


def test_a_run_that_was_let_in_is_not_refused_in_its_middle(opened: Open) -> None:
    ledger = opened(total=cost_of(30), run=cost_of(25))
    for number in range(1, 6):
        ledger.reserve(charge(number, run="run-b"))
    ledger.check_run("run-a", None, STEP, 25)
    assert [ledger.reserve(charge(number), 25) for number in range(1, 26)][-1] == 25


@pytest.mark.parametrize("rounds", [3, 7, 19, 33])
def test_a_run_that_fits_to_the_last_bit_is_served_to_its_end(opened: Open, rounds: int) -> None:
    ledger = opened(total=cost_of(rounds))
    ledger.check_run("run-a", None, STEP, rounds)
    assert [ledger.reserve(charge(number), rounds) for number in range(rounds)][-1] == rounds
    with pytest.raises(BudgetExhausted):
        ledger.reserve(charge(rounds))


def test_each_run_has_its_own_limit(opened: Open) -> None:
    ledger = opened(run=cost_of(2))
    for run in ("run-a", "run-b", "run-c"):
        assert [ledger.reserve(charge(number, run=run)) for number in (1, 2)] == [1, 2]
        with pytest.raises(BudgetExhausted, match="max_epsilon_run"):
            ledger.reserve(charge(3, run=run))


def test_the_total_goes_over_all_lineages(opened: Open) -> None:
    for number in (1, 2, 3):
        opened("one", total=cost_of(4)).reserve(charge(number))
    other = opened("two", total=cost_of(4))
    assert other.reserve(charge(1, run="run-b")) == 1
    with pytest.raises(BudgetExhausted, match=r"Of all runs.*raise max_epsilon in"):
        other.reserve(charge(2, run="run-b"))


def test_a_lineage_has_a_limit_of_its_own(opened: Open) -> None:
    for number in (1, 2):
        opened("one", lineage=cost_of(2)).reserve(charge(number))
    with pytest.raises(BudgetExhausted, match=r"Of data set 'one'.*raise max_epsilon_lineage in"):
        opened("one", lineage=cost_of(2)).reserve(charge(3))
    assert opened("two", lineage=cost_of(2)).reserve(charge(3)) == 3


def test_each_purpose_has_its_own_limit_and_others_are_not_served(opened: Open) -> None:
    ledger = opened(purposes={"research": cost_of(2), "billing": cost_of(1)})
    assert [ledger.reserve(charge(number, purpose="research")) for number in (1, 2)] == [1, 2]
    with pytest.raises(BudgetExhausted, match=r'raise purposes."research" in'):
        ledger.reserve(charge(3, purpose="research"))
    ledger.reserve(charge(3, purpose="billing"))
    for purpose, said in ((None, "declares no purpose"), ("marketing", "is for 'marketing'")):
        with pytest.raises(BudgetExhausted, match=said):
            ledger.check_run("run-b", purpose, STEP, 1)


def test_a_limit_for_clients_takes_no_run_for_examples(opened: Open) -> None:
    """However little an example loses, a client has many."""
    ledger = opened(total=1e6, unit="client")
    with pytest.raises(BudgetExhausted, match="epsilon inf per client"):
        ledger.check_run("run-a", None, STEP, 1)
    ledger.check_run("run-a", None, GAUSSIAN, 1)


def test_a_limit_for_examples_counts_a_run_for_clients_at_doubled_sensitivity(opened: Open) -> None:
    at_client = GAUSSIAN.curve.epsilon(DELTA)
    with pytest.raises(BudgetExhausted, match="per example"):
        opened(total=at_client).check_run("run-a", None, GAUSSIAN, 1)
    opened(total=cost_of(1, GAUSSIAN)).check_run("run-a", None, GAUSSIAN, 1)
    opened(total=at_client, unit="client").check_run("run-a", None, GAUSSIAN, 1)


def test_a_limit_takes_no_run_without_privacy_nor_any_after_one(opened: Open) -> None:
    with pytest.raises(BudgetExhausted, match="epsilon inf"):
        opened(total=1e6).check_run("run-a", None, UNPROTECTED, 1)
    opened().reserve(charge(0, cost=UNPROTECTED))
    with pytest.raises(BudgetExhausted, match=r"inf of 1e.06 is spent, and 0 left"):
        opened(total=1e6).check_run("run-b", None, STEP, 1)


def test_a_limit_that_was_lowered_below_what_is_spent_lets_nothing_more_in(opened: Open) -> None:
    opened().reserve(charge(1))
    with pytest.raises(BudgetExhausted, match="and 0 left"):
        opened(total=cost_of(1) / 2).check_run("run-b", None, STEP, 1)


def test_a_limit_needs_a_delta() -> None:
    with pytest.raises(PrivacyError, match="need a delta"):
        Limits(total=1.0)
    assert not Limits(delta=DELTA)
