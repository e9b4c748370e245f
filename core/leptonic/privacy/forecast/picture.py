"""The picture of a forecast: epsilon over rounds, and what noise each epsilon takes."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from leptonic.errors import ExperimentError
from leptonic.pictures import ALARM, DOTS_PER_INCH, INK, LINES, MUTED, ruled, write
from leptonic.privacy.forecast.client_unit import ClientForecast
from leptonic.privacy.forecast.example_unit import ExampleForecast
from leptonic.privacy.forecast.points import Point, Target
from leptonic.privacy.forecast.wording import title_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["check_picture", "draw"]


def check_picture(path: Path) -> None:
    """Raise ExperimentError, before any work, unless it can be drawn there."""
    if path.suffix.lower() not in (".png", ".svg"):
        raise ExperimentError(f"--picture {path}: name a file that ends with .png or .svg")


def draw(forecast: ClientForecast | ExampleForecast, path: Path) -> None:
    """Write the picture, PNG or SVG by the file's name; the same forecast gives the same bytes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.6), dpi=DOTS_PER_INCH, layout="constrained")
    figure.suptitle(title_of(forecast), x=0.012, ha="left", fontsize=12, fontweight="bold", color=INK)
    rounds, noise = figure.subplots(1, 2)
    if isinstance(forecast, ClientForecast):
        _draw_curves(rounds, {"epsilon": forecast.curve}, forecast)
    else:
        _draw_curves(rounds, {f"{one.which} client": one.curve for one in forecast.outlooks}, forecast)
    _draw_targets(noise, forecast.targets, float(forecast.stated["target_epsilon"]))
    write(figure, path)


def _draw_curves(
    axes: "Axes", curves: dict[str, tuple[Point, ...]], forecast: ClientForecast | ExampleForecast
) -> None:
    from matplotlib.ticker import MaxNLocator

    target = float(forecast.stated["target_epsilon"])
    for colour, (name, points) in zip(LINES, curves.items(), strict=False):
        places, values = [point.round for point in points], [point.epsilon for point in points]
        if isinstance(forecast, ClientForecast):
            # A client pays when it joins, nothing in between.
            axes.step([*places, forecast.rounds + 1], [*values, values[-1]], where="post", color=colour, linewidth=1.8)
        else:
            axes.plot(places, values, color=colour, linewidth=1.8, marker="o", markersize=4, label=name)
    axes.axhline(target, color=ALARM, linewidth=1.0, linestyle=(0, (4, 3)))
    axes.annotate(
        f"target {target:g}", (0.01, target), (0, 4), xycoords=("axes fraction", "data"), textcoords="offset points",
        color=ALARM, fontsize=9,
    )  # fmt: skip
    axes.set_ylim(0, 1.12 * target)
    axes.set_title(
        "epsilon by round" + (", of a client that joins as often as it may" * (len(curves) == 1)),
        loc="left",
        fontsize=10,
        color=MUTED,
    )
    axes.set_xlabel("round", color=INK)
    axes.set_ylabel("epsilon", color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    ruled(axes)


def _draw_targets(axes: "Axes", targets: Sequence[Target], own: float) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    met = [(target.epsilon, target.signal) for target in targets if target.signal is not None]
    places = [epsilon for epsilon, _ in met]
    for colour, name, values in (
        (LINES[0], "of one mean", [signal.per_round for _, signal in met]),
        (LINES[1], "of the whole run", [signal.over_run for _, signal in met]),
    ):
        axes.plot(places, values, color=colour, linewidth=1.8, marker="o", markersize=4, label=name)
        for place, value in zip(places, values, strict=True):
            if place == own:
                axes.annotate(
                    f"{value:.3g}",
                    (place, value),
                    (0, 7),
                    textcoords="offset points",
                    ha="center",
                    color=colour,
                    fontweight="bold",
                )
    axes.axhline(1, color=ALARM, linewidth=1.0, linestyle=(0, (4, 3)))
    axes.annotate(
        "as long as the clip", (0.01, 1), (0, 4), xycoords=("axes fraction", "data"), textcoords="offset points",
        color=ALARM, fontsize=9,
    )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(places, [f"{place:g}" for place in places])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xticks([], minor=True)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_title("norm of the noise, over the most that updates can amount to", loc="left", fontsize=10, color=MUTED)
    axes.set_xlabel("epsilon", color=INK)
    axes.set_ylabel("noise / clip", color=INK)
    axes.margins(x=0.12, y=0.12)
    ruled(axes)
