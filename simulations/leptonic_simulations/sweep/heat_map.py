"""The heat map of a grid with two swept keys: a value in each cell, darker is better."""

from typing import TYPE_CHECKING

import numpy as np

from leptonic.pictures import ALARM, INK, MUTED, bare
from leptonic_simulations.sweep.axes import Axis
from leptonic_simulations.sweep.cells import CellResult
from leptonic_simulations.sweep.panels import BEST
from leptonic_simulations.sweep.results import Ranking
from leptonic_simulations.sweep.wording import METRIC_NAMES, setting_text, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_heat_map"]

MOST_TEXTS = 15
"""Values per axis up to which each cell's value is written into it."""


def draw_heat_map(figure: "Figure", ranking: Ranking, *, across: Axis, down: Axis) -> None:
    """Fill the figure. across: at most 1 column per value; down: rows, first value at the bottom."""
    from matplotlib import colormaps

    columns, rows = len(across.values), len(down.values)
    figure.set_size_inches(float(np.clip(3.4 + 0.95 * columns, 6.8, 14)), float(np.clip(2.2 + 0.62 * rows, 3.8, 11)))
    axes = figure.subplots()
    values = np.full((rows, columns), np.nan)
    for result in ranking.ranked:
        values[_at(result, across, down)] = ranking.value(result)
    colours = colormaps["Blues_r" if ranking.metric.minimised else "Blues"].with_extremes(bad="#f3f4f6")
    low, high = _limits(values)
    picture = axes.imshow(
        np.ma.masked_invalid(values), aspect="auto", cmap=colours, vmin=low, vmax=high, origin="lower"
    )
    for axis, texts, name in ((axes.xaxis, across.values, across.key), (axes.yaxis, down.values, down.key)):
        axis.set_ticks(range(len(texts)), [setting_text(text) for text in texts])
        axis.set_label_text(name, color=INK)
    bare(axes)
    _separate(axes, columns, rows)
    if max(columns, rows) <= MOST_TEXTS:
        _write(axes, ranking, across, down, middle=(low + high) / 2)
    _mark(axes, ranking, across, down)
    scale = figure.colorbar(picture, ax=axes, pad=0.015, aspect=24)
    scale.outline.set_visible(False)
    scale.set_label(METRIC_NAMES[ranking.metric], color=MUTED)
    bare(scale.ax)
    scale.ax.yaxis.set_major_formatter(
        lambda value, _: f"{value:.3g}" if ranking.metric.minimised else f"{100 * value:.4g}%"
    )


def _at(result: CellResult, across: Axis, down: Axis) -> tuple[int, int]:
    settings = result.cell.settings
    return down.values.index(settings[down.key]), across.values.index(settings[across.key])


def _limits(values: "np.ndarray[tuple[int, int], np.dtype[np.float64]]") -> tuple[float, float]:
    """The range of colours; some width even where all values are equal or missing."""
    if np.isnan(values).all():
        return 0.0, 1.0
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    return (low, high) if high > low else (low - 0.01, high + 0.01)


def _separate(axes: "Axes", columns: int, rows: int) -> None:
    axes.set_xticks(np.arange(columns + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(rows + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=2.5)
    axes.tick_params(which="minor", length=0)


def _write(axes: "Axes", ranking: Ranking, across: Axis, down: Axis, *, middle: float) -> None:
    metric = ranking.metric
    for result in ranking.ranked:
        row, column = _at(result, across, down)
        value, spread = ranking.value(result), result.spread(metric)
        dark = (value > middle) != metric.minimised
        text = shown(value, metric)
        if spread is not None:
            text += f"\n± {f'{spread:.2g}' if metric.minimised else f'{100 * spread:.2f}'}"
        axes.text(column, row, text, ha="center", va="center", fontsize=9, color="white" if dark else INK)


def _mark(axes: "Axes", ranking: Ranking, across: Axis, down: Axis) -> None:
    from matplotlib.patches import Rectangle

    for result in ranking.failed:
        row, column = _at(result, across, down)
        axes.text(column, row, "failed", ha="center", va="center", fontsize=9, color=ALARM)
    if ranking.best is not None:
        row, column = _at(ranking.best, across, down)
        corner = (column - 0.47, row - 0.47)
        axes.add_patch(Rectangle(corner, 0.94, 0.94, fill=False, edgecolor=BEST, linewidth=2.5, zorder=4))
