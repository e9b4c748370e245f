"""What a sweep will do, checked before any of it is done: a grid of cells, or a search for the best one."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from leptonic.errors import ExperimentError
from leptonic.experiment import Experiment
from leptonic_simulations.sweep.axes import Axis, cells_of, parse_axis, refuse_repeated
from leptonic_simulations.sweep.cells import Cell, CellResult
from leptonic_simulations.sweep.metric import Metric
from leptonic_simulations.sweep.record import Record
from leptonic_simulations.sweep.source import Source, check_start, setting_of
from leptonic_simulations.sweep.space import Dimension, Range, parse_dimension

__all__ = ["Grid", "Plan", "Proposals", "Search", "plan_grid", "plan_search"]


class Proposals(Protocol):
    """Where cells come from, while a sweep's folder is held."""

    def __iter__(self) -> Iterator[Cell]:
        """Every cell of the sweep, those that ended before among them."""

    def tell(self, result: CellResult) -> None:
        """Hear what came of the cell that was taken last."""


@dataclass(frozen=True)
class Grid:
    """Every combination of the axes' values."""

    source: Source
    axes: tuple[Axis, ...]
    metric: Metric
    first: Experiment
    cells: tuple[Cell, ...]

    @property
    def total(self) -> int:
        """Cells in all."""
        return len(self.cells)

    @property
    def record(self) -> Record:
        """Without the metric: a grid may be ranked by any."""
        axes = tuple((axis.key, axis.text) for axis in self.axes)
        return Record("grid", axes, self.source.seeds, None, self.first.hash)

    @contextmanager
    def proposals(self, folder: Path) -> Iterator[Proposals]:
        """The cells in order."""
        yield _Fixed(self.cells)


@dataclass(frozen=True)
class Search:
    """So many trials of Optuna's sampler. real: keys whose numbers need not be whole."""

    source: Source
    axes: tuple[Dimension, ...]
    metric: Metric
    first: Experiment
    total: int
    real: frozenset[str]

    @property
    def record(self) -> Record:
        """Without the number of trials: a search may be made longer."""
        axes = tuple((dimension.key, dimension.text) for dimension in self.axes)
        return Record("search", axes, self.source.seeds, self.metric.value, self.first.hash)

    @contextmanager
    def proposals(self, folder: Path) -> Iterator[Proposals]:
        """The study's trials."""
        from leptonic_simulations.sweep.study import open_study

        with open_study(
            folder, self.axes, real=self.real, metric=self.metric, trials=self.total, seed=self.first.seed
        ) as study:
            yield study


Plan = Grid | Search
"""A checked sweep. first: its experiment with every axis at its first value. total: its cells in all."""


@dataclass(frozen=True)
class _Fixed:
    cells: tuple[Cell, ...]

    def __iter__(self) -> Iterator[Cell]:
        return iter(self.cells)

    def tell(self, result: CellResult) -> None:
        """Nothing depends on it."""


def plan_grid(source: Source, options: Sequence[str], metric: Metric) -> Grid:
    """The grid of ``--over`` options. Raises ExperimentError or DataError for any cell that could not start."""
    axes = tuple(parse_axis(option) for option in options)
    refuse_repeated([axis.key for axis in axes], overrides=source.overrides, seeds=bool(source.seeds))
    cells = tuple(Cell(number, settings) for number, settings in enumerate(cells_of(axes), start=1))
    experiments = [source.experiment(cell.settings) for cell in cells]
    check_start(experiments)
    return Grid(source, axes, metric, experiments[0], cells)


def plan_search(source: Source, options: Sequence[str], metric: Metric, trials: int) -> Search:
    """The search of ``--search`` options. Raises ExperimentError or DataError for ends or choices that are refused.

    Ends are tried together (all low, all high) and choices one at a time; a combination within that is refused
    becomes a failed trial.
    """
    _need_optuna()
    space = tuple(parse_dimension(option) for option in options)
    refuse_repeated([each.key for each in space], overrides=source.overrides, seeds=bool(source.seeds))
    low = {each.key: each.extremes[0] for each in space}
    high = {each.key: each.extremes[-1] for each in space}
    choices = [{**low, each.key: value} for each in space if not isinstance(each, Range) for value in each.extremes]
    experiments = [source.experiment(settings) for settings in (low, high, *choices)]
    check_start(experiments)
    first = experiments[0]
    real = frozenset(each.key for each in space if isinstance(setting_of(first, each.key), float))
    return Search(source, space, metric, first, trials, real)


def _need_optuna() -> None:
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise ExperimentError("--search needs Optuna; run: pip install 'leptonic[sweep]'") from None
