"""The picture of the accuracy benchmark: each line's seeds beside what was published, and accuracy by epsilon."""

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leptonic.pictures import DOTS_PER_INCH, INK, LINES, MUTED, ruled, write
from private.accuracy import EPSILON, Line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {"tanh_cnn": LINES[1], "logistic": LINES[0]}
NAMES = {"tanh_cnn": "CNN on pixels", "logistic": "linear model of\nscattering features"}
Runs = Mapping[float, list[dict[str, Any]]]


def draw(found: Mapping[Line, Runs], out: Path) -> None:
    """Write the picture (PNG). found: the stored runs of each line, by epsilon."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4.6), dpi=DOTS_PER_INCH, layout="constrained")
    measured = {line: runs for line, runs in found.items() if runs}
    datasets = list(dict.fromkeys(line.data for line in measured))
    *panels, last = figure.subplots(1, len(datasets) + 1, squeeze=False)[0]
    for panel, data in zip(panels, datasets, strict=True):
        own = {line: runs[EPSILON] for line, runs in measured.items() if line.data == data and EPSILON in runs}
        _draw_seeds(panel, data, own)
    _draw_epsilons(last, {line: runs for line, runs in measured.items() if len(runs) > 1})
    title = "Test accuracy (%) under example-level differential privacy, delta 1e-5"
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold", color=INK)
    write(figure, out)


def _draw_seeds(axes: "Axes", data: str, found: Mapping[Line, list[dict[str, Any]]]) -> None:
    for row, (line, runs) in enumerate(found.items()):
        values, colour = [one["accuracy"] for one in runs], COLOURS[line.model]
        mean = statistics.mean(values)
        axes.scatter(values, [row] * len(values), color=colour, s=28, alpha=0.55, linewidths=0, zorder=3)
        axes.plot([mean, mean], [row - 0.18, row + 0.18], color=colour, linewidth=2, zorder=3)
        axes.annotate(f"{mean:.2f}", (mean, row - 0.24), ha="center", va="bottom", fontsize=9, color=INK)
        if line.published is not None:
            axes.scatter([line.published], [row], marker="D", s=60, facecolors="none", edgecolors=INK, zorder=4)
        if line.target is not None:
            axes.plot([line.target] * 2, [row - 0.3, row + 0.3], color=MUTED, linewidth=1, linestyle=(0, (2, 2)))
    counts = [f"{len(runs)} {'seed' if len(runs) == 1 else 'seeds'}" for runs in found.values()]
    who = [f"{line.clients} clients" if line.clients > 1 else "one client" for line in found]
    labels = [f"{NAMES[line.model]}\n{w}, {count}" for line, w, count in zip(found, who, counts, strict=True)]
    axes.set_yticks(range(len(found)), labels)
    axes.set_ylim(len(found) - 0.5, -0.6)
    axes.set_title(f"{data}, epsilon {EPSILON:g}", loc="left", fontsize=11, color=INK)
    axes.set_xlabel("bar: mean; diamond: published; dotted: target", color=MUTED, fontsize=8)
    ruled(axes, along="x")


def _draw_epsilons(axes: "Axes", found: Mapping[Line, Runs]) -> None:
    for line, runs in found.items():
        means = [statistics.mean(one["accuracy"] for one in several) for several in runs.values()]
        style = (0, (4, 2)) if line.clients > 1 else "-"
        axes.plot(list(runs), means, color=COLOURS[line.model], linestyle=style, marker="o", markersize=5)
        for epsilon, mean in zip(runs, means, strict=True):
            axes.annotate(f"{mean:.2f}", (epsilon, mean), (6, -11), textcoords="offset points", fontsize=9, color=INK)
    axes.set_xscale("log")
    shown = sorted({epsilon for runs in found.values() for epsilon in runs})
    axes.set_xticks(shown, [f"{epsilon:g}" for epsilon in shown])
    axes.minorticks_off()
    axes.margins(x=0.15, y=0.15)
    axes.set_xlabel("epsilon", color=INK)
    names = ", ".join(line.name for line in found)
    axes.set_title(f"by epsilon: {names}", loc="left", fontsize=11, color=INK)
    ruled(axes)
