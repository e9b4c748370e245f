"""How every picture looks, and how it is written: whole or not at all."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from leptonic.files import write_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["ALARM", "DOTS_PER_INCH", "INK", "LINES", "MUTED", "PAPER", "bare", "ruled", "write"]

INK, MUTED, PAPER, ALARM = "#1b2530", "#5c6876", "#ffffff", "#b3261e"
LINES = ("#0b62b0", "#d9680f", "#2b7a4b")
"""In their order: blue, orange, green."""
DOTS_PER_INCH = 150
_RULE = "#e3e8ed"


def bare(axes: "Axes", *, ink: str = MUTED) -> None:
    """Neither a frame nor ticks. ink: of their labels."""
    axes.tick_params(colors=ink, length=0, which="both")
    for side in axes.spines.values():
        side.set_visible(False)


def ruled(axes: "Axes", *, along: Literal["x", "y", "both"] = "both") -> None:
    """No frame, but rules behind what is drawn, and a legend if there is anything to name."""
    bare(axes)
    axes.grid(axis=along, color=_RULE, linewidth=0.8)
    axes.set_axisbelow(True)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8.5, labelcolor=MUTED, loc="best")


def write(figure: "Figure", path: Path) -> None:
    """PNG, or SVG by the file's name; the same figure gives the same bytes."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    content, vectors = io.BytesIO(), path.suffix.lower() == ".svg"
    FigureCanvasAgg(figure)
    with mpl.rc_context({"svg.hashsalt": "leptonic"}):
        figure.savefig(
            content, format="svg" if vectors else "png", dpi=figure.dpi, metadata={"Date": None} if vectors else None
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, content.getvalue())
