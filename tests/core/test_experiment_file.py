"""Experiment files: reading, overrides, and refusals that name file, key and value."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leptonic.errors import ExperimentError
from leptonic.experiment import FedProx
from leptonic.experiment_file import from_canonical, from_mapping, load

EXPERIMENTS = sorted((Path(__file__).parents[2] / "experiments").glob("*.toml"))

TEXT = """
seed = 3
[training]
rounds = 4
[algorithm]
name = "fedprox"
mu = 0.25
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "trial.toml"
    path.write_text(TEXT, encoding="utf-8")
    return path


def refusal(path: Path, *overrides: str) -> str:
    with pytest.raises(ExperimentError) as caught:
        load(path, overrides)
    return str(caught.value)


def test_there_are_experiments_and_every_one_loads() -> None:
    assert EXPERIMENTS
    for path in EXPERIMENTS:
        experiment = load(path)
        assert experiment.name
        assert from_canonical(experiment.canonical).hash == experiment.hash


def test_reads_a_file_and_names_the_experiment_after_it(file: Path) -> None:
    experiment = load(file)
    assert (experiment.name, experiment.seed, experiment.training.rounds) == ("trial", 3, 4)
    assert experiment.algorithm == FedProx(name="fedprox", mu=0.25)


def test_a_name_in_the_file_stays(file: Path) -> None:
    file.write_text('name = "another"\n' + TEXT)
    assert load(file).name == "another"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"seed = ", "TOML"),
        (b"seed = 1\nseed = 2\n", "TOML"),
        (b"[training]\n[training]\n", "TOML"),
        (b"\xff\xfe", "cannot be read"),
        (b"\x00", "TOML"),
    ],
)
def test_a_file_that_is_no_toml_is_refused_by_name(file: Path, content: bytes, what: str) -> None:
    file.write_bytes(content)
    message = refusal(file)
    assert message.startswith(f"{file}: ")
    assert what in message


def test_a_file_nested_too_deeply_is_refused(file: Path) -> None:
    file.write_text("seed = " + "[" * 20_000)
    assert refusal(file).startswith(f"{file}: ")


def test_a_file_that_is_not_there_or_is_a_folder_is_refused(tmp_path: Path) -> None:
    assert str(tmp_path / "missing.toml") in refusal(tmp_path / "missing.toml")
    assert str(tmp_path) in refusal(tmp_path)


def test_a_file_whose_own_name_names_no_experiment_says_so(tmp_path: Path) -> None:
    path = tmp_path / "my trial.toml"
    path.write_text(TEXT)
    assert "name = 'my trial'" in refusal(path)


def test_an_error_names_file_key_and_value(file: Path) -> None:
    file.write_text('[training]\nrounds = "5"\n')
    message = refusal(file)
    assert message.startswith(f"{file}: training.rounds = '5': ")


@pytest.mark.parametrize(
    ("content", "meant"),
    [
        ("[trainng]", "training"),
        ("[training]\nlearning_rte = 0.1", "learning_rate"),
        ('[data]\nname = "fashionmnist"', "fashion-mnist"),
        ('[algorithm]\nname = "scafold"', "scaffold"),
        ('[aggregation]\nrule = "trimed_mean"', "trimmed_mean"),
        ('[training]\noptimizer = "adamm"', "adam"),
        ('[federation.partition]\nscheme = "dirichelt"', "dirichlet"),
        ('[task]\nkind = "image_clasification"', "image_classification"),
    ],
)
def test_a_slip_of_the_pen_is_answered_with_what_was_meant(file: Path, content: str, meant: str) -> None:
    file.write_text(content)
    message = refusal(file)
    assert f"did you mean '{meant}'?" in message


def test_what_is_like_nothing_gets_no_suggestion(file: Path) -> None:
    file.write_text('[algorithm]\nname = "qqqq"')
    assert "did you mean" not in refusal(file)


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("training.rounds=9", "training.rounds", 9),
        (" training . rounds = 9 ", "training.rounds", 9),
        ("training.learning_rate=1e-3", "training.learning_rate", 1e-3),
        ("training.optimizer=adam", "training.optimizer", "adam"),
        ('training.optimizer="adam"', "training.optimizer", "adam"),
        ("outputs.report=false", "outputs.report", False),
        ("evaluation.on=[]", "evaluation.on", []),
        ("training.schedule.kind=cosine", "training.schedule.kind", "cosine"),
        ("training.schedule={kind = 'step', every = 3}", "training.schedule.every", 3),
        ("outputs.directory=/tmp/a=b", "outputs.directory", "/tmp/a=b"),
        ("outputs.directory=runs/x y", "outputs.directory", "runs/x y"),
        ("seed=0x10", "seed", 16),
        ("name=other", "name", "other"),
        ("algorithm.mu=0.5", "algorithm.mu", 0.5),
        ("training.gradient_clip_norm=2", "training.gradient_clip_norm", 2.0),
    ],
)
def test_an_override_is_a_toml_value_or_else_a_word(file: Path, override: str, key: str, value: Any) -> None:
    found: Any = load(file, [override])
    for part in key.split("."):
        found = getattr(found, part)
    assert found == value
    assert type(found) is type(value)


def test_the_last_override_of_a_key_wins_and_the_file_stays(file: Path) -> None:
    experiment = load(file, ["training.rounds=7", "training.rounds=8"])
    assert experiment.training.rounds == 8
    assert file.read_text() == TEXT


def test_an_override_gives_the_same_experiment_as_the_edited_file(file: Path) -> None:
    overridden = load(file, ["training.rounds=9", "algorithm.mu=0.75"])
    file.write_text(TEXT.replace("rounds = 4", "rounds = 9").replace("0.25", "0.75"))
    assert load(file).hash == overridden.hash


@pytest.mark.parametrize("override", ["training.rounds", "=5", ".rounds=5", "training..rounds=5", "training.=5", ""])
def test_an_override_of_the_wrong_form_is_refused_as_written(file: Path, override: str) -> None:
    message = refusal(file, override)
    assert f"--set {override}" in message
    assert "section.key=value" in message


def test_an_override_below_a_value_is_refused(file: Path) -> None:
    message = refusal(file, "training.rounds.more=5")
    assert "--set training.rounds.more=5" in message
    assert "rounds" in message


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("training.rounds=x", "training.rounds = 'x'"),
        ("training.rounds=", "training.rounds = ''"),
        ("training.rounds=5.0", "training.rounds = 5.0"),
        ("training.rounds='5'", "training.rounds = '5'"),
        ("training.roundz=5", "training.roundz: unknown key (did you mean 'rounds'?)"),
        ("nothing.rounds=5", "nothing: unknown key"),
        ("algorithm.name=fedavg", "algorithm.mu: unknown key"),
        ("training=5", "training = 5"),
        ("name=5", "name = 5"),
    ],
)
def test_an_override_to_something_wrong_is_refused_like_the_file(file: Path, override: str, named: str) -> None:
    assert named in refusal(file, override)


@pytest.mark.parametrize("text", ["5\nseed = 9", "5\n[outputs]\nreport = false"])
def test_an_override_is_one_value_with_nothing_left_over(file: Path, text: str) -> None:
    """What follows the value must not vanish silently."""
    assert "training.rounds" in refusal(file, f"training.rounds={text}")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"5",
        b"\xff\xfe",
        b'{"name":"x"}trailing',
        b'{"name":"x","seed":NaN}',
        b'{"name":"x","unknown":1}',
        b'{"name":"x","seed":"1"}',
        b'{"name":"x","seed":' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b'{"name":' * 100_000,
    ],
)
def test_bytes_that_are_no_experiment_are_refused(content: bytes) -> None:
    with pytest.raises(ExperimentError, match="received experiment"):
        from_canonical(content)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_an_experiment_error(content: bytes) -> None:
    with pytest.raises(ExperimentError):
        from_canonical(content)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=5,
)
SECTIONS = ["data", "task", "model", "federation", "training", "algorithm", "aggregation", "privacy", "evaluation"]
KEYS = st.sampled_from(["name", "rule", "kind", "scheme", "rounds", "shape", "on", "partition", "schedule", "options"])
ANYTHING = st.dictionaries(
    st.sampled_from(SECTIONS),
    JSON | st.dictionaries(KEYS, JSON | st.just("own") | st.just("a:b"), max_size=4),
    max_size=3,
)


@given(content=ANYTHING)
def test_whatever_stands_in_a_file_is_accepted_or_refused_by_name(content: dict[str, Any]) -> None:
    """No other exception, neither from reading nor from describing the mistake nor from the hash."""
    try:
        experiment = from_mapping({"name": "x", **content}, source="file.toml")
    except ExperimentError as error:
        message = str(error)
    else:
        assert len(experiment.hash) == 64
        assert json.loads(experiment.canonical)["name"] == "x"
        return
    assert message.startswith("file.toml: ")
