"""Accuracy by round, with and without a trusted server."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from leptonic.pictures import DOTS_PER_INCH, ruled, write

__all__ = ["draw"]


def draw(curves: Mapping[str, Sequence[Sequence[float]]], path: Path) -> None:
    """One line for each mechanism, the mean of its seeds, within the range of all of them."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(7, 4.2), dpi=DOTS_PER_INCH, layout="constrained")
    axes = figure.subplots()
    for label, runs in curves.items():
        if not runs:
            continue
        values = np.array(runs)
        rounds = np.arange(values.shape[1])
        (line,) = axes.plot(rounds, values.mean(axis=0), label=f"{label} ({len(runs)} seeds)")
        axes.fill_between(rounds, values.min(axis=0), values.max(axis=0), color=line.get_color(), alpha=0.15, lw=0)
    axes.set_xlabel("round")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel("test accuracy (%)")
    ruled(axes)
    write(figure, path)
