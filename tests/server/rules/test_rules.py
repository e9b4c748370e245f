"""What all rules share: the choice by settings, the refusals, slices that do not show, bounded memory."""

import tracemalloc
from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from leptonic import experiment
from leptonic.errors import RunError
from leptonic_server.rules import Rule, rule_for
from leptonic_server.rules.rule import CELLS, columns

SETTINGS: list[experiment.Aggregation] = [
    experiment.MedianRule(rule="median"),
    experiment.TrimmedMeanRule(rule="trimmed_mean", trim=0.2),
    experiment.KrumRule(rule="krum", byzantine=1, select=1),
    experiment.KrumRule(rule="krum", byzantine=1, select=3),
    experiment.GeometricMedianRule(rule="geometric_median"),
]


def rules() -> list[Rule]:
    return [rule for rule in map(rule_for, SETTINGS) if rule is not None]


def draw(clients: int, size: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((clients, size)).astype(np.float32)


def test_the_mean_has_no_rule() -> None:
    assert rule_for(experiment.MeanRule(rule="mean")) is None


def test_every_other_setting_has_one() -> None:
    union = get_args(experiment.Aggregation)[0]
    names = {experiment.MeanRule, *(type(settings) for settings in SETTINGS)}
    assert names == set(get_args(union))
    assert len(rules()) == len(SETTINGS)


@pytest.mark.parametrize("rule", rules(), ids=repr)
def test_the_order_of_the_clients_does_not_matter(rule: Rule) -> None:
    updates = draw(9, 200)
    order = np.random.default_rng(1).permutation(9)
    straight, shuffled = rule.combine(updates), rule.combine(updates[order])
    np.testing.assert_allclose(shuffled.vector, straight.vector, rtol=1e-6, atol=1e-9)
    assert tuple(sorted(order[list(shuffled.kept)])) == straight.kept


@pytest.mark.parametrize("rule", rules(), ids=repr)
def test_equal_updates_come_back_exactly(rule: Rule) -> None:
    updates = np.repeat(draw(1, 50), 5, axis=0)
    combined = rule.combine(updates)
    np.testing.assert_allclose(combined.vector, updates[0], rtol=1e-7)
    assert combined.vector.dtype == np.float32


@pytest.mark.parametrize("rule", rules(), ids=repr)
def test_repeats_bit_for_bit_and_leaves_its_input_alone(rule: Rule) -> None:
    updates = draw(9, 3 * CELLS // 9 + 5)
    updates.flags.writeable = False
    assert rule.combine(updates).vector.tobytes() == rule.combine(updates).vector.tobytes()


@pytest.mark.parametrize("rule", rules(), ids=repr)
def test_a_huge_liar_does_not_move_the_result(rule: Rule) -> None:
    updates = draw(9, 40)
    updates[4] = 1e6
    assert np.abs(rule.combine(updates).vector).max() < 4


@pytest.mark.parametrize("rule", rules(), ids=repr)
def test_too_few_updates_are_refused(rule: Rule) -> None:
    assert rule.combine(draw(rule.needed, 4)).vector.shape == (4,)
    with pytest.raises(RunError, match=f"at least {rule.needed} updates, but {rule.needed - 1} arrived"):
        rule.combine(draw(rule.needed - 1, 4))


@pytest.mark.parametrize("rule", rules(), ids=repr)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_named(rule: Rule, bad: float) -> None:
    updates = draw(6, CELLS // 3)
    updates[2, -1] = bad
    with pytest.raises(RunError, match="update 2 "):
        rule.combine(updates)


@pytest.mark.parametrize("rule", rules(), ids=repr)
def test_a_single_vector_is_no_stack(rule: Rule) -> None:
    with pytest.raises(RunError, match=r"\(clients, parameters\), not \(4,\)"):
        rule.combine(draw(1, 4)[0])


@pytest.mark.parametrize("clients", [1, 3, 1000, 2 * CELLS])
@pytest.mark.parametrize("size", [0, 1, 123])
def test_slices_cover_each_column_once(clients: int, size: int) -> None:
    updates = np.broadcast_to(np.float32(0), (clients, size))
    covered = [column for part in columns(updates) for column in range(size)[part]]
    assert covered == list(range(size))


@pytest.mark.parametrize("rule", rules(), ids=repr)
def test_extra_memory_stays_bounded(rule: Rule) -> None:
    size = 300_000
    updates = draw(8, size)
    rule.combine(updates[:, :100])
    tracemalloc.start()
    rule.combine(updates)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    results = 12 * size  # the vector, and for Krum its float64 sum
    assert peak < results + 4 * 2**20
