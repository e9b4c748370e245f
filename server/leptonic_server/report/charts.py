"""Lines and stacked bars over rounds."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from leptonic_server.report.axes import MOST_DRAWN, ROUNDS, Along, Frame, figure, thinned, ticks, whole_ticks
from leptonic_server.report.markup import Markup, join, tag

__all__ = ["Limit", "Series", "line_chart", "stacked_bars"]


@dataclass(frozen=True)
class Series:
    """One line, or one part of the bars.

    points: (round, value) in order; the round may be another quantity. colour: 1..6 of the page's palette.
    """

    name: str
    colour: int
    points: tuple[tuple[float, float], ...]

    def drawn(self) -> list[tuple[float, float]]:
        """The points that a chart draws: finite ones, thinned."""
        return thinned([(number, value) for number, value in self.points if math.isfinite(value)])


@dataclass(frozen=True)
class Limit:
    """A level that must not be passed, drawn across the chart."""

    name: str
    value: float


def line_chart(
    title: str,
    lead: str,
    series: Sequence[Series],
    *,
    shown: Callable[[float], str],
    tick: Callable[[float], str] | None = None,
    limit: Limit | None = None,
    along: Along = ROUNDS,
) -> Markup:
    """Lines by round, each with its last value in the legend. tick: how the axis writes values, else ``shown``.

    Series without a finite value are left out; without any the chart is empty markup.
    """
    lines = [(one, one.drawn()) for one in series]
    lines = [(one, points) for one, points in lines if points]
    if not lines:
        return Markup()
    values = [value for _, points in lines for _, value in points] + ([limit.value] if limit else [])
    rounds = sorted({number for _, points in lines for number, _ in points})
    levels = ticks(min(values), max(values)) if limit is None else ticks(0.0, max(values))
    last = max(rounds[-1], rounds[0] + 1)
    frame = Frame(x=(rounds[0], last), y=(levels[0], levels[-1]))
    body = [frame.grid(levels, along.marks(rounds[0], last), tick or shown, along.name)]
    body += [_limit_line(frame, limit)] if limit else []
    body += [_line(frame, one, points) for one, points in lines]
    body.append(frame.columns(_said(lines, shown, thinned(rounds), along), _gap(rounds)))
    legend = [(one.colour, one.name, shown(points[-1][1])) for one, points in lines]
    return figure(
        title, _with_thinning(lead, series), frame.drawing(*body, label=f"{title}. {lead}"), _legend(legend, "line")
    )


def stacked_bars(
    title: str, lead: str, series: Sequence[Series], *, shown: Callable[[float], str], tick: Callable[[float], str]
) -> Markup:
    """Bars by round, one part per series, first at the bottom. The legend gives each part's total.

    All series have the same rounds, and values of at least 0.
    """
    parts = [(one, one.drawn()) for one in series]
    parts = [(one, points) for one, points in parts if any(value for _, value in points)]
    if not parts:
        return Markup()
    rounds = [number for number, _ in parts[0][1]]
    base = [0.0] * len(rounds)
    levels = ticks(0.0, max(map(sum, zip(*([v for _, v in points] for _, points in parts), strict=True))))
    gap = _gap(rounds)
    frame = Frame(x=(rounds[0] - gap / 2, rounds[-1] + gap / 2), y=(0.0, levels[-1]))
    body = [frame.grid(levels, whole_ticks(int(rounds[0]), int(rounds[-1])), tick)]
    for one, points in parts:
        body.append(_bars(frame, one, points, base))
        base = [low + value for low, (_, value) in zip(base, points, strict=True)]
    body.append(frame.columns(_said(parts, shown, rounds), gap))
    legend = [(one.colour, one.name, f"{shown(sum(v for _, v in one.points))} in all") for one, _ in parts]
    return figure(
        title, _with_thinning(lead, series), frame.drawing(*body, label=f"{title}. {lead}"), _legend(legend, "box")
    )


def _line(frame: Frame, one: Series, points: list[tuple[float, float]]) -> Markup:
    places = [f"{frame.across(number):.1f} {frame.up(value):.1f}" for number, value in points]
    x, y = places[-1].split()
    parts = [tag("path", class_=f"line s{one.colour}", d="M" + "L".join(places))]
    if len(points) <= 12:
        parts += [
            tag("circle", class_=f"dot s{one.colour}", cx=p.split()[0], cy=p.split()[1], r=2) for p in places[:-1]
        ]
    return join([*parts, tag("circle", class_=f"dot s{one.colour}", cx=x, cy=y, r=3.6)])


def _bars(frame: Frame, one: Series, points: list[tuple[float, float]], base: list[float]) -> Markup:
    shapes = []
    sides = _sides(frame, [number for number, _ in points])
    for low, (left, right), (_, value) in zip(base, sides, points, strict=True):
        top, foot = frame.up(low + value), frame.up(low)
        shapes.append(f"M{left:.1f} {foot:.1f}V{top:.1f}H{right:.1f}V{foot:.1f}z")
    return tag("path", class_=f"bar s{one.colour}", d="".join(shapes))


def _sides(frame: Frame, rounds: list[float]) -> list[tuple[float, float]]:
    """Left and right of each bar; bars that would be thinner than a few pixels touch each other."""
    places = [frame.across(number) for number in rounds]
    step = _gap(rounds) * (frame.across(1) - frame.across(0))
    if step > 4:
        half = min(17.0, 0.36 * step)
        return [(place - half, place + half) for place in places]
    between = [(one + other) / 2 for one, other in pairwise(places)]
    edges = [places[0] - step / 2, *between, places[-1] + step / 2]
    return list(pairwise(edges))


def _limit_line(frame: Frame, limit: Limit) -> Markup:
    y, end = round(frame.up(limit.value), 1), frame.width - frame.right
    line = tag("line", class_="limit", x1=frame.left, x2=end, y1=y, y2=y)
    return join([line, tag("text", limit.name, class_="limit", x=frame.left + 4, y=y + 15)])


def _said(
    lines: Sequence[tuple[Series, list[tuple[float, float]]]],
    shown: Callable[[float], str],
    rounds: Sequence[float],
    along: Along = ROUNDS,
) -> list[tuple[float, str]]:
    tables = [(one.name, dict(points)) for one, points in lines]
    said = []
    for number in rounds:
        words = [f"{name} {shown(table[number])}" for name, table in tables if number in table]
        said.append((number, " \u00b7 ".join([along.said(number), *words])))
    return said


def _legend(entries: Sequence[tuple[int, str, str]], kind: str) -> Markup:
    items = [
        tag("li", tag("span", class_=f"key {kind} s{colour}"), name, " ", tag("b", value))
        for colour, name, value in entries
    ]
    return tag("ul", *items, class_="legend")


def _gap(rounds: Sequence[float]) -> float:
    """Rounds between neighbours, as drawn."""
    return (rounds[-1] - rounds[0]) / (len(rounds) - 1) if len(rounds) > 1 else 1.0


def _with_thinning(lead: str, series: Sequence[Series]) -> str:
    most = max(len(one.points) for one in series)
    return lead if most <= MOST_DRAWN else f"{lead} Drawn: {MOST_DRAWN} of {most:,} rounds."
