"""The frame of a chart: where a round and a value lie, round numbers at the ticks, a thin grid.

SVG in user units; colours and type come from the page's style sheet, so that a chart follows its theme.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from leptonic_server.report.markup import Markup, join, tag

__all__ = ["Along", "Frame", "ROUNDS", "figure", "thinned", "ticks", "whole_ticks"]

T = TypeVar("T")

MOST_DRAWN = 400
"""A chart draws so many rounds at most: more would be finer than its pixels."""


@dataclass(frozen=True)
class Along:
    """What a chart goes along. name: at the axis. said: a place in words. marks: those between two places."""

    name: str
    said: Callable[[float], str]
    marks: Callable[[float, float], Sequence[float]]


ROUNDS = Along("round", lambda number: f"Round {number}", lambda low, high: whole_ticks(int(low), int(high)))


@dataclass(frozen=True)
class Frame:
    """Maps (round, value) to the drawing; other charts have another quantity in place of the round.

    x, y: lowest and highest value shown, lowest below highest.
    """

    x: tuple[float, float]
    y: tuple[float, float]
    width: float = 500.0
    height: float = 230.0
    left: float = 56.0
    right: float = 14.0
    top: float = 12.0
    bottom: float = 26.0

    def across(self, value: float) -> float:
        """The horizontal place of a round."""
        low, high = self.x
        return self.left + (value - low) / (high - low) * (self.width - self.left - self.right)

    def up(self, value: float) -> float:
        """The vertical place of a value."""
        low, high = self.y
        return self.height - self.bottom - (value - low) / (high - low) * (self.height - self.top - self.bottom)

    def grid(
        self, values: Sequence[float], places: Sequence[float], shown: Callable[[float], str], name: str = "round"
    ) -> Markup:
        """Lines at the values with their labels, and the rounds (or what ``name`` says) below."""
        parts, end, foot = [], self.width - self.right, self.height - self.bottom
        for value in values:
            y = round(self.up(value), 1)
            parts.append(tag("line", class_="grid", x1=self.left, x2=end, y1=y, y2=y))
            parts.append(tag("text", shown(value), x=self.left - 8, y=y + 4, text_anchor="end"))
        for number in places:
            label = number if isinstance(number, int) else f"{number:g}"
            parts.append(tag("text", label, x=round(self.across(number), 1), y=foot + 17, text_anchor="middle"))
        parts.append(tag("line", class_="foot", x1=self.left, x2=end, y1=foot, y2=foot))
        parts.append(tag("text", name, class_="axis", x=self.left - 8, y=foot + 17, text_anchor="end"))
        return join(parts)

    def columns(self, said: Iterable[tuple[float, str]], step: float) -> Markup:
        """One invisible column per round, ``step`` rounds wide, that says its numbers under the pointer."""
        wide = max(1.0, step * (self.across(1) - self.across(0)))
        low, high = self.left - 6, self.width - self.right + 6
        parts = []
        for number, words in said:
            start = max(low, self.across(number) - wide / 2)
            end = min(high, self.across(number) + wide / 2)
            shape = f"M{start:.1f} {self.top:g}H{end:.1f}V{self.height - self.bottom:g}H{start:.1f}z"
            parts.append(tag("path", tag("title", words), d=shape))
        return tag("g", *parts, class_="columns")

    def drawing(self, *parts: Markup, label: str) -> Markup:
        """The whole SVG. label: what it shows, for those who cannot see it."""
        return tag("svg", *parts, viewBox=f"0 0 {self.width:g} {self.height:g}", role="img", aria_label=label)


def figure(title: str, lead: str, *body: Markup, wide: bool = False) -> Markup:
    """A chart with its title and one line that says what to see in it."""
    caption = tag("figcaption", tag("h3", title), tag("p", lead))
    return tag("figure", caption, *body, class_="card wide" if wide else "card")


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten that enclose [low, high], at most ``most`` + 1 of them.

    Where both ends are the same but for rounding, they enclose some room around it.
    """
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        low, high = low - (abs(low) / 2 or 0.5), high + (abs(high) / 2 or 0.5)
    raw = (high - low) / most
    power = 10.0 ** math.floor(math.log10(raw))
    for factor in (1, 2, 5, 10, 20):
        step = factor * power
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        if last - first <= most:
            break
    return [float(f"{index * step:.12g}") for index in range(first, last + 1)]


def whole_ticks(low: int, high: int, most: int = 8) -> list[int]:
    """Whole round numbers within [low, high]; ``low`` itself first."""
    step = max(1, *(int(t) for t in ticks(0, high - low, most)[1:2]))
    inside = [number for number in range(0, high + 1, step) if number > low + step // 2]
    return [low, *inside]


def thinned(points: Sequence[T], most: int = MOST_DRAWN) -> list[T]:
    """At most ``most`` of the points, evenly spread, the first and the last among them."""
    if len(points) <= most:
        return list(points)
    return [points[round(index * (len(points) - 1) / (most - 1))] for index in range(most)]
