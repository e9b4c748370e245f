"""``[scenario]``: what it refuses, and that the hash of an experiment without one is what it always was."""

import json
from typing import Any

import pytest

from leptonic.errors import ExperimentError
from leptonic.experiment import Experiment
from leptonic.experiment_file import from_canonical, from_mapping


def made(**scenario: Any) -> Experiment:
    return from_mapping({"name": "x", "scenario": scenario})


def test_the_hash_without_a_scenario_is_that_of_the_first_version() -> None:
    plain = from_mapping({"name": "x"})
    assert plain.hash == "665e2520d262a5ab2f16e38e5b71d3b350f140b11c3ef2daa8ec1e6721e614bc"
    assert "scenario" not in json.loads(plain.canonical)


SCENARIOS: list[dict[str, Any]] = [
    {},
    {"availability": {}},
    {"availability": {"online": 0.4}},
    {"stragglers": {}},
    {"stragglers": {"jitter": 0.1}},
    {"drop_outs": {}},
    {"drop_outs": {"at": "after_training"}},
    {"liars": {"fraction": 0.2}},
    {"liars": {"clients": [0, 1]}},
    {"liars": {"fraction": 0.2, "attack": {"name": "gaussian"}}},
    {"liars": {"fraction": 0.2, "attack": {"name": "a_little_is_enough", "z": 1.5}}},
    {"asynchronous": {"concurrency": 5, "buffer": 2}},
    {"asynchronous": {"concurrency": 5, "buffer": 2, "max_staleness": 3}},
    {"asynchronous": {"concurrency": 5, "buffer": 2, "staleness_exponent": 0.0}},
]


def test_every_scenario_has_a_hash_of_its_own_and_round_trips() -> None:
    experiments = [made(**scenario) for scenario in SCENARIOS]
    assert len({one.hash for one in experiments} | {from_mapping({"name": "x"}).hash}) == len(SCENARIOS) + 1
    assert [from_canonical(one.canonical) for one in experiments] == experiments


@pytest.mark.parametrize(
    ("scenario", "said"),
    [
        ({"availability": {"online": 0.9}}, r"online \* \(1 \+ swing\)"),
        ({"availability": {"online": 0.0}}, "scenario.availability.online"),
        ({"stragglers": {"bytes_per_second": 0.0}}, "scenario.stragglers.bytes_per_second"),
        ({"drop_outs": {"at": "during_training"}}, "before_training"),
        ({"liars": {}}, "fraction, or by clients"),
        ({"liars": {"fraction": 0.1, "clients": [1]}}, "fraction, or by clients"),
        ({"liars": {"clients": [1, 1]}}, "named twice"),
        ({"liars": {"clients": [10]}}, "no client 10"),
        ({"liars": {"clients": list(range(10))}}, "all 10 clients lie"),
        ({"liars": {"fraction": 0.1, "attack": {"name": "sign_flop"}}}, "sign_flip"),
        ({"weather": {}}, "unknown key"),
        ({"asynchronous": {"concurrency": 5}}, "buffer"),
        ({"asynchronous": {"concurrency": 11, "buffer": 2}}, "asynchronous.concurrency = 11 is more than"),
        ({"asynchronous": {"concurrency": 5, "buffer": 11}}, "asynchronous.buffer = 11 is more than"),
        ({"asynchronous": {"concurrency": 5, "buffer": 2, "staleness_exponent": -1.0}}, "staleness_exponent"),
    ],
)
def test_a_wrong_scenario_is_refused(scenario: dict[str, Any], said: str) -> None:
    with pytest.raises(ExperimentError, match=said):
        made(**scenario)


def test_the_hash_of_a_scenario_with_rounds_does_not_know_of_others() -> None:
    assert "asynchronous" not in json.loads(made().canonical)["scenario"]


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"algorithm": {"name": "scaffold"}}, "control variates"),
        ({"algorithm": {"name": "feddyn"}}, "dual variable"),
        ({"algorithm": {"name": "fednova"}}, "local steps are normalised"),
        ({"aggregation": {"rule": "median"}}, "use rule = 'mean'"),
        ({"privacy": {"unit": "example", "epsilon": 8.0, "delta": 1e-5}}, "accounted by rounds"),
        ({"federation": {"over_selection": 0.5}}, "there are no rounds to invite for"),
        ({"federation": {"cohort": 5}}, "there are no rounds to invite for"),
        ({"federation": {"minimum": 5}}, "there are no rounds to invite for"),
    ],
)
def test_what_needs_rounds_is_refused_without_them(sections: dict[str, Any], said: str) -> None:
    scenario = {"asynchronous": {"concurrency": 5, "buffer": 2}}
    with pytest.raises(ExperimentError, match=said):
        from_mapping({"name": "x", "scenario": scenario, **sections})


@pytest.mark.parametrize("attack", ["a_little_is_enough", "inner_product"])
def test_liars_who_know_a_round_need_one(attack: str) -> None:
    liars = {"fraction": 0.1, "attack": {"name": attack}}
    with pytest.raises(ExperimentError, match="has no rounds: choose another attack"):
        made(liars=liars, asynchronous={"concurrency": 5, "buffer": 2})


def test_an_attack_on_the_mean_needs_updates_of_the_model_alone() -> None:
    liars = {"fraction": 0.1, "attack": {"name": "inner_product"}}
    with pytest.raises(ExperimentError, match="fedavg"):
        from_mapping({"name": "x", "algorithm": {"name": "scaffold"}, "scenario": {"liars": liars}})


@pytest.mark.parametrize(("liars", "count"), [({"fraction": 0.25}, 2), ({"clients": [3]}, 1), ({"fraction": 0.0}, 0)])
def test_it_counts_the_liars(liars: dict[str, Any], count: int) -> None:
    scenario = made(liars=liars).scenario
    assert scenario is not None
    assert scenario.liars is not None
    assert scenario.liars.count(8) == count
