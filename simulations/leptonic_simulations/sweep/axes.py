"""``--over KEY=A,B,C``: one axis of a grid, and the cells of several axes together."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from leptonic.errors import ExperimentError

__all__ = ["Axis", "cells_of", "parse_axis", "refuse_repeated", "split_key", "split_values"]

_CLOSING = {"[": "]", "{": "}", "(": ")"}


@dataclass(frozen=True)
class Axis:
    """One setting and the values that it takes, as the user wrote them (TOML, or plain text)."""

    key: str
    values: tuple[str, ...]

    @property
    def text(self) -> str:
        """The axis as it is recorded."""
        return ",".join(self.values)


def parse_axis(option: str) -> Axis:
    """The axis of ``section.key=value,value``. Raises ExperimentError for anything else."""
    key, text = split_key(option, flag="--over", example="training.learning_rate=0.01,0.05")
    return Axis(key, split_values(text, where=f"--over {option}"))


def split_key(option: str, *, flag: str, example: str) -> tuple[str, str]:
    """Key and text of ``section.key=text``."""
    key, separator, text = option.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not separator or not all(parts):
        raise ExperimentError(f"{flag} {option}: write section.key=values, e.g. {flag} {example}")
    return ".".join(parts), text


def split_values(text: str, *, where: str) -> tuple[str, ...]:
    """The values between commas; a comma inside brackets or quotes belongs to its value."""
    values = tuple(value.strip() for value in _pieces(text))
    if not all(values):
        raise ExperimentError(f"{where}: a value is missing; write one before and after each comma")
    if twice := next((value for value in values if values.count(value) > 1), None):
        raise ExperimentError(f"{where}: {twice} is there twice; leave one out")
    return values


def refuse_repeated(keys: Sequence[str], *, overrides: Sequence[str], seeds: bool) -> None:
    """Raise ExperimentError for a key that is swept twice, or swept and set."""
    fixed = {split_key(override, flag="--set", example="training.rounds=5")[0] for override in overrides}
    for key in keys:
        if keys.count(key) > 1:
            raise ExperimentError(f"{key}: is swept twice; put all its values in one option")
        if key in fixed:
            raise ExperimentError(f"{key}: is swept and --set; leave one out")
        if key == "seed" and seeds:
            raise ExperimentError("seed: is swept and repeated by --seeds; leave one out")


def cells_of(axes: Sequence[Axis]) -> Iterator[dict[str, str]]:
    """Every combination of values, by key; the last axis changes fastest."""
    for values in itertools.product(*(axis.values for axis in axes)):
        yield dict(zip((axis.key for axis in axes), values, strict=True))


def _pieces(text: str) -> Iterator[str]:
    start, open_, quote = 0, [], ""
    for position, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        elif letter in _CLOSING:
            open_.append(_CLOSING[letter])
        elif open_ and letter == open_[-1]:
            open_.pop()
        elif letter == "," and not open_:
            yield text[start:position]
            start = position + 1
    yield text[start:]
