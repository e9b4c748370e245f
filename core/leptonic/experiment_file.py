"""Reads an experiment file (TOML) with overrides, and reports every mistake by file, section and key.

Called by every verb that takes an experiment, before any work begins.
"""

import difflib
import json
import tomllib
import types
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from leptonic.errors import ExperimentError
from leptonic.experiment import Experiment

__all__ = ["load", "from_mapping", "from_canonical", "parse_value"]

_CHOICE_KEYS = ("name", "scheme", "rule", "unit", "mechanism")
"""The keys by which sections choose one of several kinds."""


def load(path: Path, overrides: Sequence[str] = ()) -> Experiment:
    """Read and check one experiment file.

    overrides: ``section.key=value`` strings; the value is TOML, or else taken as a string.
    Raises ExperimentError naming the file, the section and key, the value, and what is allowed.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ExperimentError(f"{path}: no such experiment file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ExperimentError(f"{path}: cannot be read: {error}") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ExperimentError(f"{path}: not valid TOML: {error}") from None
    for override in overrides:
        _apply_override(content, override)
    content.setdefault("name", path.stem)
    return from_mapping(content, source=str(path))


def from_mapping(content: dict[str, Any], source: str = "experiment") -> Experiment:
    """Check a mapping of sections; errors name ``source``."""
    try:
        return Experiment.model_validate(content)
    except ValidationError as error:
        lines = [_describe(detail) for detail in error.errors()]
        raise ExperimentError("\n".join(f"{source}: {line}" for line in lines)) from None


def from_canonical(content: bytes) -> Experiment:
    """The experiment of :attr:`Experiment.canonical`, as a client receives it."""
    try:
        mapping = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ExperimentError(f"received experiment is not JSON: {error}") from None
    if not isinstance(mapping, dict):
        raise ExperimentError("received experiment is not a table of sections")
    return from_mapping(mapping, source="received experiment")


def parse_value(text: str, *, where: str | None = None) -> Any:
    """A value as the command line writes it: TOML, or else the text itself.

    Raises ExperimentError, which names ``where``, when it holds more than one value.
    """
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (tomllib.TOMLDecodeError, RecursionError):
        return text
    if set(parsed) != {"value"}:
        raise ExperimentError(f"{where or text}: one value only")
    return parsed["value"]


def _apply_override(content: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not separator or not all(parts):
        raise ExperimentError(f"--set {override}: write section.key=value, e.g. training.rounds=5")
    value = parse_value(text, where=f"--set {override}")
    table = content
    for part in parts[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise ExperimentError(f"--set {override}: {part} is a value, not a section")
    table[parts[-1]] = value


def _describe(detail: ErrorDetails) -> str:
    path, model, choices = _walk(detail["loc"])
    where = _dotted(path)
    kind, value = detail["type"], detail.get("input")
    if kind == "extra_forbidden":
        allowed = sorted(model.model_fields) if model else []
        return f"{where}: unknown key{_did_you_mean(path[-1], allowed)}; allowed here: {', '.join(allowed)}"
    if kind == "missing":
        return f"{where}: required, but not set"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        if not isinstance(value, dict):
            return f"{where} = {_shown(value)}: a section is needed: write [{where}] and its keys below"
        context = detail.get("ctx", {})
        key = next((key for key in _CHOICE_KEYS if f"'{key}'" == context.get("discriminator")), _CHOICE_KEYS[0])
        chosen = value.get(key)
        allowed = [tag.strip().strip("'") for tag in str(context.get("expected_tags", "")).split(",") if tag.strip()]
        allowed = allowed or _tags(choices, key)
        found = "not set" if chosen is None else f"{chosen!r} is not known{_did_you_mean(str(chosen), allowed)}"
        return f"{where}.{key}: {found}; allowed: {', '.join(allowed)}"
    message = detail["msg"].removeprefix("Value error, ")
    if kind == "value_error" and isinstance(value, str | int | float):
        return f"{where} = {_shown(value)}: {message}"
    if kind == "value_error":
        return f"{where}: {message}" if path else message
    return f"{where} = {_shown(value)}: {message[0].lower()}{message[1:]}{_hint(detail, value)}"


def _walk(loc: tuple[int | str, ...]) -> tuple[list[str], type[BaseModel] | None, list[Any]]:
    """The keys of ``loc`` as written in the file (pydantic adds tags of choices), the innermost section, its kinds."""
    path: list[str] = []
    candidates: list[Any] = [Experiment]
    section: type[BaseModel] | None = Experiment
    for part in loc:
        models = [m for m in candidates if isinstance(m, type) and issubclass(m, BaseModel)]
        tagged = [m for m in models if _is_tag(m, part)] if len(models) > 1 else []
        if tagged:
            candidates, section = list(tagged), tagged[0]
            continue
        section = models[0] if models else None
        path.append(str(part))
        field = section.model_fields.get(str(part)) if section else None
        candidates = list(_alternatives(field.annotation)) if field else []
    return path, section, candidates


def _is_tag(model: type[BaseModel], part: int | str) -> bool:
    fields = model.model_fields
    for key in _CHOICE_KEYS:
        if key in fields and part in _literals(fields[key].annotation):
            return True
    return part in ("own", "catalogue") and model.__name__.lower().startswith(str(part))


def _alternatives(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Annotated:
        yield from _alternatives(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, types.UnionType):
        for argument in get_args(annotation):
            yield from _alternatives(argument)
    else:
        yield annotation


def _literals(annotation: Any) -> list[Any]:
    return [value for a in _alternatives(annotation) if get_origin(a) is Literal for value in get_args(a)]


def _tags(choices: Iterable[Any], key: str) -> list[str]:
    tags: list[str] = []
    for choice in choices:
        fields = choice.model_fields if isinstance(choice, type) and issubclass(choice, BaseModel) else {}
        if key in fields:
            tags += [str(value) for value in _literals(fields[key].annotation)] or ["package.module:factory"]
    return list(dict.fromkeys(tags))


def _hint(detail: ErrorDetails, value: Any) -> str:
    if detail["type"] == "literal_error" and isinstance(value, str):
        allowed = [part.strip().strip("'") for part in detail["ctx"]["expected"].replace(" or ", ",").split(",")]
        return _did_you_mean(value, allowed)
    return ""


def _did_you_mean(word: str, allowed: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, allowed, n=1)
    return f" (did you mean '{close[0]}'?)" if close else ""


def _dotted(path: Sequence[str]) -> str:
    return ".".join(path) if path else "experiment"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
