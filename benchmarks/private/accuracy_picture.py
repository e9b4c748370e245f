"""The picture of the accuracy benchmark: a panel for each data set, a point for each seed, a line through the means."""

import io
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leptonic.files import write_atomic
from private.accuracy import EPSILON, Line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, MUTED = "#1b2733", "#5b6b7a"
COLOURS = {"tanh_cnn": "#c4572e", "logistic": "#3b6ea5"}
NAMES = {"tanh_cnn": "CNN on pixels", "logistic": "linear on scattering features"}
DOTS_PER_INCH = 150
Found = Mapping[float, list[dict[str, Any]]]


def draw(found: Mapping[Line, Found], out: Path) -> None:
    """Write the picture (PNG). found: the stored runs of each line, by epsilon."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5.2), dpi=DOTS_PER_INCH, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    datasets = list(dict.fromkeys(line.data for line in found))
    for panel, data in zip(figure.subplots(1, len(datasets), squeeze=False)[0], datasets, strict=True):
        _draw_panel(panel, data, {line: runs for line, runs in found.items() if line.data == data})
    figure.suptitle(
        "Test accuracy under example-level differential privacy (delta 1e-5)",
        x=0.01,
        ha="left",
        fontsize=13,
        fontweight="bold",
        color=INK,
    )
    content = io.BytesIO()
    canvas.print_png(content)
    write_atomic(out, content.getvalue())


def _draw_panel(axes: "Axes", data: str, found: Mapping[Line, Found]) -> None:
    for line, runs in found.items():
        if not runs:
            continue
        colour, federated = COLOURS[line.model], line.clients > 1
        means = [statistics.mean(one["accuracy"] for one in runs[epsilon]) for epsilon in runs]
        who = f"{line.clients} clients" if federated else "one client"
        axes.plot(
            list(runs), means, color=colour, linestyle=(0, (4, 2)) if federated else "-", linewidth=1.4,
            marker="s" if federated else "o", markersize=5, label=f"{NAMES[line.model]}, {who}",
        )  # fmt: skip
        points = [(epsilon, one["accuracy"]) for epsilon, several in runs.items() for one in several]
        axes.scatter(*zip(*points, strict=True), color=colour, s=9, alpha=0.5, linewidths=0)
        if line.published is not None:
            axes.scatter(
                [EPSILON], [line.published], marker="D", s=48, facecolors="none", edgecolors=colour, linewidths=1.3,
                label=f"{NAMES[line.model]}, published", zorder=4,
            )  # fmt: skip
    axes.set_xscale("log")
    shown = sorted({epsilon for runs in found.values() for epsilon in runs} | {EPSILON})
    axes.set_xticks(shown, [f"{epsilon:g}" for epsilon in shown])
    axes.minorticks_off()
    axes.set_xlabel("epsilon", color=INK)
    axes.set_ylabel("accuracy (%)", color=INK)
    axes.set_title(data, loc="left", fontsize=11, color=INK)
    axes.grid(color="#e3e8ed", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=MUTED, length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower right", fontsize=8, frameon=False)
