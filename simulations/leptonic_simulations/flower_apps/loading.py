"""Imports the two apps that the user named, with the project's folder on the path for the run only.

This imports code, but no other than what the user's own command line (and the project it names) names.
"""

import difflib
import importlib
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from leptonic.errors import ExperimentError

__all__ = ["load", "on_the_path"]

App = TypeVar("App")


@contextmanager
def on_the_path(folder: Path) -> Iterator[None]:
    """Look for modules in folder first. After the run the path is as before, and the folder's modules are forgotten."""
    before, place = set(sys.modules), str(folder)
    sys.path.insert(0, place)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        if place in sys.path:
            sys.path.remove(place)
        for name in set(sys.modules) - before:
            if _is_of(folder, name):
                del sys.modules[name]


def load(reference: str, kind: type[App], folder: Path) -> App:
    """The app that ``module:attribute`` names. Raises ExperimentError if it cannot be had or is no ``kind``."""
    name, _, attributes = reference.partition(":")
    module = _module(reference, name, folder)
    found: Any = module
    for attribute in attributes.split("."):
        if not hasattr(found, attribute):
            near = difflib.get_close_matches(attribute, dir(found), n=1)
            meant = f"; did you mean {near[0]}?" if near else ""
            raise ExperimentError(f"{reference}: {name} ({_file_of(module)}) has no {attribute}{meant}")
        found = getattr(found, attribute)
    if not isinstance(found, kind):
        raise ExperimentError(
            f"{reference} is of type {type(found).__name__}, not a {kind.__name__}{_advice(found, kind.__name__)}"
        )
    return found


def _module(reference: str, name: str, folder: Path) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or name
        if name == missing or name.startswith(f"{missing}."):
            parent = folder.joinpath(*missing.split(".")[:-1])
            place = parent if parent.is_dir() else folder
            there = sorted(path.stem for path in place.iterdir() if _is_module(path))
            raise ExperimentError(
                f"{reference}: there is no module {missing} in {place} "
                f"(which has {', '.join(there) or 'no modules'}) or among the installed packages"
            ) from error
        raise ExperimentError(
            f"{reference}: {_place(error)} needs the module {missing}, which is neither in {folder} nor installed; "
            f"install what the app depends on"
        ) from error
    except Exception as error:
        raise ExperimentError(
            f"{reference}: importing it failed at {_place(error)}: {type(error).__name__}: {error}; "
            "leptonic --debug simulate ... shows the traceback"
        ) from error


def _advice(found: object, kind: str) -> str:
    if type(found).__name__ in ("ServerApp", "ClientApp"):
        return ": are the two swapped?"
    if isinstance(found, type) or not callable(found):
        return f"; name an attribute that holds a {kind}"
    legacy = "client_fn" if kind == "ClientApp" else "server_fn"
    return f"; if it is a {legacy}, wrap it: app = {kind}({legacy}=...), and name app"


def _place(error: BaseException) -> str:
    """Where the app's code stood: the last frame that is not the import machinery's."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    return f"{frames[-1].filename}:{frames[-1].lineno}"


def _is_module(path: Path) -> bool:
    return (
        not path.stem.startswith("__")
        and path.stem.isidentifier()
        and (path.suffix == ".py" or (path.is_dir() and any(path.glob("*.py"))))
    )


def _file_of(module: ModuleType) -> str:
    return getattr(module, "__file__", None) or "a folder without __init__.py"


def _is_of(folder: Path, name: str) -> bool:
    """Whether a module lies in the folder itself, and not, say, in an environment below it."""
    top = folder / name.partition(".")[0]
    return top.is_dir() or top.with_suffix(".py").is_file()
