"""Client-level privacy at the client: each noise is charged, belongs to one sum, and is the owner's to accept."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.client.samples import RUN, data_of, experiment, request, start_of

from leptonic.errors import BudgetExhausted, DecodeError, ReplayedSession
from leptonic.experiment import Experiment
from leptonic.privacy.client_level import ClientPlan
from leptonic_client.costs import UNPROTECTED, run_cost
from leptonic_client.home import ClientHome
from leptonic_client.participant import Participant
from leptonic_client.training import LocalTrainer

TRAINING = {"rounds": 4, "local_steps": 2, "batch_size": 8, "learning_rate": 0.1}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[ClientHome]:
    made = ClientHome(tmp_path / "home")
    yield made
    made.close()


def private(mechanism: str, **privacy: Any) -> Experiment:
    secure: dict[str, Any] = {"secure_aggregation": {"bits": 20}} if mechanism == "distributed" else {}
    return experiment(
        federation={"clients": 12, "cohort": 4},
        training=TRAINING,
        aggregation={"rule": "mean", "weighting": "uniform"},
        privacy={"unit": "client", "mechanism": mechanism, "epsilon": 20.0, "delta": 1e-3, **privacy},
        **secure,
    )


def participant(made: Experiment, home: ClientHome, **options: Any) -> Participant:
    return Participant(LocalTrainer(made), data_of(made), 0, home, **options)


def answered(taking: Participant, number: int, session: str = "", *, clip: float | None = None) -> bytes:
    content = start_of(taking.trainer).tobytes() + (np.float64(clip).tobytes() if clip is not None else b"")
    made = request(taking.trainer.experiment, content, round=number)
    return taking.answer(made, content, session).content


def left(home: ClientHome, taking: Participant) -> None:
    assert taking.reserved is not None
    home.ledger.settle(taking.reserved.key, "left")


def charges(home: ClientHome) -> int:
    return home.ledger.books.charges(RUN, 0)


def test_every_session_has_noise_of_its_own_and_is_charged(home: ClientHome) -> None:
    taking = participant(private("distributed", participations=3), home)
    first = answered(taking, 1, "aa")
    left(home, taking)
    second = answered(taking, 1, "bb")
    assert first != second
    assert charges(home) == 2
    left(home, taking)
    with pytest.raises(ReplayedSession, match="has left"):
        answered(taking, 1, "aa")
    answered(taking, 2, "cc")
    with pytest.raises(BudgetExhausted, match="all that its privacy target"):
        answered(taking, 3, "dd")


def test_a_charge_is_the_plans_release_for_whole_clients(home: ClientHome) -> None:
    taking = participant(private("distributed"), home)
    answered(taking, 1, "aa")
    assert isinstance(taking.plan, ClientPlan)
    spent = home.ledger.books.spent("client")
    assert spent == taking.plan.composition(1).renyi()
    # Another example replaces one update within the clip by another.
    assert home.ledger.books.spent("example").epsilon(1e-3) > spent.epsilon(1e-3)


def test_correlated_noise_is_joined_at_a_distance(home: ClientHome) -> None:
    taking = participant(private("correlated", band=3, participations=4), home, trusting=True)
    answered(taking, 1)
    left(home, taking)
    with pytest.raises(BudgetExhausted, match="again from round 4"):
        answered(taking, 3)
    answered(taking, 4)


@pytest.mark.parametrize("mechanism", ["server", "correlated"])
def test_noise_that_a_coordinator_promises_counts_only_for_owners_who_trust_it(
    mechanism: str, home: ClientHome
) -> None:
    made = private(mechanism, **({"band": 1} if mechanism == "correlated" else {}))
    assert run_cost(made, 40, trusting=False).cost == UNPROTECTED
    assert "promises to add" in run_cost(made, 40, trusting=False).target
    trusted = run_cost(made, 40, trusting=True)
    assert trusted.cost.curve.times(trusted.rounds).epsilon(1e-3) == pytest.approx(20.0, rel=0.01)
    answered(participant(made, home), 1)
    assert home.ledger.books.spent("client").epsilon(1e-3) == np.inf


@pytest.mark.parametrize("mechanism", ["distributed", "local"])
def test_a_whole_run_costs_what_its_plan_says(mechanism: str) -> None:
    made = private(mechanism)
    cost = run_cost(made, 40, trusting=False)
    assert cost.cost.unit == "client"
    assert cost.cost.curve.times(cost.rounds).epsilon(1e-3) == pytest.approx(20.0, rel=0.01)


@pytest.mark.parametrize("clip", [0.0, -1.0, float("nan"), float("inf")])
@pytest.mark.filterwarnings("ignore:adaptive clip with 4 clients")
def test_a_clip_that_is_none_is_refused_before_anything_is_spent(clip: float, home: ClientHome) -> None:
    taking = participant(private("server", adaptive_clip={"bit_deviation": 50.0}), home)
    with pytest.raises(DecodeError, match="cannot be clipped"):
        answered(taking, 1, clip=clip)
    assert charges(home) == 0
    answered(taking, 1, clip=0.5)
    with pytest.raises(DecodeError, match="expected"):
        answered(taking, 2)
