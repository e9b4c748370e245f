"""Run configurations: read as Flower reads them, and refused where Flower would pass over a mistake."""

from pathlib import Path
from typing import Any

import pytest
from flwr.common.config import flatten_dict, parse_config_args

from leptonic.errors import ExperimentError
from leptonic_simulations.flower_apps.run_config import flattened, overridden, parsed


@pytest.mark.parametrize(
    "texts",
    [
        ["num-server-rounds=3 lr=0.1"],
        ["a=1 b='two words' c=\"it's\" d=true e=-1e-3"],
        ["model.layers=2 model.name='cnn'", "lr=1"],
        ["a=1", "a=2"],
        ["  a = 1".replace(" = ", "=")],
        [],
    ],
)
def test_what_flower_reads_is_read_alike(texts: list[str]) -> None:
    assert parsed(texts) == parse_config_args(texts)


def test_a_toml_file_is_read_alike(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text('lr = 0.5\n[model]\nname = "cnn"\n')
    assert parsed([str(file)]) == parse_config_args([str(file)]) == {"lr": 0.5, "model.name": "cnn"}


def test_nested_tables_become_dotted_keys() -> None:
    tables: dict[str, Any] = {"a": {"b": {"c": 1}, "d": True}, "e": "f"}
    assert flattened(tables, where="here") == flatten_dict(tables)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lr", "'lr' is not key=value"),
        ("lr=0.1 rounds", "'rounds' is not key=value"),
        ("lr=fast", "does not read as TOML"),
        ("a=1 a=2", "does not read as TOML"),
        ("lr=[1,2]", "lr = [1, 2] is of type list"),
        ("no/such.toml", "no/such.toml"),
    ],
)
def test_a_mistake_is_named(text: str, said: str) -> None:
    with pytest.raises(ExperimentError) as raised:
        parsed([text])
    assert said in str(raised.value)


def test_a_key_that_the_app_does_not_declare_is_refused() -> None:
    assert overridden({"lr": 0.1, "rounds": 3}, {"lr": 1.0}, where="there") == {"lr": 1.0, "rounds": 3}
    with pytest.raises(ExperimentError, match=r"there declares no such key \(did you mean rounds\?\)"):
        overridden({"lr": 0.1, "rounds": 3}, {"round": 1}, where="there")
