"""``--search KEY=LOW..HIGH[:log]`` and ``--search KEY=A,B,C``: one dimension of a search."""

import math
import re
from dataclasses import dataclass

from leptonic.errors import ExperimentError
from leptonic.experiment_file import parse_value
from leptonic_simulations.sweep.axes import split_key, split_values

__all__ = ["Choices", "Dimension", "Range", "parse_dimension"]

_RANGE = re.compile(r"(?P<low>[-+.\w]+?)\.\.(?P<high>[-+.\w]+?)(?P<log>:log)?")
_EXAMPLE = "training.learning_rate=0.001..0.5:log"


@dataclass(frozen=True)
class Range:
    """A setting between two numbers, both included. log: drawn evenly by order of magnitude."""

    key: str
    low: float
    high: float
    log: bool = False

    @property
    def text(self) -> str:
        """The range as it is recorded."""
        return f"{self.low!r}..{self.high!r}" + (":log" if self.log else "")

    @property
    def extremes(self) -> tuple[str, ...]:
        """Both ends, as values of the command line."""
        return repr(self.low), repr(self.high)


@dataclass(frozen=True)
class Choices:
    """A setting and the values to choose from, as the user wrote them."""

    key: str
    values: tuple[str, ...]

    @property
    def text(self) -> str:
        """The choices as they are recorded."""
        return ",".join(self.values)

    @property
    def extremes(self) -> tuple[str, ...]:
        """All values: each must be possible."""
        return self.values


Dimension = Range | Choices


def parse_dimension(option: str) -> Dimension:
    """The dimension of an option's text. Raises ExperimentError for anything else."""
    key, text = split_key(option, flag="--search", example=_EXAMPLE)
    where = f"--search {option}"
    found = _RANGE.fullmatch(text.strip())
    if found:
        return _range(key, found["low"], found["high"], log=found["log"] is not None, where=where)
    values = split_values(text, where=where)
    if len(values) < 2:
        raise ExperimentError(f"{where}: write a range (LOW..HIGH or LOW..HIGH:log) or choices (A,B), e.g. {_EXAMPLE}")
    return Choices(key, values)


def _range(key: str, low: str, high: str, *, log: bool, where: str) -> Range:
    ends = [parse_value(low), parse_value(high)]
    for text, end in zip((low, high), ends, strict=True):
        if isinstance(end, bool) or not isinstance(end, int | float) or not math.isfinite(end):
            raise ExperimentError(f"{where}: {text} is not a number")
    if not ends[0] < ends[1]:
        raise ExperimentError(f"{where}: {low} must be less than {high}")
    if log and ends[0] <= 0:
        raise ExperimentError(f"{where}: a logarithmic range begins above zero, not at {low}")
    return Range(key, ends[0], ends[1], log)
