"""What ``--over`` and ``--search`` mean, and every way of writing them wrong."""

import itertools

import pytest

from leptonic.errors import ExperimentError
from leptonic_simulations.sweep.axes import Axis, cells_of, parse_axis, refuse_repeated
from leptonic_simulations.sweep.space import Choices, Range, parse_dimension


@pytest.mark.parametrize(
    ("option", "key", "values"),
    [
        ("training.learning_rate=0.01,0.05", "training.learning_rate", ("0.01", "0.05")),
        ("seed=1", "seed", ("1",)),
        (" training . rounds = 1 , 2", "training.rounds", ("1", "2")),
        ("model.hidden=[64],[128, 64]", "model.hidden", ("[64]", "[128, 64]")),
        ('model={name="mlp", hidden=[8]},{name="lenet"}', "model", ('{name="mlp", hidden=[8]}', '{name="lenet"}')),
        ('name="a,b",c', "name", ('"a,b"', "c")),
        ("algorithm.name=fedavg,scaffold", "algorithm.name", ("fedavg", "scaffold")),
    ],
)
def test_an_axis_is_a_key_and_its_values(option: str, key: str, values: tuple[str, ...]) -> None:
    assert parse_axis(option) == Axis(key, values)


@pytest.mark.parametrize("option", ["", "rounds", "=1", "training.=1", "training.rounds=", "a=1,,2", "a=1,", "a=1,1"])
def test_an_axis_written_wrong_is_refused(option: str) -> None:
    with pytest.raises(ExperimentError, match="--over"):
        parse_axis(option)


def test_a_grid_is_the_product() -> None:
    axes = [Axis("a", ("1", "2")), Axis("b", ("x", "y", "z")), Axis("c", ("0",))]
    expected = [{"a": a, "b": b, "c": "0"} for a, b in itertools.product("12", "xyz")]
    assert list(cells_of(axes)) == expected


@pytest.mark.parametrize(
    ("keys", "overrides", "seeds", "said"),
    [
        (["a.b", "a.b"], [], False, "swept twice"),
        (["a.b"], ["a.b=3"], False, "swept and --set"),
        (["seed"], [], True, "--seeds"),
    ],
)
def test_what_is_said_twice_is_refused(keys: list[str], overrides: list[str], seeds: bool, said: str) -> None:
    with pytest.raises(ExperimentError, match=said):
        refuse_repeated(keys, overrides=overrides, seeds=seeds)


def test_what_is_said_once_is_fine() -> None:
    refuse_repeated(["a.b", "seed"], overrides=["a.c=1"], seeds=False)
    refuse_repeated(["a.b"], overrides=["a.c=1"], seeds=True)


@pytest.mark.parametrize(
    ("option", "dimension"),
    [
        ("a.b=0.001..0.5:log", Range("a.b", 0.001, 0.5, log=True)),
        ("a.b=1..5", Range("a.b", 1, 5)),
        ("a.b=-1.5..2", Range("a.b", -1.5, 2)),
        ("a.b=1e-5..1e-1:log", Range("a.b", 1e-5, 1e-1, log=True)),
        ("a.b=sgd,adam", Choices("a.b", ("sgd", "adam"))),
        ("a.b=[1],[2, 3]", Choices("a.b", ("[1]", "[2, 3]"))),
    ],
)
def test_a_dimension_is_a_range_or_choices(option: str, dimension: Range | Choices) -> None:
    assert parse_dimension(option) == dimension
    assert parse_dimension(f"a.b={dimension.text}") == dimension


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("a.b", "section.key"),
        ("a.b=0.1", r"LOW\.\.HIGH"),
        ("a.b=1..2:lin", r"LOW\.\.HIGH"),
        ("a.b=5..1", "less than"),
        ("a.b=1..1", "less than"),
        ("a.b=0..1:log", "above zero"),
        ("a.b=1..x", "not a number"),
        ("a.b=1..inf", "not a number"),
        ("a.b=false..true", "not a number"),
        ("a.b=1...5", "not a number"),
    ],
)
def test_a_dimension_written_wrong_is_refused(option: str, said: str) -> None:
    with pytest.raises(ExperimentError, match=said):
        parse_dimension(option)
