"""Sums of contributions against sums made with NumPy, in any order of arrival."""

from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leptonic.experiment_file import from_mapping
from leptonic.pipeline import Contribution, Pipeline, pipeline_for
from leptonic.update import LocalUpdate, Mean
from leptonic_server.accumulator import EachUpdate, StreamingSum, accumulator_for
from leptonic_server.rules import rule_for

SIZE = 5
SUMS = {"train_loss": 1.5, "train_correct": 2.0, "train_examples": 4.0}


def settings(clients: int = 6, **aggregation: Any) -> Any:
    return from_mapping(
        {
            "name": "x",
            "data": {"name": "digits"},
            "model": {"name": "logistic"},
            "federation": {"clients": clients},
            "aggregation": {"rule": "mean", **aggregation},
        }
    )


def updates(count: int, seed: int = 0) -> list[LocalUpdate]:
    random = np.random.default_rng(seed)
    vectors = random.normal(0, 1, (count, SIZE)).astype(np.float32)
    return [
        LocalUpdate({"model": vector}, weight=float(weight), sums=SUMS)
        for vector, weight in zip(vectors, random.integers(1, 100, count), strict=True)
    ]


def contributions(pipeline: Pipeline, made: list[LocalUpdate]) -> list[Contribution]:
    return [pipeline.from_bytes(pipeline.encode(update).to_bytes()) for update in made]


def mean_of(experiment: Any, made: list[LocalUpdate], order: list[int] | None = None) -> Mean:
    pipeline = pipeline_for(experiment, SIZE)
    total = accumulator_for(pipeline, rule_for(experiment.aggregation))
    encoded = contributions(pipeline, made)
    for client in order or range(len(made)):
        total.add(client, encoded[client])
    return total.result()


def test_the_mean_is_weighted_by_examples() -> None:
    made = updates(6)
    weights = np.array([update.weight for update in made])
    expected = weights @ np.stack([update.vectors["model"] for update in made]) / weights.sum()
    mean = mean_of(settings(), made)
    np.testing.assert_allclose(mean.vectors["model"], expected, atol=1e-4)
    assert mean.count == 6
    assert mean.sums["train_loss"] == 9.0
    assert mean.sums["weight"] == weights.sum()


def test_the_uniform_mean_weighs_everyone_the_same() -> None:
    made = updates(6)
    expected = np.mean([update.vectors["model"] for update in made], axis=0)
    np.testing.assert_allclose(mean_of(settings(weighting="uniform"), made).vectors["model"], expected, atol=1e-6)


RULES: list[dict[str, Any]] = [
    {"rule": "mean"},
    {"rule": "mean", "weighting": "uniform"},
    {"rule": "median"},
    {"rule": "trimmed_mean", "trim": 0.2},
    {"rule": "krum", "byzantine": 1},
    {"rule": "geometric_median"},
]


@given(order=st.randoms(use_true_random=False), rule=st.sampled_from(RULES))
def test_the_order_of_arrival_does_not_matter_to_the_last_bit(order: Random, rule: dict[str, Any]) -> None:
    experiment, made, shuffled = settings(12, **rule), updates(12), list(range(12))
    order.shuffle(shuffled)
    plain, mixed = mean_of(experiment, made), mean_of(experiment, made, shuffled)
    assert plain.vectors["model"].tobytes() == mixed.vectors["model"].tobytes()
    assert plain.sums == mixed.sums


def test_a_robust_rule_sees_every_single_update() -> None:
    made = updates(5)
    made[3] = LocalUpdate({"model": np.full(SIZE, 7.9, np.float32)}, weight=1.0, sums=SUMS)
    expected = np.median([update.vectors["model"] for update in made], axis=0)
    mean = mean_of(settings(5, rule="median"), made)
    np.testing.assert_allclose(mean.vectors["model"], expected, atol=1e-6)
    assert mean.count == 5
    assert mean.sums["train_correct"] == 10.0


def test_the_mean_holds_one_vector_whatever_the_cohort_and_a_rule_holds_all() -> None:
    mean, median = settings(5), settings(5, rule="median")
    assert isinstance(accumulator_for(pipeline_for(mean, SIZE), rule_for(mean.aggregation)), StreamingSum)
    assert isinstance(accumulator_for(pipeline_for(median, SIZE), rule_for(median.aggregation)), EachUpdate)


def test_adding_does_not_change_what_was_received() -> None:
    """In a simulation the contribution is the client's own memory."""
    pipeline = pipeline_for(settings(), SIZE)
    encoded = [pipeline.encode(update).to_bytes() for update in updates(3)]
    copies = [bytes(part) for part in encoded]
    total = StreamingSum(pipeline)
    for client, part in enumerate(encoded):
        total.add(client, pipeline.from_bytes(part))
    assert encoded == copies


def test_a_fresh_accumulator_is_empty() -> None:
    pipeline = pipeline_for(settings(), SIZE)
    for _ in range(2):
        total = StreamingSum(pipeline)
        total.add(0, contributions(pipeline, updates(1))[0])
        assert total.result().count == 1


@pytest.mark.parametrize("rule", RULES)
def test_memory_of_a_payload_may_be_taken_back_after_the_result(rule: dict[str, Any]) -> None:
    experiment, made = settings(12, **rule), updates(12)
    pipeline = pipeline_for(experiment, SIZE)
    total = accumulator_for(pipeline, rule_for(experiment.aggregation))
    buffers = [bytearray(pipeline.encode(update).to_bytes()) for update in made]
    for client, buffer in enumerate(buffers):
        total.add(client, pipeline.from_bytes(memoryview(buffer)))
    result = total.result()
    expected = result.vectors["model"].copy()
    for buffer in buffers:
        buffer[:] = bytes(len(buffer))
    assert (result.vectors["model"] == expected).all()
