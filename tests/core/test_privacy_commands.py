"""``leptonic privacy plan`` and what ``leptonic experiment check`` says of privacy."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from leptonic import command, experiment_commands
from leptonic.errors import ExperimentError, PrivacyError
from leptonic.privacy import accounting
from leptonic.privacy_commands import app

EXAMPLE = """
[data]
name = "digits"
[model]
name = "logistic"
[federation]
clients = 3
[training]
rounds = 4
[privacy]
unit = "example"
epsilon = 3.0
delta = 1e-4
"""
CLIENT = """
[data]
name = "digits"
[model]
name = "logistic"
[federation]
clients = 900
cohort = 90
[training]
rounds = 20
[aggregation]
rule = "mean"
weighting = "uniform"
[secure_aggregation]
bits = 20
[privacy]
unit = "client"
mechanism = "distributed"
epsilon = 6.0
delta = 1e-5
"""


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Calibration takes seconds: it is tested where it is made."""
    monkeypatch.setattr(accounting, "_calibrate", lambda *_: 2.0)
    monkeypatch.setattr(accounting, "prv_epsilon", lambda history, *_: 3.0 * history[0][2] / 28)
    (tmp_path / "example.toml").write_text(EXAMPLE)
    (tmp_path / "client.toml").write_text(CLIENT)
    return tmp_path


def planned(*arguments: str | Path) -> str:
    done = CliRunner().invoke(app, ["plan", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return " ".join(done.output.split())


def test_examples_as_tables(files: Path) -> None:
    """1437 digits for three clients, 479 each; seven batches of 64 a round."""
    said = planned(files / "example.toml", "--epsilon", "1,2")
    assert "example: epsilon 3 at delta 0.0001 per example, by DP-SGD on each client, over 4 rounds" in said
    assert "client every" in said
    assert "batch, steps 64, 28" in said
    assert "noise multiplier 2.0000" in said
    assert "epsilon, PRV 3.000" in said
    assert "rounds trained epsilon ─" in said
    assert "assumes: A person has one example." in said


def test_clients_as_tables(files: Path) -> None:
    said = planned(files / "client.toml", "--epsilon", "1,2")
    assert "client: epsilon 6 at delta 1e-05 per client, by shares of noise within secure aggregation" in said
    assert "900; 90 invited to a round, a sum holds 61 at least, 31 of them honest, divided by 90" in said
    assert "2 rounds of one client at most, of 20" in said
    assert "1,024 words of 20 bits" in said
    assert "at most 30 of the 61 clients in a sum colluding" in said


@pytest.mark.parametrize(("kind", "begins"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_json_and_picture(files: Path, kind: str, begins: bytes) -> None:
    out = files / "new" / f"plan.{kind}"
    arguments = [files / "client.toml", "--epsilon", "1,2", "--json", "--picture", out]
    done = CliRunner().invoke(app, ["plan", *map(str, arguments)], catch_exceptions=False)
    content = json.loads(done.stdout)
    assert [target["epsilon"] for target in content["targets"]] == [1, 2, 6]
    assert content["stated"]["mechanism"] == "distributed"
    assert out.read_bytes().startswith(begins)


def test_the_same_plan_gives_the_same_picture(files: Path) -> None:
    first, second = files / "first.svg", files / "second.svg"
    for out in (first, second):
        planned(files / "client.toml", "--epsilon", "1,20", "--picture", out)
    assert first.read_bytes() == second.read_bytes()


def test_declared_sizes_stand_for_the_partition(files: Path) -> None:
    content = json.loads(planned(files / "example.toml", "--examples", "70,500,900", "--json"))
    assert [(one["which"], one["examples"]) for one in content["outlooks"]] == [
        ("smallest", 70),
        ("median", 500),
        ("largest", 900),
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["example.toml", "--epsilon", "1,x"], "--epsilon 1,x: give positive numbers"),
        (["example.toml", "--epsilon", "0"], "--epsilon 0: give positive numbers"),
        (["example.toml", "--examples", "10.5"], "--examples 10.5: give positive whole numbers"),
        (["client.toml", "--examples", "10"], "--examples: with privacy.unit = 'client'"),
        (["example.toml", "--picture", "plan.jpg"], r"name a file that ends with \.png or \.svg"),
        (["plain.toml"], r"nothing to plan: the experiment has no section \[privacy\]"),
        (["own.toml"], "--examples: with data.name = 'own' say how many"),
    ],
)
def test_mistakes_are_named(files: Path, arguments: list[str], words: str) -> None:
    (files / "plain.toml").write_text('[data]\nname = "digits"\n')
    own = EXAMPLE.replace('name = "digits"', 'name = "own"\nshape = [1, 8, 8]\nclasses = 2')
    (files / "own.toml").write_text(own + '[aggregation]\nrule = "mean"\nweighting = "uniform"\n')
    with pytest.raises(ExperimentError, match=words):
        planned(files / arguments[0], *arguments[1:])


def test_a_target_out_of_reach_ends_with_the_code_of_privacy(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["--set", "secure_aggregation.bits=8", "--set", "privacy.epsilon=0.001"]
    monkeypatch.setattr("sys.argv", ["leptonic", "privacy", "plan", str(files / "client.toml"), *settings])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == PrivacyError.exit_code
    error = capsys.readouterr().err
    assert error.startswith(
        "PrivacyError: epsilon = 0.001 at delta = 1e-05 cannot be met over 2 rounds with 8-bit words"
    )
    assert "raise the bits" in error


def test_help_has_examples() -> None:
    said = CliRunner().invoke(app, ["plan", "--help"]).output
    assert "leptonic privacy plan experiments/fashion_mnist_private.toml --epsilon 1,3,8" in " ".join(said.split())


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("example.toml", "privacy epsilon 3 at delta 0.0001 per example of one client (add/remove adjacency), against"),
        ("client.toml", "at most 30 of the 61 clients in a sum colluding Each client adds its share of the noise"),
    ],
)
def test_a_check_says_what_is_promised(files: Path, file: str, words: str) -> None:
    said = CliRunner().invoke(experiment_commands.app, ["check", str(files / file)]).output
    assert words in " ".join(said.split())
