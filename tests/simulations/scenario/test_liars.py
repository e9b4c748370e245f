"""Liars in whole rounds: what reaches the server is what the attack says, by every engine alike."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.simulations.small import TRAINING, experiment

from leptonic.experiment import Experiment
from leptonic.update import Vector
from leptonic_server.accumulator import EachUpdate
from leptonic_simulations.clients import FederatedData, SimulatedClients
from leptonic_simulations.run import simulate
from leptonic_simulations.scenario.lies import hidden_deviations

FIVE: dict[str, Any] = {"federation": {"clients": 5, "minimum": 5}, "aggregation": {"rule": "median"}}


def lying(attack: dict[str, Any], **sections: Any) -> Experiment:
    liars = {"clients": [1, 3], "attack": attack}
    return experiment(**{**FIVE, "training": {**TRAINING, "rounds": 1}, "scenario": {"liars": liars}, **sections})


def updates(made: Experiment, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[int, Vector]:
    """What each client's update is when it reaches the rule, in the last round."""
    seen: dict[int, Vector] = {}
    add = EachUpdate.add

    def watched(each: EachUpdate, client: int, contribution: Any) -> None:
        seen[client] = each._pipeline.decode(contribution).vectors["model"]
        add(each, client, contribution)

    with monkeypatch.context() as patched:
        patched.setattr(EachUpdate, "add", watched)
        simulate(made, folder=folder, quiet=True)
    return seen


@pytest.fixture
def honest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[int, Vector]:
    made = experiment(**FIVE, training={**TRAINING, "rounds": 1})
    return updates(made, tmp_path / "honest", monkeypatch)


@pytest.mark.parametrize(
    ("attack", "factor"),
    [({"name": "sign_flip"}, -1.0), ({"name": "sign_flip", "factor": 3.0}, -3.0), ({"name": "scale"}, 10.0)],
)
def test_liars_by_themselves(
    honest: dict[int, Vector], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attack: dict[str, Any], factor: float
) -> None:
    sent = updates(lying(attack), tmp_path / "run", monkeypatch)
    for client in (0, 2, 4):
        assert np.array_equal(sent[client], honest[client])
    for client in (1, 3):
        assert sent[client] == pytest.approx(np.clip(factor * honest[client], -8, 8), abs=1e-6)


def test_gaussian_liars_differ_from_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = updates(lying({"name": "gaussian", "deviation": 0.5}), tmp_path / "run", monkeypatch)
    assert sent[1].std() == pytest.approx(0.5, rel=0.2)
    assert abs(np.corrcoef(sent[1], sent[3])[0, 1]) < 0.25


@pytest.mark.parametrize("rule", ["median", "mean"])
def test_a_little_is_enough_follows_the_honest_of_the_round(
    honest: dict[int, Vector], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: str
) -> None:
    sent = updates(lying({"name": "a_little_is_enough"}), tmp_path / "run", monkeypatch)
    known = np.stack([honest[client] for client in (0, 2, 4)]).astype(np.float64)
    expected = known.mean(axis=0) - hidden_deviations(5, 2) * known.std(axis=0)
    for client in (1, 3):
        assert sent[client] == pytest.approx(expected, abs=1e-6)
    assert hidden_deviations(5, 2) > 0.4


def test_inner_product_follows_the_honest_of_the_round(
    honest: dict[int, Vector], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = updates(lying({"name": "inner_product", "factor": 2.0}), tmp_path / "run", monkeypatch)
    expected = -2 * np.mean([honest[client] for client in (0, 2, 4)], axis=0)
    for client in (1, 3):
        assert sent[client] == pytest.approx(expected, abs=1e-6)


def test_label_flippers_train_on_flipped_labels_and_others_on_their_own(tmp_path: Path) -> None:
    made = lying({"name": "label_flip"})
    data = FederatedData.of(made)
    clients = SimulatedClients(made, tmp_path, data)
    for index in range(5):
        own = clients.client(index).data
        rows = torch.from_numpy(data.rows[index])
        expected = 9 - data.labels[rows] if index in (1, 3) else data.labels[rows]
        assert torch.equal(own.batch(torch.arange(len(own)))[1], expected)
    clients.close()


def test_who_lies_does_not_depend_on_how(tmp_path: Path) -> None:
    def liars(seed: int, name: str) -> frozenset[int]:
        scenario = {"liars": {"fraction": 0.3, "attack": {"name": name}}}
        made = experiment(seed=seed, federation={"clients": 20}, scenario=scenario)
        clients = SimulatedClients(made, tmp_path / f"{seed}-{name}", FederatedData.of(made))
        clients.close()
        return clients.liars

    assert liars(1, "sign_flip") == liars(1, "gaussian") != liars(2, "gaussian")
    assert len(liars(1, "sign_flip")) == 6


ATTACKS = ["sign_flip", "scale", "label_flip", "gaussian", "a_little_is_enough", "inner_product"]


@pytest.mark.parametrize("attack", ATTACKS)
def test_every_attack_repeats_and_moves_the_model_elsewhere(tmp_path: Path, attack: str) -> None:
    made = lying({"name": attack}, aggregation={"rule": "mean"})
    first, again = (simulate(made, folder=tmp_path / name, quiet=True) for name in ("first", "again"))
    assert first.model_sha256 == again.model_sha256
    plain = experiment(**{**FIVE, "aggregation": {"rule": "mean"}}, training={**TRAINING, "rounds": 1})
    assert simulate(plain, folder=tmp_path / "plain", quiet=True).model_sha256 != first.model_sha256


@pytest.mark.slow
@pytest.mark.parametrize("attack", ["label_flip", "gaussian", "a_little_is_enough"])
def test_the_processes_engine_lies_with_the_same_bits(tmp_path: Path, attack: str) -> None:
    made = lying({"name": attack}, aggregation={"rule": "mean"})
    many = lying({"name": attack}, aggregation={"rule": "mean"}, simulation={"engine": "processes", "workers": 2})
    results = [simulate(each, folder=tmp_path / str(n), quiet=True) for n, each in enumerate((made, many))]
    assert results[0].model_sha256 == results[1].model_sha256


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_batched_engine_lies_as_well(tmp_path: Path, attack: str) -> None:
    results = []
    for engine in ("sequential", "batched"):
        made = lying({"name": attack}, simulation={"engine": engine}, training={**TRAINING, "rounds": 2})
        results.append(simulate(made, folder=tmp_path / engine, quiet=True))
    assert results[0].accuracy == pytest.approx(results[1].accuracy, abs=0.02)


def test_liars_among_stragglers_are_late_as_others_and_a_round_of_liars_alone_goes_on(tmp_path: Path) -> None:
    stragglers = {"examples_per_second": 50.0, "compute_spread": 1.0, "bytes_per_second": 1e6}
    liars = {"fraction": 0.6, "attack": {"name": "inner_product"}}
    federation = {"clients": 10, "cohort": 1, "over_selection": 1.0, "deadline": 60.0}
    scenario = {"stragglers": stragglers, "liars": liars}
    made = experiment(federation=federation, scenario=scenario, training={**TRAINING, "rounds": 6})
    assert simulate(made, folder=tmp_path / "run", quiet=True).rounds == 6
