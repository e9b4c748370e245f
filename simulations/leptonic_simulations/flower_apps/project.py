"""Which two apps to run, and how they are configured: from a project folder's pyproject, or named one by one.

Nothing is imported here; see loading.py.
"""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leptonic.errors import ExperimentError
from leptonic_simulations.flower_apps.run_config import RunConfig, flattened

__all__ = ["Project", "named_project", "project", "read_project"]

_REFERENCE = re.compile(r"[\w.]+:[\w.]+")


@dataclass(frozen=True)
class Project:
    """One Flower app. server, client: ``module:attribute``, looked for in folder first. clients: None if not stated.

    config: the declared run configuration, or None if nothing declares which keys there are.
    """

    folder: Path
    server: str
    client: str
    config: RunConfig | None = None
    clients: int | None = None


def project(source: str, client: str | None) -> Project:
    """The app that a command line names: a folder, or a ServerApp and a ClientApp.

    Raises ExperimentError that says how to name it.
    """
    if not Path(source).exists() and _REFERENCE.fullmatch(source):
        if client is None:
            raise ExperimentError(
                f"--flower {source} names a ServerApp alone; name the ClientApp after it: "
                f"leptonic simulate --flower {source} module:client_app"
            )
        return named_project(source, client)
    if client is not None:
        raise ExperimentError(
            f"--flower {source} takes no {client} beside it: a project folder names both of its apps; "
            "or give two references, --flower module:server_app module:client_app"
        )
    return read_project(Path(source))


def named_project(server: str, client: str) -> Project:
    """Two references, looked for in the working directory and among the installed packages."""
    for name in (server, client):
        _check_reference(name, where="--flower")
    return Project(Path.cwd(), server, client)


def read_project(folder: Path) -> Project:
    """Read a project folder's pyproject.toml. Raises ExperimentError that names the file and the table."""
    file = folder / "pyproject.toml"
    content = _content(folder, file)
    app = _table(content, "tool.flwr.app", file)
    components = _table(content, "tool.flwr.app.components", file)
    names = {}
    for kind in ("serverapp", "clientapp"):
        name = components.get(kind)
        if not isinstance(name, str):
            raise ExperimentError(f'{file}: [tool.flwr.app.components] lacks {kind} = "module:attribute"')
        _check_reference(name, where=f"{file}: [tool.flwr.app.components] {kind}")
        names[kind] = name
    config = app.get("config", {})
    if not isinstance(config, dict):
        raise ExperimentError(f"{file}: [tool.flwr.app.config] is not a table")
    return Project(
        folder.resolve(),
        names["serverapp"],
        names["clientapp"],
        config=flattened(config, where=f"{file}: [tool.flwr.app.config]"),
        clients=_clients(content, file),
    )


def _content(folder: Path, file: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise ExperimentError(
            f"--flower {folder}: no such folder; give a Flower project's folder, "
            "or two references, --flower module:server_app module:client_app"
        )
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ExperimentError(
            f"{folder} has no pyproject.toml, so it is no Flower project; "
            "give its folder, or two references, --flower module:server_app module:client_app"
        ) from error
    except OSError as error:
        raise ExperimentError(f"{file}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ExperimentError(f"{file} does not read as TOML: {error}") from error


def _table(content: dict[str, Any], name: str, file: Path) -> dict[str, Any]:
    table: Any = content
    for key in name.split("."):
        table = table.get(key) if isinstance(table, dict) else None
    if not isinstance(table, dict):
        raise ExperimentError(f"{file} has no [{name}]; a Flower app names its serverapp and clientapp there")
    return table


def _clients(content: dict[str, Any], file: Path) -> int | None:
    """The default federation's num-supernodes, if the pyproject states one."""
    federations = content["tool"]["flwr"].get("federations", {})
    default = federations.get("default") if isinstance(federations, dict) else None
    federation = federations.get(default, {}) if isinstance(default, str) else {}
    options = federation.get("options", {}) if isinstance(federation, dict) else {}
    count = options.get("num-supernodes") if isinstance(options, dict) else None
    if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
        raise ExperimentError(
            f"{file}: [tool.flwr.federations.{default}] options.num-supernodes = {count!r} is not a positive integer"
        )
    return count


def _check_reference(name: str, *, where: str) -> None:
    if not _REFERENCE.fullmatch(name):
        raise ExperimentError(f"{where}: {name!r} is not of the form module:attribute, such as app.server:app")
