"""Panels of one axis: the metric against a setting's values, and against the trials of a search."""

import itertools
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from leptonic.experiment_file import parse_value
from leptonic.pictures import ALARM, INK, LINES, ruled
from leptonic_simulations.sweep.axes import Axis
from leptonic_simulations.sweep.cells import CellResult
from leptonic_simulations.sweep.metric import Metric
from leptonic_simulations.sweep.results import Ranking
from leptonic_simulations.sweep.space import Dimension, Range
from leptonic_simulations.sweep.wording import METRIC_NAMES, setting_text, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["BEST", "Scale", "draw_history", "draw_line", "draw_points"]

LINE, BEST = LINES[:2]
_APART = 0.06
"""The part of an axis by which a grid's neighbouring values must be apart to stand at their number."""
_WIDE = 10.0
"""The ratio of largest to smallest from which a grid's numbers are spread by order of magnitude."""
_MOST_TICKS = 9


@dataclass(frozen=True)
class Scale:
    """Where a setting's values stand on an axis: at their number, or else side by side.

    ordered: the values are numbers, so that a line between them says something.
    """

    key: str
    places: dict[str, float]
    ordered: bool
    log: bool = False
    side_by_side: bool = False

    @classmethod
    def of(cls, axis: Axis | Dimension, ranking: Ranking) -> "Scale":
        """The scale for an axis of a grid or a dimension of a search."""
        if isinstance(axis, Range):
            texts = dict.fromkeys(result.cell.settings[axis.key] for result in ranking.all)
            return cls(axis.key, {text: float(text) for text in texts}, ordered=True, log=axis.log)
        values = {text: parse_value(text) for text in axis.values}
        if any(isinstance(value, bool) or not isinstance(value, int | float) for value in values.values()):
            return cls(axis.key, _side_by_side(axis.values), ordered=False, side_by_side=True)
        numbers = {text: float(value) for text, value in sorted(values.items(), key=lambda item: item[1])}
        smallest, largest = min(numbers.values()), max(numbers.values())
        if smallest > 0 and largest >= _WIDE * smallest and _are_apart([math.log(each) for each in numbers.values()]):
            return cls(axis.key, numbers, ordered=True, log=True)
        if _are_apart(list(numbers.values())):
            return cls(axis.key, numbers, ordered=True)
        return cls(axis.key, _side_by_side(numbers), ordered=True, side_by_side=True)

    def place(self, result: CellResult) -> float:
        """Of a cell."""
        return self.places[result.cell.settings[self.key]]

    def apply(self, axes: "Axes") -> None:
        """Ticks and limits of the horizontal axis."""
        axes.set_xlabel(self.key, color=INK)
        if self.log:
            axes.set_xscale("log")
        if len(self.places) <= _MOST_TICKS or self.side_by_side:
            axes.set_xticks(list(self.places.values()), [setting_text(text) for text in self.places])
            axes.set_xticks([], minor=True)
        if self.side_by_side:
            axes.set_xlim(-0.5, len(self.places) - 0.5)


def _side_by_side(texts: Iterable[str]) -> dict[str, float]:
    return {text: float(place) for place, text in enumerate(texts)}


def _are_apart(ordered: Sequence[float]) -> bool:
    gaps = [after - before for before, after in itertools.pairwise(ordered)]
    return not gaps or min(gaps) > _APART * sum(gaps)


def draw_line(axes: "Axes", ranking: Ranking, scale: Scale) -> None:
    """One swept key: its cells in a line with their spread, each seed as a faint point, the best marked."""
    metric = ranking.metric
    ordered = sorted(ranking.ranked, key=scale.place)
    places, values = [scale.place(each) for each in ordered], [ranking.value(each) for each in ordered]
    axes.plot(places, values, color=LINE, linestyle="-" if scale.ordered else "", linewidth=1.8, marker="o", zorder=3)
    for each, place, value in zip(ordered, places, values, strict=True):
        if spread := each.spread(metric):
            axes.errorbar(place, value, yerr=spread, color=LINE, linewidth=1.8, capsize=4, zorder=3)
            _draw_cells(axes, [place] * len(each.outcomes), each.values(metric), size=4)
    _mark_best(axes, ranking, scale, label=True)
    _mark_failed(axes, [scale.place(each) for each in ranking.failed])
    scale.apply(axes)
    _finish(axes, metric)


def draw_points(axes: "Axes", ranking: Ranking, scale: Scale, *, means: bool = True) -> None:
    """One of several keys: every cell at its value. means: a dash at the mean over the other keys."""
    groups = defaultdict(list)
    for each in ranking.ranked:
        groups[scale.place(each)].append(ranking.value(each))
    for place, values in groups.items():
        _draw_cells(axes, [place] * len(values), values)
    if means and groups:
        _draw_means(axes, groups, ordered=scale.ordered)
    _mark_best(axes, ranking, scale)
    _mark_failed(axes, [scale.place(each) for each in ranking.failed])
    scale.apply(axes)
    _finish(axes, ranking.metric)


def draw_history(axes: "Axes", ranking: Ranking) -> None:
    """A search's trials in order, and the best so far as a step line."""
    from matplotlib.ticker import MaxNLocator

    metric = ranking.metric
    ordered = sorted(ranking.ranked, key=lambda each: each.cell.number)
    numbers, values = [float(each.cell.number) for each in ordered], [ranking.value(each) for each in ordered]
    _draw_cells(axes, numbers, values)
    best = list(itertools.accumulate(values, min if metric.minimised else max))
    axes.step(numbers, best, where="post", color=BEST, linewidth=1.8, label="best so far")
    _mark_failed(axes, [each.cell.number for each in ranking.failed])
    axes.set_xlabel("trial", color=INK)
    axes.set_xlim(0.5, max((each.cell.number for each in ranking.all), default=1) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _finish(axes, metric)


def _draw_cells(axes: "Axes", places: list[float], values: list[float], *, size: float = 6) -> None:
    axes.plot(places, values, "o", color=LINE, alpha=0.45, markersize=size, markeredgewidth=0, zorder=2)


def _draw_means(axes: "Axes", groups: Mapping[float, list[float]], *, ordered: bool) -> None:
    places = sorted(groups)
    means = [statistics.fmean(groups[place]) for place in places]
    (line,) = axes.plot(places, means, color=INK, marker="_", label="mean over the other keys", zorder=3)
    line.set(linestyle="-" if ordered else "", linewidth=1.2, markersize=18, markeredgewidth=2)


def _mark_best(axes: "Axes", ranking: Ranking, scale: Scale, *, label: bool = False) -> None:
    best = ranking.best
    if best is None:
        return
    place, value = scale.place(best), ranking.value(best)
    axes.plot([place], [value], "o", color=BEST, markersize=9, markeredgecolor="white", markeredgewidth=1.2, zorder=5)
    if label:
        text = shown(value, ranking.metric)
        axes.annotate(text, (place, value), (9, 10), textcoords="offset points", color=BEST, fontweight="bold")


def _mark_failed(axes: "Axes", places: list[float]) -> None:
    if places:
        floor = axes.get_xaxis_transform()
        axes.plot(places, [0.03] * len(places), "x", color=ALARM, transform=floor, markeredgewidth=2, label="failed")


def _finish(axes: "Axes", metric: Metric) -> None:
    from matplotlib.ticker import FuncFormatter

    axes.set_ylabel(METRIC_NAMES[metric], color=INK)
    if not metric.minimised:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g}%"))
    axes.margins(x=0.06, y=0.14)
    ruled(axes)
