"""What a run leaves for people: derived from the store, the same after a resume, true to what was committed."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from leptonic.experiment import Experiment
from leptonic.experiment_file import from_mapping
from leptonic_server.evaluation import Evaluator
from leptonic_server.outputs import Outputs, result_of
from leptonic_server.store import RoundRecord, RunStore


def experiment(**outputs: Any) -> Experiment:
    return from_mapping(
        {
            "name": "x",
            "data": {"name": "digits"},
            "model": {"name": "logistic"},
            "evaluation": {"on": []},
            "outputs": {"report": False, "tensorboard": False, **outputs},
        }
    )


@pytest.fixture(scope="module")
def evaluator() -> Evaluator:
    return Evaluator(experiment())


@pytest.fixture
def store(tmp_path: Path, evaluator: Evaluator) -> Iterator[RunStore]:
    made = RunStore(tmp_path)
    made.begin("0123456789abcdef", experiment(), layout=evaluator.layout.hash, mode="simulated", version="0")
    yield made
    made.close()


def record(number: int, **changes: Any) -> RoundRecord:
    fields: dict[str, Any] = {
        "round": number,
        "attempt": 1,
        "model_sha256": f"{number:064x}",
        "learning_rate": 0.1,
        "cohort": 3,
        "survivors": 2,
        "bytes_down": 100,
        "bytes_up": 10,
        "seconds": {"collect": 1.5, "evaluate": 0.5},
        "metrics": {"loss": 1.0, "accuracy": number / 10},
    }
    return RoundRecord(**{**fields, **changes})


def commit(store: RunStore, made: RoundRecord, value: float = 0.0) -> None:
    store.commit(made, {"model": np.full(650, value, np.float32)}, [])


def lines(store: RunStore) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (store.folder / "metrics.jsonl").read_text().splitlines()]


def test_metrics_have_a_line_for_every_committed_round(store: RunStore) -> None:
    outputs = Outputs(experiment(), store)
    for number in range(3):
        commit(store, record(number))
        outputs.round_committed(record(number))
    assert [line["round"] for line in lines(store)] == [0, 1, 2]
    assert lines(store)[2]["metrics"] == {"loss": 1.0, "accuracy": 0.2}
    assert lines(store)[2]["survivors"] == 2


def test_after_a_kill_the_metrics_are_those_of_the_committed_rounds(store: RunStore) -> None:
    """Killed after a commit and before its line, or in the middle of one."""
    commit(store, record(0))
    commit(store, record(1))
    path = store.folder / "metrics.jsonl"
    path.write_text('{"round": 0}\n{"round": 1, "metr')
    Outputs(experiment(), store)
    assert [line["round"] for line in lines(store)] == [0, 1]


def test_the_resolved_experiment_lies_beside_the_run(store: RunStore) -> None:
    made = experiment()
    Outputs(made, store)
    assert from_mapping(json.loads((store.folder / "experiment.json").read_text())).hash == made.hash


def test_the_model_file_is_that_of_the_last_round_and_has_its_hash(store: RunStore, evaluator: Evaluator) -> None:
    outputs = Outputs(experiment(), store)
    for number in range(2):
        vector = np.full(650, number, np.float32)
        commit(store, record(number, model_sha256=evaluator.model_sha256(vector)), number)
    result = outputs.finish(evaluator)
    content = (store.folder / "model.safetensors").read_bytes()
    assert hashlib.sha256(content).hexdigest() == result.model_sha256
    tensors = safetensors.numpy.load(content)
    assert {name: tensor.shape for name, tensor in tensors.items()} == {
        "output.weight": (10, 64),
        "output.bias": (10,),
    }
    assert all((tensor == 1).all() for tensor in tensors.values())


def test_the_result_adds_up_what_was_committed(store: RunStore) -> None:
    for number, accuracy in enumerate((0.1, 0.9, 0.5)):
        commit(store, record(number, metrics={"accuracy": accuracy}, epsilon=number or None))
    result = result_of(store)
    assert (result.accuracy, result.best_accuracy, result.rounds) == (0.5, 0.9, 2)
    assert (result.bytes_up, result.bytes_down, result.seconds) == (30, 300, 6.0)
    assert result.epsilon == 2
    assert result.run_dir == str(store.folder.resolve())
    assert json.loads(result.to_json()).keys() == {
        "accuracy",
        "best_accuracy",
        "seeded_noise",
        "model_sha256",
        "rounds",
        "seconds",
        "bytes_up",
        "bytes_down",
        "epsilon",
        "delta",
        "unit",
        "against",
        "run_dir",
    }


def test_without_test_data_there_is_no_accuracy(store: RunStore) -> None:
    commit(store, record(0, metrics={}))
    assert result_of(store).accuracy is None
    assert result_of(store).best_accuracy is None


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_metrics_that_are_not_numbers_are_still_json(store: RunStore, value: float) -> None:
    """A diverged model has such a loss; other programs read these lines."""
    commit(store, record(0, metrics={"loss": value}))
    outputs = Outputs(experiment(), store)
    outputs.round_committed(record(0, metrics={"loss": value}))

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    for line in (store.folder / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=refuse)


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "events"))
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_events_of_a_resumed_run_are_those_of_an_unbroken_one(store: RunStore) -> None:
    with_events = experiment(tensorboard=True)
    outputs = Outputs(with_events, store)
    for number in range(3):
        commit(store, record(number))
        outputs.round_committed(record(number, metrics={"accuracy": number / 10}, train={"loss": 1.0}))
    outputs.round_committed(record(3, metrics={"accuracy": 9.0}))  # was never committed: killed before
    outputs.close()
    resumed = Outputs(with_events, store)
    commit(store, record(3))
    resumed.round_committed(record(3, metrics={"accuracy": 0.3}))
    resumed.close()
    found = scalars(store.folder)
    assert [step for step, _ in found["server/accuracy"]] == [0, 1, 2, 3]
    assert found["server/accuracy"][3][1] == pytest.approx(0.3)
    assert {"server/accuracy", "train/loss", "seconds/collect", "round/bytes_up", "round/learning_rate"} <= set(found)
