"""How the classes are spread over the clients: counts, a table for the terminal, a picture.

Called by ``leptonic data describe`` and by a simulation's report. It shows every client's label counts: in a
deployment nobody has them, which is why this works on simulated partitions only.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from leptonic.data.examples import DataSpec
from leptonic.pictures import DOTS_PER_INCH, INK, LINES, MUTED, bare, ruled, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage
    from rich.table import Table

__all__ = ["class_names", "draw_label_counts", "label_counts", "label_table"]

Counts = NDArray[np.int64]

MOST_ROWS = 20
LONGEST_HEADING = 6  # characters; longer class names go into a legend
MOST_WRITTEN_CELLS = 300  # more numbers than this can't be read in the picture


def label_counts(parts: Sequence[NDArray[np.intp]], labels: NDArray[np.int64], classes: int) -> Counts:
    """How many examples of each class each client holds: (clients, classes)."""
    return np.stack([np.bincount(labels[rows], minlength=classes) for rows in parts]).astype(np.int64)


def class_names(spec: DataSpec) -> tuple[str, ...]:
    """The declared names of the classes, or else their numbers."""
    return spec.class_names or tuple(str(label) for label in range(spec.classes))


def label_table(counts: Counts, names: Sequence[str], title: str) -> "Table":
    """The counts for a terminal; of many clients the first, and the totals of all."""
    from rich import box
    from rich.table import Table

    short = max(len(name) for name in names) <= LONGEST_HEADING
    legend = "" if short else ", ".join(f"{label} {name}" for label, name in enumerate(names))
    table = Table(title=title, caption=legend, box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    table.add_column("client", justify="right", no_wrap=True)
    table.add_column("examples", justify="right", style="bold", no_wrap=True)
    for label, name in enumerate(names):
        table.add_column(name if short else str(label), justify="right", no_wrap=True)
    for client, row in enumerate(counts[:MOST_ROWS]):
        table.add_row(str(client), str(row.sum()), *(str(count) if count else "[dim]·[/dim]" for count in row))
    if len(counts) > MOST_ROWS:
        table.add_row("…", f"(of {len(counts)})")
    table.add_section()
    table.add_row("all", str(counts.sum()), *(str(count) for count in counts.sum(axis=0)), style="bold")
    return table


def draw_label_counts(counts: Counts, names: Sequence[str], title: str, out: Path) -> None:
    """Write the picture (PNG): a heat map of classes by clients, under a bar of each client's size."""
    from matplotlib.figure import Figure

    clients, classes = counts.shape
    width = float(np.clip(2.8 + 0.5 * clients, 7.5, 13.0))
    height = 2.9 + 0.34 * min(classes, 40)
    figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH, layout="constrained")
    sizes, cells = figure.subplots(2, 1, sharex=True, height_ratios=[1.0, max(2.0, 0.3 * min(classes, 40))])
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold", color=INK)
    _draw_sizes(sizes, counts)
    picture = _draw_cells(cells, counts, names)
    scale = figure.colorbar(picture, ax=cells, pad=0.015, aspect=24)
    scale.outline.set_visible(False)
    scale.set_label("examples of the class", color=MUTED)
    bare(scale.ax)
    scale.ax.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    write(figure, out)


def _draw_sizes(axes: "Axes", counts: Counts) -> None:
    totals = counts.sum(axis=1)
    axes.bar(np.arange(len(totals)), totals, width=0.8 if len(totals) <= 100 else 1.0, color=LINES[0])
    axes.axhline(float(totals.mean()), color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set_ylabel("examples", color=INK)
    axes.set_title(
        f"{counts.sum():,} examples; smallest client {totals.min():,}, mean {totals.mean():,.0f} (dashed), "
        f"largest {totals.max():,}",
        loc="left",
        fontsize=9,
        color=MUTED,
    )
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.locator_params(axis="y", nbins=3)
    ruled(axes, along="y")


def _draw_cells(axes: "Axes", counts: Counts, names: Sequence[str]) -> "AxesImage":
    clients, classes = counts.shape
    picture = axes.imshow(counts.T, aspect="auto", cmap="Blues", vmin=0, interpolation="nearest")
    axes.set_xlabel("client", color=INK)
    axes.set_ylabel("class", color=INK)
    if classes <= 40:
        axes.set_yticks(range(classes), names)
    if clients <= 30:
        axes.set_xticks(range(clients))
    bare(axes, ink=INK)
    if counts.size <= MOST_WRITTEN_CELLS:
        axes.hlines(np.arange(1, classes) - 0.5, -0.5, clients - 0.5, colors="white", linewidth=1.5)
        axes.vlines(np.arange(1, clients) - 0.5, -0.5, classes - 0.5, colors="white", linewidth=1.5)
        for (client, label), count in np.ndenumerate(counts):
            colour = "white" if count > 0.55 * counts.max() else (INK if count else "#b4bfca")
            axes.text(
                client,
                label,
                f"{count:,}" if count else "·",
                ha="center",
                va="center",
                fontsize=8,
                color=colour,
            )
    return picture
