"""Attack vectors against numbers computed by hand, and moments that do not depend on the order."""

import math

import numpy as np
import pytest

from leptonic.experiment import ALittleIsEnough, GaussianUpdate, InnerProduct, LabelFlip, Scale, SignFlip
from leptonic.integers import Lattice
from leptonic_simulations.scenario.lies import Moments, hidden_deviations, lie, lie_from, needs_the_honest

UPDATE = np.array([1.0, -2.0, 0.5], np.float32)
HONEST = [[1.0, 0.0, -1.0], [2.0, 0.0, 1.0], [3.0, 0.0, 3.0], [2.0, 0.0, 1.0]]
"""Means 2, 0, 1; variances (1 + 0 + 1 + 0) / 4 = 1/2, 0, (4 + 0 + 4 + 0) / 4 = 2."""


def draw() -> np.random.Generator:
    return np.random.default_rng(0)


def honest(updates: list[list[float]]) -> Moments:
    moments = Moments(Lattice(range=8.0, clients=10), 3)
    for update in updates:
        moments.add(np.array(update, np.float32))
    return moments


def test_sign_flip_and_scale() -> None:
    attack = SignFlip(name="sign_flip", factor=3.0)
    assert lie(attack, {"model": UPDATE}, draw())["model"].tolist() == [-3.0, 6.0, -1.5]
    scaled = lie(Scale(name="scale", factor=10.0), {"model": UPDATE, "control": 2 * UPDATE}, draw())
    assert scaled["model"].tolist() == [10.0, -20.0, 5.0]
    assert scaled["control"].tolist() == [20.0, -40.0, 10.0]
    assert scaled["model"].dtype == np.float32


def test_a_label_flipper_lies_by_its_data_alone() -> None:
    assert lie(LabelFlip(name="label_flip"), {"model": UPDATE}, draw())["model"] is UPDATE


def test_gaussian_noise_has_the_stated_deviation_and_nothing_of_the_update() -> None:
    attack = GaussianUpdate(name="gaussian", deviation=0.2)
    one, other = (lie(attack, {"model": np.full(40_000, c, np.float32)}, draw())["model"] for c in (0.0, 9.0))
    assert np.array_equal(one, other)
    assert one.dtype == np.float32
    assert one.mean() == pytest.approx(0, abs=5 * 0.2 / 200)
    assert one.std() == pytest.approx(0.2, rel=5 / math.sqrt(80_000))


def test_a_little_is_enough_is_so_many_deviations_off_the_mean() -> None:
    attack = ALittleIsEnough(name="a_little_is_enough", z=1.5)
    vector = lie_from(attack, honest(HONEST), clients=6, liars=2)
    assert vector == pytest.approx([2 - 1.5 * math.sqrt(0.5), 0.0, 1 - 1.5 * math.sqrt(2)], abs=1e-6)
    assert vector.dtype == np.float32


def test_inner_product_is_the_mean_turned_round() -> None:
    vector = lie_from(InnerProduct(name="inner_product", factor=0.5), honest(HONEST), clients=6, liars=2)
    assert vector == pytest.approx([-1.0, 0.0, -0.5], abs=1e-6)


@pytest.mark.parametrize(
    ("clients", "liars", "part"),
    [
        (50, 24, 24 / 26),  # s = 26 - 24 = 2, as in the paper's example
        (51, 12, 25 / 39),  # s = 26 - 12 = 14
        (20, 8, 9 / 12),  # s = 11 - 8 = 3
        (10, 5, 4 / 5),  # s = 1: as many liars as honest clients
        (10, 8, 1 / 2),  # liars are a majority already, and one honest client is reckoned with
    ],
)
def test_z_is_the_normal_quantile_of_those_that_need_not_be_won(clients: int, liars: int, part: float) -> None:
    z = hidden_deviations(clients, liars)
    assert 0.5 * (1 + math.erf(z / math.sqrt(2))) == pytest.approx(part)
    vector = lie_from(ALittleIsEnough(name="a_little_is_enough"), honest(HONEST), clients=clients, liars=liars)
    assert vector[0] == pytest.approx(2 - z * math.sqrt(0.5), abs=1e-6)


@pytest.mark.parametrize(("clients", "liars"), [(10, 2), (10, 1), (50, 1), (3, 2), (2, 1)])
def test_few_liars_have_nothing_to_hide_behind(clients: int, liars: int) -> None:
    assert hidden_deviations(clients, liars) == 0.0


def test_the_moments_are_those_of_all_in_any_order() -> None:
    updates = np.random.default_rng(3).normal(0, 2, (10, 500)).astype(np.float32)
    made = [Moments(Lattice(range=8.0, clients=10), 500) for _ in range(2)]
    for row in updates:
        made[0].add(row)
    for row in updates[::-1]:
        made[1].add(row)
    assert np.array_equal(made[0].deviation(), made[1].deviation())
    assert np.array_equal(made[0].mean(), made[1].mean())
    clipped = updates.astype(np.float64).clip(-8, 8)
    assert made[0].mean() == pytest.approx(clipped.mean(axis=0), abs=1e-7)
    assert made[0].deviation() == pytest.approx(clipped.std(axis=0), abs=1e-7)


def test_the_largest_entries_of_as_many_as_the_lattice_holds_do_not_overflow() -> None:
    for clients in (1, 2, 7, 1000):
        moments = Moments(Lattice(range=8.0, clients=clients), 1)
        signs = [(-1.0) ** number for number in range(clients)]
        for sign in signs:
            moments.add(np.array([8.0 * sign], np.float32))
        assert moments.mean()[0] == pytest.approx(8 * sum(signs) / clients)
        assert moments.deviation()[0] == pytest.approx(8 * np.std(signs), rel=1e-6)


def test_only_two_attacks_need_the_honest() -> None:
    attacks = [SignFlip(name="sign_flip"), InnerProduct(name="inner_product")]
    assert [needs_the_honest(attack) for attack in attacks] == [False, True]
