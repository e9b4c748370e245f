"""The picture of a demonstration: the images, and below them what was made of each sight of their updates."""

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from leptonic.data.examples import DataSpec
from leptonic.pictures import DOTS_PER_INCH, INK, MUTED, PAPER, write
from leptonic_simulations.audit.demonstration import Shown

__all__ = ["draw"]

SIDE = 1.15
"""Of an image, in inches."""
LABEL = 2.65
ABOUT = """Each client: one image, one step, the easiest case for an attacker. An attack that fails proves nothing.
Figures: correlation with the image of the column; of two different images it is {chance:.2f}.
Attack: {attack}."""


def draw(shown: Shown, spec: DataSpec, path: Path) -> None:
    """Write the picture as PNG, whole or not at all. spec: of the data, for their scale."""
    from matplotlib.figure import Figure

    rows, columns = 1 + len(shown.views), len(shown.originals)
    width, height = LABEL + SIDE * columns + 0.15, 0.75 + (SIDE + 0.2) * rows + 0.65
    figure = Figure(figsize=(width, height), facecolor=PAPER, dpi=DOTS_PER_INCH)
    grid = figure.add_gridspec(
        rows,
        columns,
        left=LABEL / width,
        right=1 - 0.15 / width,
        top=1 - 0.6 / height,
        bottom=0.7 / height,
        wspace=0.08,
        hspace=0.22,
    )
    for row in range(rows):
        view = shown.views[row - 1] if row else None
        images = view.images if view else shown.originals
        for column in range(columns):
            axes = figure.add_subplot(grid[row, column])
            _image(axes, images[column], shown.bounds, spec)
            if view:
                axes.set_xlabel(f"{view.likeness[column]:.2f}", fontsize=8, color=MUTED, labelpad=2)
            if not column:
                middle, name = (
                    axes.get_position().y0 + SIDE / 2 / height,
                    view.name if view else "images of the clients",
                )
                figure.text(0.15 / width, middle, _lines(name), va="center", fontsize=9.5, color=INK)
    figure.text(0.15 / width, 1 - 0.22 / height, "What a server makes of a first update", va="top", fontsize=12.5)
    figure.texts[-1].set(fontweight="bold", color=INK)
    figure.text(
        0.15 / width, 0.12 / height, ABOUT.format(chance=shown.chance, attack=shown.attack), fontsize=8, color=MUTED
    )
    write(figure, path)


def _image(axes: Any, image: Tensor, bounds: tuple[float, float], spec: DataSpec) -> None:
    per_channel = (-1, 1, 1)
    low, high = (
        np.full(image.shape, bound) * np.reshape(spec.std, per_channel) + np.reshape(spec.mean, per_channel)
        for bound in bounds
    )
    pixels = image.numpy() * np.reshape(spec.std, per_channel) + np.reshape(spec.mean, per_channel)
    scaled = np.clip((pixels - low.min()) / max(high.max() - low.min(), 1e-12), 0, 1).transpose(1, 2, 0)
    if scaled.shape[2] == 1:
        axes.imshow(scaled[..., 0], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    else:
        axes.imshow(scaled, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_visible(False)


def _lines(name: str, width: int = 30) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(name, width))
