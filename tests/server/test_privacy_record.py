"""What each round's record says of privacy."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leptonic.experiment import Experiment
from leptonic.experiment_file import from_mapping
from leptonic.pipeline import pipeline_for
from leptonic.privacy.client_level import client_plan
from leptonic_server.privacy_record import PrivacyRecords
from leptonic_server.store import ClientRecord, RoundRecord, RunStore

SIZE = 650
CLIENT = {"unit": "client", "epsilon": 6.0, "delta": 1e-4, "clip_norm": 0.5}


def experiment(privacy: dict[str, Any] | None, **sections: Any) -> Experiment:
    content = {
        "name": "x",
        "data": {"name": "digits"},
        "model": {"name": "logistic"},
        "federation": {"clients": 100, "cohort": 20},
        "training": {"rounds": 20},
        "aggregation": {"rule": "mean", "weighting": "uniform"},
    }
    return from_mapping({**content, **({"privacy": privacy} if privacy else {}), **sections})


def open_store(folder: Path, made: Experiment) -> RunStore:
    store = RunStore(folder)
    if store.run is None:
        store.begin("0" * 16, made, layout="l", mode="simulated", version="0")
    return store


def asked(*clients: int, status: str = "counted", epsilon: float | None = None) -> dict[int, ClientRecord]:
    return {client: ClientRecord(client, status, epsilon=epsilon) for client in clients}


def commit(store: RunStore, number: int, clients: dict[int, ClientRecord], privacy: dict[str, Any]) -> None:
    record = RoundRecord(number, 1, "", 0.1, len(clients), len(clients), 0, 0, {}, privacy=privacy)
    store.commit(record, {"model": np.zeros(1, dtype=np.float32)}, list(clients.values()))


def test_without_the_section_a_record_says_nothing(tmp_path: Path) -> None:
    made = experiment(None)
    store = open_store(tmp_path, made)
    assert PrivacyRecords(made, pipeline_for(made, SIZE), store).after(1, asked(1, 2)) == {}


def test_example_level_repeats_the_largest_that_clients_report(tmp_path: Path) -> None:
    made = experiment({"unit": "example", "epsilon": 3.0, "delta": 1e-5})
    store = open_store(tmp_path, made)
    records = PrivacyRecords(made, pipeline_for(made, SIZE), store)
    first = records.after(1, asked(1, 2, epsilon=1.5) | asked(3))
    assert (first["mechanism"], first["unit"], first["adjacency"]) == ("dp_sgd", "example", "add_or_remove")
    assert (first["accountant"], first["clip_norm"], first["delta"]) == ("prv", 1.0, 1e-5)
    assert first["epsilon"] == 1.5
    commit(store, 1, asked(1, 2, epsilon=1.5), first)
    assert records.after(2, asked(4, epsilon=0.5))["epsilon"] == 1.5
    assert PrivacyRecords(made, pipeline_for(made, SIZE), store).after(2, asked(4, epsilon=0.5))["epsilon"] == 1.5
    assert "joined" not in first


@pytest.mark.parametrize(
    ("privacy", "named"),
    [
        ({"mechanism": "distributed"}, {"local_deviation", "scale", "bits", "honest", "colluders", "noise"}),
        ({"mechanism": "local"}, {"local_deviation", "scale", "bits", "honest", "noise"}),
        ({"mechanism": "server"}, {"noise_multiplier"}),
        (
            {"mechanism": "server", "adaptive_clip": {}},
            {"noise_multiplier", "update_noise_multiplier", "bit_deviation"},
        ),
        ({"mechanism": "correlated", "band": 5}, {"noise_multiplier", "band"}),
    ],
)
def test_client_level_states_its_parameters(tmp_path: Path, privacy: dict[str, Any], named: set[str]) -> None:
    secure = {"secure_aggregation": {}} if privacy["mechanism"] == "distributed" else {}
    federation = {"federation": {"clients": 1000, "cohort": 100}} if "adaptive_clip" in privacy else {}
    made = experiment(CLIENT | privacy, **secure, **federation)
    store = open_store(tmp_path, made)
    record = PrivacyRecords(made, pipeline_for(made, SIZE), store).after(1, asked(1, 2))
    plan = client_plan(made, SIZE)
    always = {"mechanism", "unit", "adjacency", "against", "clip_norm", "delta", "accountant", "epsilon", "joined"}
    assert record.keys() >= named | always | {"target_epsilon", "participations", "denominator"}
    assert (record["unit"], record["adjacency"], record["accountant"]) == ("client", "zero_out", "rdp")
    assert record["epsilon"] == plan.epsilon(1)
    assert str(record["against"]) in plan.statement()


def test_client_level_counts_the_rounds_that_a_client_joins(tmp_path: Path) -> None:
    made = experiment(CLIENT | {"mechanism": "server"})
    store, plan = open_store(tmp_path, made), client_plan(made, SIZE)
    records = PrivacyRecords(made, pipeline_for(made, SIZE), store)
    said = []
    for number, clients in enumerate([asked(1, 2), asked(2, 3), asked(4, status="lost"), asked(2, 4)], start=1):
        said.append(records.after(number, clients))
        commit(store, number, clients, said[-1])
    assert [record["joined"] for record in said] == [1, 2, 2, 3]
    assert [record["epsilon"] for record in said] == [plan.epsilon(joined) for joined in (1, 2, 2, 3)]


def test_refusals_cost_nothing_and_rounds_in_vain_do(tmp_path: Path) -> None:
    """A client repeats its answer to a repeated round: that counts once."""
    made = experiment(CLIENT | {"mechanism": "server"})
    store = open_store(tmp_path, made)
    store.record_clients(1, 1, list(asked(1, 2, status="lost").values()))
    store.record_clients(1, 2, list(asked(1, status="late").values()))
    store.record_clients(1, 3, list(asked(7, status="refused").values()))
    records = PrivacyRecords(made, pipeline_for(made, SIZE), store)
    assert records.after(1, asked(1))["joined"] == 1
    assert records.after(2, asked(1))["joined"] == 2
    assert records.after(2, asked(8) | asked(7, status="refused"))["joined"] == 1


def test_a_clip_that_adapts_is_that_of_the_round(tmp_path: Path) -> None:
    made = experiment(CLIENT | {"mechanism": "server"})
    records = PrivacyRecords(made, pipeline_for(made, SIZE), open_store(tmp_path, made))
    assert records.after(1, asked(1))["clip_norm"] == 0.5
    assert records.after(2, asked(2), clip_norm=0.4)["clip_norm"] == 0.4


def test_no_more_than_the_noise_was_planned_for(tmp_path: Path) -> None:
    """Clients refuse beyond it, whatever they are asked."""
    made = experiment(CLIENT | {"mechanism": "server", "participations": 2})
    store = open_store(tmp_path, made)
    for number in range(1, 5):
        commit(store, number, asked(1), {})
    record = PrivacyRecords(made, pipeline_for(made, SIZE), store).after(5, asked(1))
    assert (record["joined"], record["epsilon"]) == (2, client_plan(made, SIZE).epsilon(2))


def test_a_client_that_assumes_more_colluders_says_more(tmp_path: Path) -> None:
    made = experiment(CLIENT | {"mechanism": "distributed"}, secure_aggregation={})
    store = open_store(tmp_path, made)
    assert PrivacyRecords(made, pipeline_for(made, SIZE), store).after(1, asked(1, epsilon=40.0))["epsilon"] == 40.0


rounds = st.lists(
    st.dictionaries(st.integers(0, 5), st.sampled_from(["counted", "late", "refused", "lost"]), min_size=1), max_size=6
)


@settings(max_examples=30)
@given(rounds, st.sets(st.integers(0, 5)))
def test_most_asked_by_counting(tmp_path_factory: pytest.TempPathFactory, played: Any, present: set[int]) -> None:
    store = open_store(tmp_path_factory.mktemp("run"), experiment(None))
    counts = dict.fromkeys(range(6), 0)
    for number, round_ in enumerate(played, start=1):
        store.record_clients(number, 1, [ClientRecord(client, status) for client, status in round_.items()])
        for client, status in round_.items():
            counts[client] += status != "refused"
    expected = max(counts[client] + (client in present) for client in counts)
    assert store.most_asked(len(played) + 1, present) == expected
    store.close()
