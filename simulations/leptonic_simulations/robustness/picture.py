"""The heat map of a study: rules by attacks, coloured by accuracy, what survives marked."""

from pathlib import Path
from typing import Any

from leptonic.pictures import DOTS_PER_INCH, INK, MUTED, PAPER, bare, write
from leptonic_simulations.robustness.plan import NONE
from leptonic_simulations.robustness.report import meaning_of, title_of
from leptonic_simulations.robustness.study import Study

__all__ = ["draw"]

BROKEN = "#e8eaed"
MINUS, SURVIVES, FALLS = "\u2212", "\u2713", "\u2717"
LIGHT = 0.52
"""Luminance from which dark ink reads better."""


def draw(study: Study, path: Path) -> None:
    """Write the picture as PNG, whole or not at all."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    attacks, rules = (NONE, *study.plan.attacks), study.plan.rules
    size = (2.8 + 1.25 * len(attacks), 2.1 + 0.72 * len(rules))
    figure = Figure(figsize=size, facecolor=PAPER, dpi=DOTS_PER_INCH, layout=ConstrainedLayoutEngine(w_pad=0.12))
    axes = figure.add_subplot()
    colours = _colours(study)
    for row, rule in enumerate(rules):
        for column, attack in enumerate(attacks):
            _cell(axes, study, (column, row), (rule, attack), colours)
    _frame(axes, rules, attacks)
    figure.suptitle(title_of(study), x=0.012, ha="left", fontsize=12.5, fontweight="bold", color=INK)
    figure.supxlabel(
        "\n".join([f"{SURVIVES} {meaning_of(study)}", *study.plan.notes]), x=0.012, ha="left", fontsize=8.5, color=MUTED
    )
    bar = figure.colorbar(colours, ax=axes, fraction=0.03, pad=0.015, format=lambda value, _: f"{value:.0f} %")
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelsize=8.5, labelcolor=MUTED)
    bar.set_label("accuracy on the server's test data", fontsize=8.5, color=MUTED)
    write(figure, path)


def _colours(study: Study) -> Any:
    """From the tens below the worst accuracy to those above the best, so that differences show."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    scale = LinearSegmentedColormap.from_list("accuracy", ["#b2442f", "#e9a27e", "#f6efe3", "#8fc0b8", "#1f6f78"])
    known = [100 * one.accuracy for one in study.outcomes if one.accuracy is not None] or [0.0, 100.0]
    return ScalarMappable(Normalize(10 * (min(known) // 10), 10 * (max(known) // 10 + 1)), scale)


def _cell(axes: Any, study: Study, place: tuple[int, int], names: tuple[str, str], colours: Any) -> None:
    """One square: the accuracy, and below it what the attack cost."""
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Rectangle

    (column, row), (rule, attack) = place, names
    accuracy, lost = study.outcome(rule, attack).accuracy, study.lost(rule, attack)
    fill = to_rgb(BROKEN) if accuracy is None else colours.to_rgba(100 * accuracy)
    axes.add_patch(Rectangle((column - 0.48, row - 0.47), 0.96, 0.94, facecolor=fill, edgecolor="none"))
    ink = _ink(fill)
    shown = "broke down" if accuracy is None else f"{100 * accuracy:.1f}"
    if attack == NONE:
        axes.text(column, row, shown, ha="center", va="center", fontsize=11, color=ink)
        return
    survives = study.survives(rule, attack)
    mark = SURVIVES if survives else FALLS
    weight = "bold" if survives else "normal"
    axes.text(column, row - 0.1, f"{mark} {shown}", ha="center", va="center", fontsize=11, color=ink, fontweight=weight)
    if lost is not None:
        axes.text(column, row + 0.24, _signed(-lost), ha="center", va="center", fontsize=8, color=ink)


def _ink(fill: tuple[float, ...]) -> str:
    """What can be read on this colour, by its luminance (ITU-R BT.709)."""
    red, green, blue, *_ = fill
    return INK if 0.2126 * red + 0.7152 * green + 0.0722 * blue > LIGHT else PAPER


def _signed(points: float) -> str:
    shown = f"{abs(points):.1f}"
    return shown if shown == "0.0" else f"{'+' if points > 0 else MINUS}{shown}"


def _frame(axes: Any, rules: tuple[str, ...], attacks: tuple[str, ...]) -> None:
    axes.set_xlim(-0.5, len(attacks) - 0.5)
    axes.set_ylim(len(rules) - 0.5, -0.5)
    titles = ["no attack", *(_broken(attack) for attack in attacks[1:])]
    axes.set_xticks(range(len(attacks)), titles, fontsize=10, color=INK)
    axes.set_yticks(range(len(rules)), [rule.replace("_", " ") for rule in rules], fontsize=10, color=INK)
    bare(axes, ink=INK)
    axes.tick_params(top=False, labeltop=True, bottom=False, labelbottom=False)
    axes.axvline(0.5, color=INK, linewidth=1.0)


def _broken(name: str) -> str:
    """A name in two lines at most."""
    words = name.split("_")
    half = (len(words) + 1) // 2
    return "\n".join(filter(None, (" ".join(words[:half]), " ".join(words[half:]))))
