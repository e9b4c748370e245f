"""The plan of client-level privacy: it meets its target, and no other reading of the same noise is cheaper."""

import math
from typing import Any

import numpy as np
import pytest

from leptonic.errors import PrivacyError
from leptonic.experiment import Experiment
from leptonic.experiment_file import from_mapping
from leptonic.privacy.client_level import ClientPlan, client_plan
from leptonic.privacy.correlated_noise import BandedNoise
from leptonic.privacy.distributed import DistributedMechanism
from leptonic.privacy.trusted_server import TrustedServer

SIZE = 1000
MECHANISMS = ("distributed", "local", "server", "correlated")


def experiment(
    mechanism: str, *, clients: int = 60, cohort: int = 20, rounds: int = 9, secure: Any = None, **privacy: Any
) -> Experiment:
    content: dict[str, Any] = {
        "name": "x",
        "federation": {"clients": clients, "cohort": cohort},
        "training": {"rounds": rounds},
        "aggregation": {"rule": "mean", "weighting": "uniform"},
        "privacy": {"unit": "client", "mechanism": mechanism, "epsilon": 3.0, "delta": 1e-3, **privacy},
    }
    if mechanism == "distributed":
        content["secure_aggregation"] = secure or {"bits": 20}
    if mechanism == "correlated":
        content["privacy"].setdefault("band", 3)
    return from_mapping(content)


def planned(mechanism: str, **changes: Any) -> ClientPlan:
    return client_plan(experiment(mechanism, **changes), SIZE)


def gaussian_epsilon(noise_multiplier: float, releases: int, delta: float) -> float:
    """From the closed form: R(a) = T a / (2 z^2), converted at every order up to 4000, whole or not."""
    orders = np.arange(1.01, 4000, 0.01)
    spent = releases * orders / (2 * noise_multiplier**2)
    return float((spent + np.log1p(-1 / orders) - np.log(delta * orders) / (orders - 1)).min())


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_all_rounds_meet_the_target_and_hardly_less(mechanism: str) -> None:
    plan = planned(mechanism)
    assert plan.participations == 3
    assert 0.995 * 3.0 <= plan.epsilon(3) <= 3.0
    assert plan.epsilon(0) == 0.0
    assert plan.epsilon(1) <= plan.epsilon(2) <= plan.epsilon(3)


@pytest.mark.parametrize(("mechanism", "releases"), [("server", 3), ("correlated", 1)])
def test_the_servers_noise_is_that_of_the_gaussian_mechanism(mechanism: str, releases: int) -> None:
    noise = planned(mechanism).mechanism
    assert isinstance(noise, TrustedServer | BandedNoise)
    # Renyi orders are whole numbers here, which costs a little.
    assert gaussian_epsilon(noise.noise_multiplier, releases, 1e-3) == pytest.approx(3.0, rel=0.01)


def test_correlated_noise_costs_as_much_of_the_whole_as_was_joined() -> None:
    """One Gaussian mechanism, whose squared sensitivity grows with the rounds that a client joins."""
    plan = planned("correlated")
    whole = plan.mechanism
    assert isinstance(whole, BandedNoise)
    for joined in (1, 2, 3):
        part = whole.noise_multiplier * math.sqrt(3 / joined)
        assert plan.epsilon(joined) == pytest.approx(gaussian_epsilon(part, 1, 1e-3), rel=0.01)


def test_local_noise_takes_what_the_honest_clients_would_share() -> None:
    alone, shared = planned("local").mechanism, planned("distributed").mechanism
    assert isinstance(alone, DistributedMechanism)
    assert isinstance(shared, DistributedMechanism)
    plan = planned("distributed")
    assert plan.honest == plan.minimum - plan.assumed == 14 - 6
    # Sums of Skellam noise are Skellam: the variances of eight make that of one who stands alone.
    assert alone.local_deviation == pytest.approx(math.sqrt(8) * shared.local_deviation, rel=0.01)


def test_who_assumes_more_colluders_takes_more_noise() -> None:
    plan, wary = planned("distributed"), planned("distributed", secure={"bits": 20, "colluders": 10})
    assert isinstance(plan.mechanism, DistributedMechanism)
    assert isinstance(wary.mechanism, DistributedMechanism)
    assert (plan.minimum, plan.honest, wary.minimum, wary.honest) == (14, 8, 16, 6)
    assert wary.mechanism.local_deviation == pytest.approx(math.sqrt(8 / 6) * plan.mechanism.local_deviation, rel=0.01)
    assert "at most 10 of the 16 clients" in wary.statement()


def test_participations_are_turns_unless_the_file_says_otherwise() -> None:
    assert planned("server", clients=20, rounds=7).participations == 7
    assert planned("server", clients=50, cohort=20, rounds=3).participations == 2
    assert planned("server", participations=5).participations == 5


@pytest.mark.parametrize(
    ("mechanism", "words"),
    [
        ("distributed", "at most 6 of the 14 clients in a sum colluding"),
        ("local", "everyone"),
        ("server", "not against the server"),
        ("correlated", "not against the server"),
    ],
)
def test_a_statement_names_its_adversary(mechanism: str, words: str) -> None:
    statement = planned(mechanism).statement()
    assert words in statement
    assert "delta = 0.001" in statement
    assert "per client" in statement


def test_example_level_privacy_has_no_such_plan() -> None:
    example = from_mapping({"name": "x", "privacy": {"unit": "example", "epsilon": 1.0, "delta": 1e-5}})
    with pytest.raises(PrivacyError, match="no client-level"):
        client_plan(example, SIZE)


def test_words_that_are_too_short_are_refused() -> None:
    short = experiment("distributed", epsilon=0.01, secure={"bits": 8})
    with pytest.raises(PrivacyError, match="8-bit"):
        client_plan(short, 10**6)
