"""Which client holds which classes: a heat map of label counts. Of simulations only."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leptonic_server.report.axes import figure, thinned
from leptonic_server.report.markup import Markup, join, tag
from leptonic_server.report.wording import counted, plural

__all__ = ["label_map"]

MOST_CLIENTS = 60
MOST_CLASSES = 30
LONGEST_NAME = 18
"""Characters of a class's name beside its row."""


@dataclass(frozen=True)
class _Labels:
    """The part of the counts that is drawn. shares: (clients, classes) of each client's examples, 0 to 1."""

    counts: NDArray[np.int64]
    shares: NDArray[np.float64]
    clients: list[int]
    classes: list[int]
    full: float

    @classmethod
    def of(cls, counts: NDArray[np.int64]) -> "_Labels":
        """An evenly spaced sample of many clients; of many classes the most frequent."""
        clients = thinned(range(len(counts)), MOST_CLIENTS)
        frequent = np.argsort(-counts.sum(axis=0), kind="stable")[:MOST_CLASSES]
        shares = counts / np.maximum(counts.sum(axis=1), 1)[:, None]
        # The share that every class has where labels are even must not look extreme.
        full = min(1.0, max(float(shares[clients].max(initial=0.0)), 3.0 / counts.shape[1]))
        return cls(counts, shares, clients, sorted(frequent.tolist()), full)


@dataclass(frozen=True)
class _Grid:
    """Where cells lie, in user units."""

    columns: int
    rows: int
    left: float
    top: float = 78.0
    width: float = 1040.0

    @property
    def wide(self) -> float:
        """Of a column, its gap included."""
        return min(96.0, (self.width - self.left) / self.columns)

    @property
    def high(self) -> float:
        """Of a row, its gap included."""
        return 24.0 if self.rows <= 14 else 15.0

    @property
    def foot(self) -> float:
        """The lower end of the cells."""
        return self.top + self.rows * self.high

    def middle(self, column: int) -> str:
        """The horizontal middle of a column."""
        return f"{self.left + column * self.wide + (self.wide - self.gap) / 2:.1f}"

    @property
    def gap(self) -> float:
        """Between cells."""
        return 2.0 if self.wide > 12 else 1.0

    def bar(self, column: int, top: float, foot: float) -> dict[str, str]:
        """The rectangle that fills a column between two heights."""
        x = self.left + column * self.wide
        sides = {"x": x, "y": top, "width": self.wide - self.gap, "height": foot - top}
        return {side: f"{value:.1f}" for side, value in sides.items()}


def label_map(counts: NDArray[np.int64], class_names: Sequence[str], name: Callable[[int], str]) -> Markup:
    """A column per client and a row per class: the darker, the larger the class's share of the client's examples.

    counts: (clients, classes), at least one of each. Above the columns stands each client's number of examples.
    name: of a client. Classes without a name are called by their index.
    """
    labels = _Labels.of(counts)
    titles = [_title(label, class_names) for label in labels.classes]
    grid = _Grid(len(labels.clients), len(labels.classes), left=16.0 + 6.6 * max(9, *map(len, titles)))
    parts = [_sizes(labels, grid, name), _names(labels, grid, titles)]
    parts += [_column(labels, grid, column, [name(client), *titles]) for column, client in enumerate(labels.clients)]
    title = "Labels of each client"
    box = f"0 0 {grid.width:g} {grid.foot + 24:g}"
    drawing = tag("svg", *parts, viewBox=box, role="img", aria_label=title)
    return figure(title, _lead(labels), drawing, _scale(labels.full), wide=True)


def _column(labels: _Labels, grid: _Grid, column: int, names: Sequence[str]) -> Markup:
    """One client's cells; names: the client's, then the classes'."""
    client, cells = labels.clients[column], []
    for row, label in enumerate(labels.classes):
        share, count = float(labels.shares[client, label]), int(labels.counts[client, label])
        words = tag("title", f"{names[0]} \u00b7 {names[row + 1]}: {counted(count)} ({share:.1%})")
        top = grid.top + row * grid.high
        place = grid.bar(column, top, top + grid.high - grid.gap)
        cells.append(
            tag("rect", words, class_="heat", fill_opacity=f"{0.06 + 0.94 * share / labels.full:.2f}", **place)
        )
    return join(cells)


def _sizes(labels: _Labels, grid: _Grid, name: Callable[[int], str]) -> Markup:
    """Bars of the clients' numbers of examples."""
    totals = labels.counts.sum(axis=1)
    largest, foot = max(1, int(totals.max())), grid.top - 8
    parts = [tag("text", "examples", x=f"{grid.left - 8:g}", y=f"{foot - 4:g}", text_anchor="end")]
    for column, client in enumerate(labels.clients):
        total = int(totals[client])
        top = foot - max(1.0, 44.0 * total / largest)
        words = tag("title", f"{name(client)}: {plural(total, 'example')}")
        parts.append(tag("rect", words, class_="size", **grid.bar(column, top, foot)))
        if grid.wide >= 44:
            parts.append(tag("text", counted(total), x=grid.middle(column), y=f"{top - 5:.1f}", text_anchor="middle"))
    return join(parts)


def _names(labels: _Labels, grid: _Grid, titles: Sequence[str]) -> Markup:
    """The classes at the left, the clients' indices below."""
    beside, below = f"{grid.left - 8:g}", f"{grid.foot + 16:g}"
    heights = [grid.top + row * grid.high + grid.high / 2 + 3 for row in range(grid.rows)]
    parts = [
        tag("text", title, x=beside, y=f"{y:g}", text_anchor="end") for title, y in zip(titles, heights, strict=True)
    ]
    parts.append(tag("text", "client", class_="axis", x=beside, y=below, text_anchor="end"))
    every = 1 if grid.wide >= 24 else 5
    for column, client in list(enumerate(labels.clients))[::every]:
        parts.append(tag("text", client, x=grid.middle(column), y=below, text_anchor="middle"))
    return join(parts)


def _title(label: int, class_names: Sequence[str]) -> str:
    name = class_names[label] if label < len(class_names) else str(label)
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "\u2026"


def _lead(labels: _Labels) -> str:
    clients, classes = labels.counts.shape
    held = (labels.counts > 0).sum(axis=1)
    parts = [f"{plural(int(labels.counts.sum()), 'example')}; a client holds {_span(held)} of {classes} classes."]
    if clients > len(labels.clients):
        parts.append(f"Drawn: an evenly spaced sample of {len(labels.clients)} of the {clients:,} clients.")
    if classes > len(labels.classes):
        parts.append(f"Drawn: the {len(labels.classes)} most frequent classes.")
    parts.append("Known because this is a simulation.")
    return " ".join(parts)


def _span(values: NDArray[np.int64]) -> str:
    low, high = int(values.min()), int(values.max())
    return str(low) if low == high else f"{low} to {high}"


def _scale(full: float) -> Markup:
    steps = [tag("span", style=f"opacity:{strength:g}") for strength in (0.15, 0.35, 0.55, 0.75, 1.0)]
    scale = tag("span", *steps, class_="steps")
    return tag("p", "share of the client's examples: 0% ", scale, f" {full:.0%}", class_="scale")
