from pathlib import Path

import pytest
from typer.testing import CliRunner

from leptonic.data.commands import app
from leptonic.errors import DataError, ExperimentError

pytest.importorskip("sklearn")

run = CliRunner().invoke


@pytest.fixture
def experiment(cache: Path, tmp_path: Path) -> Path:
    path = tmp_path / "exp.toml"
    path.write_text('[data]\nname = "digits"\n[federation]\nclients = 4\n')
    return path


@pytest.mark.parametrize("verb", ["list", "fetch", "verify", "describe", "export"])
def test_help_shows_an_example(verb: str) -> None:
    result = run(app, [verb, "--help"])
    assert result.exit_code == 0
    assert f"leptonic data {verb}" in result.output


def test_list_names_every_data_set(cache: Path) -> None:
    result = run(app, ["list"])
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert [line.split()[-1] for line in lines if line.lstrip().startswith(("mnist  ", "digits  "))] == ["no", "yes"]
    assert "occupation" in result.output


def test_fetch_then_verify(cache: Path) -> None:
    missing = run(app, ["verify", "digits"])
    assert isinstance(missing.exception, DataError)
    assert run(app, ["fetch", "digits"]).exit_code == 0
    result = run(app, ["verify", "digits"])
    assert result.exit_code == 0
    assert str(cache / "digits") in result.output


def test_a_misspelt_name_stops_before_any_download(cache: Path) -> None:
    result = run(app, ["fetch", "digits", "minst"])
    assert isinstance(result.exception, DataError)
    assert "did you mean 'mnist'" in str(result.exception)
    assert not cache.exists()


def test_describe(experiment: Path, tmp_path: Path) -> None:
    picture = tmp_path / "labels.png"
    result = run(app, ["describe", str(experiment), "--set", "federation.clients=3", "--out", str(picture)])
    assert result.exit_code == 0, result.exception
    assert "digits: 3 clients, iid" in result.output
    assert "479" in result.output  # 1,437 / 3
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_export_says_how_to_start_the_client(experiment: Path, tmp_path: Path) -> None:
    out = tmp_path / "shards"
    result = run(app, ["export", str(experiment), "--client", "2", "--out", str(out)])
    assert result.exit_code == 0, result.exception
    assert {path.name for path in out.iterdir()} == {"client-2.npz", "client-2.json"}
    assert (
        f"leptonic client --server 127.0.0.1:8080 --name client-2 --data {out}/client-2.npz --insecure" in result.output
    )
    assert run(app, ["export", str(experiment), "--all", "--out", str(out)]).exit_code == 0
    assert len(list(out.glob("*.npz"))) == 4


@pytest.mark.parametrize("options", [[], ["--client", "0", "--all"]])
def test_export_wants_one_client_or_all(experiment: Path, tmp_path: Path, options: list[str]) -> None:
    result = run(app, ["export", str(experiment), "--out", str(tmp_path), *options])
    assert isinstance(result.exception, ExperimentError)
    assert "--client K, or --all" in str(result.exception)
