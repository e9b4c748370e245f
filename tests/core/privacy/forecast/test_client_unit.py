import json
import math
from typing import Any

import numpy as np
import pytest
from scipy.optimize import brentq, minimize_scalar

from leptonic.errors import PrivacyError
from leptonic.experiment import Experiment
from leptonic.experiment_file import from_mapping
from leptonic.privacy.distributed import DistributedMechanism
from leptonic.privacy.distributed_calibration import scale_for
from leptonic.privacy.forecast import ClientForecast, forecast_clients
from leptonic.privacy.forecast.client_unit import inflation, wrap_chance
from leptonic.privacy.forecast.wording import json_of
from leptonic.randomness import SecureStream

SECURE = {"secure_aggregation": {"bits": 20, "colluders": 33}}


def made(mechanism: str, *, rounds: int = 20, privacy: dict[str, Any] | None = None, **sections: Any) -> Experiment:
    section = {"unit": "client", "mechanism": mechanism, "epsilon": 8.0, "delta": 1e-4, "clip_norm": 0.5}
    content: dict[str, Any] = {
        "name": "x",
        "federation": {"clients": 1000, "cohort": 100},
        "training": {"rounds": rounds},
        "aggregation": {"rule": "mean", "weighting": "uniform"},
        "privacy": {**section, **(privacy or {})},
        **(SECURE if mechanism == "distributed" else {}),
    }
    return from_mapping({**content, **sections})


def gaussian_multiplier(epsilon: float, delta: float, releases: int) -> float:
    """By Renyi divergences at every real order; the grid's whole ones ask for up to 1.2 % more."""

    def spent(multiplier: float) -> float:
        def at(order: float) -> float:
            renyi = releases * order / (2 * multiplier**2)
            return renyi + math.log1p(-1 / order) - math.log(order * delta) / (order - 1)

        return float(minimize_scalar(at, bounds=(1.01, 500), method="bounded").fun)

    return float(brentq(lambda multiplier: spent(multiplier) - epsilon, 0.1, 100))


def mechanism_at(log_dimension: int, bits: int) -> DistributedMechanism:
    """z = 1 and 100 clients, each of whom adds noise of c / 10."""
    size = 2**log_dimension
    scale = scale_for(dimension=size, clip_norm=1.0, local_deviation=0.1, bits=bits, invited=100)
    return DistributedMechanism(size, 1.0, scale, 0.1, bits, 100.0)


@pytest.mark.parametrize(
    ("log_dimension", "bits", "longer"), [(20, 14, 1.031), (20, 16, 1.002), (27, 14, 3.0), (27, 16, 1.225)]
)
def test_inflation_by_rounding(log_dimension: int, bits: int, longer: float) -> None:
    assert inflation(mechanism_at(log_dimension, bits)) == pytest.approx(longer, abs=6e-4)


def test_a_wrap_lies_beyond_four_deviations() -> None:
    assert wrap_chance(mechanism_at(20, 16), 100) == pytest.approx(6.334e-5, rel=1e-3)


def test_wraps_come_as_often_as_said() -> None:
    """Twenty clients with one update, at a scale so large that one coordinate in twenty leaves its words."""
    size, invited = 4096, 20
    scale = 2 * scale_for(dimension=size, clip_norm=1.0, local_deviation=0.02, bits=12, invited=invited)
    mechanism = DistributedMechanism(size, 1.0, scale, 0.02, 12, float(invited))
    stream = SecureStream()
    update = np.random.default_rng(3).normal(size=size)
    total = sum(mechanism.integers(update, bytes(32), stream) + mechanism.share(stream) for _ in range(invited))
    outside = float((np.abs(np.asarray(total)) >= 2**11).mean())
    assert wrap_chance(mechanism, invited) == pytest.approx(math.erfc(2 / math.sqrt(2)), rel=0.01)
    assert outside == pytest.approx(wrap_chance(mechanism, invited), abs=0.02)


def test_server_noise_is_z_clip_over_m() -> None:
    forecast = forecast_clients(made("server", rounds=100), 4096)
    multiplier = gaussian_multiplier(8.0, 1e-4, releases=10)
    assert multiplier <= float(forecast.stated["noise_multiplier"]) <= 1.012 * multiplier
    assert forecast.signal.deviation == pytest.approx(multiplier * 0.5 / 100, rel=0.012)
    assert forecast.signal.per_round == pytest.approx(multiplier * 64 / 100, rel=0.012)
    assert forecast.signal.over_run == pytest.approx(forecast.signal.per_round / 10)


def test_local_noise_is_louder_by_the_root_of_the_cohort() -> None:
    local, server = (forecast_clients(made(mechanism), 1000) for mechanism in ("local", "server"))
    assert local.signal.per_round == pytest.approx(10 * server.signal.per_round, rel=2e-3)


def test_distributed_noise_counts_on_the_honest_alone() -> None:
    """34 of 67 certain survivors add what the server would; the others' noise comes on top."""
    distributed, server = (forecast_clients(made(mechanism), 1000) for mechanism in ("distributed", "server"))
    louder = math.sqrt(100 / 34)
    assert distributed.signal.per_round == pytest.approx(louder * server.signal.per_round, rel=2e-3)


def test_what_collusion_costs() -> None:
    """Calibrated with 33 of 67 survivors colluding: 3.31 without colluders is 4.96 with them."""
    forecast = forecast_clients(made("distributed", rounds=1, privacy={"epsilon": 4.96}), 10**6)
    rows = {row.colluders: row for row in forecast.collusion}
    assert list(rows) == [0, 23, 33, 66]
    assert rows[0].epsilon == pytest.approx(3.31, abs=0.005)
    assert rows[33].epsilon == pytest.approx(4.96, abs=0.005)
    assert [row.honest for row in rows.values()] == [67, 44, 34, 1]
    own = rows[33].noise
    assert own == forecast.stated["local_deviation"]
    assert rows[0].noise == pytest.approx(own and own * math.sqrt(34 / 67), rel=1e-3)
    assert rows[66].noise == pytest.approx(own and own * math.sqrt(34), rel=1e-3)


@pytest.mark.parametrize("mechanism", ["server", "local", "correlated"])
def test_without_secure_aggregation_collusion_changes_nothing(mechanism: str) -> None:
    band = {"band": 5} if mechanism == "correlated" else {}
    assert forecast_clients(made(mechanism, privacy=band), 1000).collusion == ()


def test_a_client_pays_when_it_joins() -> None:
    forecast = forecast_clients(made("server", rounds=40), 1000)
    assert [point.joined for point in forecast.curve] == [1] * 10 + [2] * 10 + [3] * 10 + [4] * 10
    assert forecast.curve[-1].epsilon == forecast.epsilon == pytest.approx(8.0, rel=1e-3)
    assert forecast.curve[0].epsilon == forecast.curve[9].epsilon < forecast.curve[10].epsilon


def test_correlated_noise_is_one_mechanism_and_pays_over_the_run() -> None:
    forecast = forecast_clients(made("correlated", rounds=100, privacy={"band": 10}), 1000)
    assert [point.epsilon for point in forecast.curve] == sorted(point.epsilon for point in forecast.curve)
    assert forecast.curve[-1].epsilon == forecast.epsilon == pytest.approx(8.0, rel=1e-3)
    assert forecast.stated["noise_multiplier"] == pytest.approx(gaussian_multiplier(8.0, 1e-4, 1), rel=0.012)
    assert forecast.against_fresh is not None
    assert forecast.against_fresh < 1


def test_targets_stand_beside_the_own_one() -> None:
    forecast = forecast_clients(made("server"), 1000, epsilons=[1.0, 8.0])
    assert [target.epsilon for target in forecast.targets] == [1.0, 8.0]
    assert forecast.targets[0].noise == pytest.approx(gaussian_multiplier(1.0, 1e-4, 2), rel=5e-3)
    assert forecast.targets[1].signal == forecast.signal


def test_another_target_that_cannot_be_met_says_why() -> None:
    adaptive = made("server", federation={"clients": 1000, "cohort": 20}, privacy={"adaptive_clip": {}})
    impossible = forecast_clients(adaptive, 1000, epsilons=[0.5]).targets[0]
    assert impossible.noise is impossible.signal is None
    assert "invite more clients" in str(impossible.impossible)


def test_the_own_target_is_refused_if_it_cannot_be_met() -> None:
    few_bits = made("distributed", secure_aggregation={"bits": 8}, privacy={"epsilon": 0.1})
    with pytest.raises(PrivacyError, match="raise the bits"):
        forecast_clients(few_bits, 10**6)


def said(forecast: ClientForecast) -> str:
    return "\n".join(forecast.warnings)


def test_a_good_plan_has_no_warnings() -> None:
    assert forecast_clients(made("server", privacy={"delta": 1e-5}), 1000).warnings == ()


def test_loud_noise_says_which_cohort_would_do() -> None:
    """Of as many clients as it names, the noise is as long as the clip."""
    loud = forecast_clients(made("server"), 10**6)
    cohort = math.ceil(100 * loud.signal.per_round)
    assert f"some {cohort:,} clients" in said(loud)
    enough = made("server", federation={"clients": 10 * cohort, "cohort": cohort}, privacy={"delta": 1e-4})
    assert forecast_clients(enough, 10**6).signal.per_round == pytest.approx(1, rel=1e-3)
    model = math.floor(10**6 / loud.signal.per_round**2)
    assert f"some {model:,} parameters" in said(loud)
    assert forecast_clients(made("server"), model).signal.per_round == pytest.approx(1, rel=1e-3)


def test_loud_local_noise_falls_with_the_root_of_the_cohort() -> None:
    loud = forecast_clients(made("local"), 1000)
    cohort = math.ceil(100 * loud.signal.per_round**2)
    assert f"some {cohort:,} clients" in said(loud)
    privacy = {"delta": 1e-6}
    wider = made("local", federation={"clients": 10 * cohort, "cohort": cohort}, privacy=privacy)
    same = forecast_clients(made("local", privacy=privacy), 1000)
    assert forecast_clients(wider, 1000).signal.per_round == pytest.approx(
        same.signal.per_round / loud.signal.per_round, rel=1e-2
    )


def test_few_clients_large_delta_and_too_few_participations_are_said() -> None:
    few = made("server", federation={"clients": 30}, privacy={"delta": 1e-2, "epsilon": 2.0, "participations": 5})
    text = said(forecast_clients(few, 100))
    assert "some 100 clients" in text
    assert "a chance of 0.3" in text
    assert "Set it to 0.003 or less" in text
    assert "privacy.participations = 5, and all rounds take 20 turns" in text


def test_a_small_cohort_with_adaptive_clip_is_said() -> None:
    adaptive = made("server", federation={"clients": 1000, "cohort": 50}, privacy={"epsilon": 1.0, "adaptive_clip": {}})
    assert "a fixed clip is likely to do better" in said(forecast_clients(adaptive, 10))


@pytest.mark.parametrize("mechanism", ["server", "local", "correlated", "distributed"])
def test_json_holds_the_forecast(mechanism: str) -> None:
    band = {"band": 5} if mechanism == "correlated" else {}
    forecast = forecast_clients(made(mechanism, privacy=band), 1000)
    content = json.loads(json_of(forecast))
    assert content["stated"] == forecast.stated
    assert content["epsilon"] == forecast.epsilon
    assert content["curve"][-1] == {"round": 20, "joined": 2, "epsilon": forecast.epsilon}
    assert content["statement"] == forecast.statement
