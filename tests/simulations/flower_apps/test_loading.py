"""Projects and references: what is found, what each mistake is told, and that the path is as before."""

import sys
from pathlib import Path

import pytest
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

from leptonic.errors import ExperimentError
from leptonic_simulations.flower_apps.loading import load, on_the_path
from leptonic_simulations.flower_apps.project import project, read_project

APPS = Path(__file__).parent / "apps"
COMPONENTS = '[tool.flwr.app.components]\nserverapp = "s:app"\nclientapp = "c:app"\n'


def test_a_project_says_what_it_is() -> None:
    mean = read_project(APPS / "mean")
    assert (mean.server, mean.client, mean.clients) == ("mean_app.server_app:app", "mean_app.client_app:app", 4)
    assert mean.config is not None
    assert mean.config["num-server-rounds"] == 2
    assert mean.config["fail.where"] == ""
    assert read_project(APPS / "legacy").clients is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "has no pyproject.toml"),
        ("[project", "does not read as TOML"),
        ("[project]\nname = 'a'\n", "has no [tool.flwr.app]"),
        ("[tool.flwr.app]\n", "has no [tool.flwr.app.components]"),
        ("[tool.flwr.app.components]\nserverapp = 's:app'\n", "lacks clientapp"),
        ("[tool.flwr.app.components]\nserverapp = 's'\nclientapp = 'c:app'", "'s' is not of the form module:attribute"),
        (COMPONENTS + "[tool.flwr.app.config]\nlayers = [1]", "layers = [1] is of type list"),
        (COMPONENTS + "[tool.flwr.federations]\ndefault='l'\nl.options.num-supernodes=0", "num-supernodes = 0"),
    ],
)
def test_a_wrong_project_is_told_what_is_wrong(tmp_path: Path, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / "pyproject.toml").write_text(content)
    with pytest.raises(ExperimentError) as raised:
        read_project(tmp_path)
    assert said in str(raised.value)
    assert str(tmp_path) in str(raised.value)


def test_a_command_line_names_a_folder_or_two_apps(monkeypatch: pytest.MonkeyPatch) -> None:
    assert project(str(APPS / "mean"), None) == read_project(APPS / "mean")
    monkeypatch.chdir(APPS / "mean")
    named = project("mean_app.server_app:app", "mean_app.client_app:app")
    assert (named.folder, named.config) == (APPS / "mean", None)
    for source, client, said in [
        ("mean_app.server_app:app", None, "names a ServerApp alone"),
        ("mean_app", "a:b", "takes no a:b beside it"),
        ("nowhere", None, "no such folder"),
        ("a:b", "client.py", "'client.py' is not of the form module:attribute"),
    ]:
        with pytest.raises(ExperimentError, match=said):
            project(source, client)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "good.py").write_text(
        "from flwr.serverapp import ServerApp\napp = ServerApp()\ndef server_fn(c): ...\n"
    )
    (tmp_path / "syntax.py").write_text("x = 1\ndef broken(:\n")
    (tmp_path / "raises.py").write_text("x = 1\ny = x / 0\n")
    (tmp_path / "needs.py").write_text("import surely_not_installed\n")
    (tmp_path / "good_package").mkdir()
    (tmp_path / "good_package" / "inner.py").write_text("")
    return tmp_path


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("goood:app", "no module goood in {0} (which has good, good_package, needs, raises, syntax)"),
        ("good_package.other:app", "no module good_package.other in {0}/good_package (which has inner)"),
        ("syntax:app", "{0}/syntax.py:2: SyntaxError"),
        ("raises:app", "{0}/raises.py:2: ZeroDivisionError: division by zero"),
        ("needs:app", "{0}/needs.py:1 needs the module surely_not_installed"),
        ("good:ap", "({0}/good.py) has no ap; did you mean app?"),
        ("good:server_fn", "of type function, not a ServerApp; if it is a server_fn, wrap it"),
        ("good:ServerApp", "of type type, not a ServerApp"),
    ],
)
def test_an_app_that_cannot_be_had_is_told_why_and_where(folder: Path, reference: str, said: str) -> None:
    with on_the_path(folder), pytest.raises(ExperimentError) as raised:
        load(reference, ServerApp, folder)
    assert said.format(folder) in str(raised.value)


def test_swapped_apps_are_noticed(folder: Path) -> None:
    with (
        on_the_path(folder),
        pytest.raises(ExperimentError, match="is of type ServerApp, not a ClientApp: are the two"),
    ):
        load("good:app", ClientApp, folder)


def test_the_path_is_as_before_and_the_next_app_gets_its_own_modules(folder: Path) -> None:
    path, modules = list(sys.path), set(sys.modules)
    with on_the_path(folder):
        assert sys.path[0] == str(folder)
        first = load("good:app", ServerApp, folder)
    assert sys.path == path
    assert "good" not in set(sys.modules) - modules
    with on_the_path(folder):
        assert load("good:app", ServerApp, folder) is not first
