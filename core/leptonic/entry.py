"""Finds a user's own model or task by its entry, ``package.module:name``.

Called where a model or a task is built. An entry is taken from an experiment file on *this* machine and
names code that is installed here; an entry that came over the network must never be passed in (DESIGN,
invariant 1): a client first compares a received experiment with its own file.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module
from types import ModuleType
from typing import Any

from leptonic.errors import ExperimentError, LeptonicError

__all__ = ["call", "resolve"]


def resolve(entry: str, *, what: str) -> Any:
    """The object that ``entry`` names, from the local experiment file, never from the network.

    what: the setting that holds the entry, such as ``model.name``; errors begin with it.
    Raises ExperimentError when the entry is malformed, its module is missing or fails on import, or the
    module has no such name.
    """
    where = f"{what} = {entry!r}"
    path, _, name = entry.partition(":")
    if not all(part.isidentifier() for part in [*path.split("."), name]):
        raise ExperimentError(f"{where}: write package.module:name")
    module = _imported(path, where)
    try:
        return getattr(module, name)
    except AttributeError:
        close = get_close_matches(name, vars(module), n=1)
        hint = f"did you mean {close[0]!r}?" if close else "name a function or class that it defines"
        raise ExperimentError(f"{where}: module {path!r} has no {name!r}; {hint}") from None


def call(entry: str, *arguments: Any, what: str, options: Mapping[str, Any] | None = None) -> Any:
    """What the factory at ``entry`` returns for these arguments, and options as keyword arguments.

    Raises ExperimentError as :func:`resolve`, and when the object cannot be called or the call fails.
    """
    factory = resolve(entry, what=what)
    where = f"{what} = {entry!r}"
    if not callable(factory):
        raise ExperimentError(
            f"{where}: is a {type(factory).__name__}, which cannot be called; name a function or a class"
        )
    try:
        return factory(*arguments, **(options or {}))
    except LeptonicError:
        raise
    except Exception as error:
        raise ExperimentError(
            f"{where}: the call failed: {type(error).__name__}: {error}; --debug shows where"
        ) from error


def _imported(path: str, where: str) -> ModuleType:
    try:
        return import_module(path)
    except ModuleNotFoundError as error:
        missing = error.name or path
        if path == missing or path.startswith(f"{missing}."):
            raise ExperimentError(
                f"{where}: no module {missing!r} on this machine; "
                "install the package that holds it, or put its folder on PYTHONPATH"
            ) from None
        raise ExperimentError(
            f"{where}: module {path!r} imports {missing!r}, which is not installed here; install it"
        ) from error
    except Exception as error:
        raise ExperimentError(
            f"{where}: module {path!r} fails on import: {type(error).__name__}: {error}; --debug shows where"
        ) from error
