"""Which strategies are summed, and what is said of the others; what an office needs."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid, strategy
from flwr.serverapp.strategy import FedAvg

from leptonic.errors import ExperimentError
from leptonic.identity import signing_key
from leptonic_server.flower import SecureAggregation
from leptonic_server.flower.summable import summable

FEW: dict[str, Any] = {"fraction_evaluate": 0.0, "min_train_nodes": 3, "min_available_nodes": 3}
SUMMABLE = {"FedAvg", "FedAvgM", "FedAdam", "FedAdagrad", "FedYogi", "FedProx"}
OTHERS = ["FedMedian", "FedTrimmedAvg", "Krum", "MultiKrum", "Bulyan", "QFedAvg", "FedXgbBagging", "FedXgbCyclic"]


def made(name: str) -> strategy.Strategy:
    more: dict[str, Any] = {"FedProx": {"proximal_mu": 0.1}, "QFedAvg": {"client_learning_rate": 0.1}}.get(name, {})
    if name == "Bulyan":
        more = {"num_malicious_nodes": 0}
    if name == "FedXgbCyclic":
        return strategy.FedXgbCyclic(fraction_evaluate=0.0, min_available_nodes=3)
    return getattr(strategy, name)(**FEW, **more)


@pytest.mark.parametrize("name", sorted(SUMMABLE))
def test_means_are_summed(name: str) -> None:
    assert summable(made(name), clear_evaluation=False)


@pytest.mark.parametrize("name", OTHERS)
def test_who_looks_at_single_replies_is_refused(name: str) -> None:
    with pytest.raises(ExperimentError, match=f"{name} looks at single replies"):
        summable(made(name), clear_evaluation=False)


def test_all_of_flowers_strategies_are_judged() -> None:
    """A new one of another version of Flower is looked at before it is taken."""
    private = {name for name in strategy.__all__ if name.startswith("DifferentialPrivacy")}
    assert set(strategy.__all__) == SUMMABLE | set(OTHERS) | private | {"Strategy", "Result"}
    wrapped = strategy.DifferentialPrivacyServerSideFixedClipping(FedAvg(**FEW), 1.0, 1.0, 3)
    with pytest.raises(ExperimentError, match="single replies"):
        summable(wrapped, clear_evaluation=False)


class Saving(FedAvg):
    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        return super().aggregate_train(server_round, replies)


class Tuned(FedAvg):
    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        return super().configure_train(server_round, arrays, config, grid)


def own_metrics(replies: list[RecordDict], key: str) -> MetricRecord:
    return MetricRecord()


def test_a_subclass_is_summed_where_it_leaves_the_gathering_alone() -> None:
    assert summable(Tuned(**FEW), clear_evaluation=False)
    with pytest.raises(ExperimentError, match="override that of SecureAggregation"):
        summable(Saving(**FEW), clear_evaluation=False)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"train_metrics_aggr_fn": own_metrics}, "train_metrics_aggr_fn"),
        ({"min_train_nodes": 2}, "set min_train_nodes"),
        ({"fraction_evaluate": 1.0}, "in the clear"),
    ],
)
def test_settings_that_would_break_a_promise_are_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ExperimentError, match=says):
        summable(FedAvg(**{**FEW, **changes}), clear_evaluation=False)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "needs roster= .* simulated_keys=True"),
        ({"roster": "r"}, "needs roster="),
        ({"simulated_keys": True, "key": "k"}, "protect nobody"),
        ({"simulated_keys": True, "bits": 40}, "bits"),
        ({"simulated_keys": True, "colluders": -1}, "colluders"),
        ({"simulated_keys": True, "weight_cap": 0}, "weight_cap"),
        ({"simulated_keys": True, "update_range": float("nan")}, "update_range"),
    ],
)
def test_what_is_missing_or_wrong_is_said(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ExperimentError, match=says):
        SecureAggregation(FedAvg(**FEW), **given)


def test_a_roster_has_to_be_signed(tmp_path: Path) -> None:
    (tmp_path / "clients.toml").write_text(f'[clients]\na = "{"ab" * 32}"\n')
    signing_key(tmp_path / "key", "the coordinator's")
    with pytest.raises(ExperimentError, match="leptonic roster sign"):
        SecureAggregation(FedAvg(**FEW), roster=tmp_path / "clients.toml", key=tmp_path / "key")
