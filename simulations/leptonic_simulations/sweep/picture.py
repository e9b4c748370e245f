"""The picture of a sweep: a line for one swept key, a heat map for two, a panel by key for more and for searches."""

from pathlib import Path
from typing import TYPE_CHECKING

from leptonic.pictures import DOTS_PER_INCH, INK, MUTED, write
from leptonic_simulations.sweep.axes import Axis
from leptonic_simulations.sweep.heat_map import draw_heat_map
from leptonic_simulations.sweep.metric import Metric
from leptonic_simulations.sweep.panels import Scale, draw_history, draw_line, draw_points
from leptonic_simulations.sweep.plan import Plan, Search
from leptonic_simulations.sweep.results import Ranking
from leptonic_simulations.sweep.wording import settings_text, shown_with_spread

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

__all__ = ["draw"]

MOST_COLUMNS = 3
_TITLES = {
    Metric.ACCURACY: "accuracy after the last round",
    Metric.BEST_ACCURACY: "best accuracy of all rounds",
    Metric.LOSS: "loss after the last round",
}


def draw(plan: Plan, ranking: Ranking, out: Path) -> None:
    """Write the picture (PNG)."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    engine = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08)
    figure = Figure(dpi=DOTS_PER_INCH, layout=engine)
    if isinstance(plan, Search):
        _draw_search(figure, plan, ranking)
    elif len(plan.axes) == 1:
        figure.set_size_inches(7.5, 4.6)
        draw_line(figure.subplots(), ranking, Scale.of(plan.axes[0], ranking))
    elif len(plan.axes) == 2:
        across, down = (axis for axis in plan.axes if isinstance(axis, Axis))
        if len(across.values) < len(down.values):
            across, down = down, across
        draw_heat_map(figure, ranking, across=across, down=down)
    else:
        _draw_panels(figure, plan, ranking)
    _draw_title(figure, engine, plan, ranking)
    write(figure, out)


def _draw_title(figure: "Figure", engine: "ConstrainedLayoutEngine", plan: Plan, ranking: Ranking) -> None:
    """Two lines: what is compared; how many cells there are, and the best."""
    name = f"{plan.first.name}: {_TITLES[ranking.metric]}, on the server's test data"
    seeds = f", {len(plan.source.seeds)} seeds each (± standard deviation)" if len(plan.source.seeds) > 1 else ""
    failed = f", {len(ranking.failed)} failed" if ranking.failed else ""
    lines = [f"{len(ranking.all)} {'trials' if isinstance(plan, Search) else 'cells'}{seeds}{failed}"]
    if best := ranking.best:
        value = shown_with_spread(best.value(ranking.metric), best.spread(ranking.metric), ranking.metric)
        lines.append(f"best {value} at {settings_text(best.cell.settings)}")
    # Points, not fractions of a figure that may be low or tall.
    height = figure.get_size_inches()[1] * 72
    top = 30 + 15 * len(lines)
    engine.set(rect=(0, 0, 1, 1 - top / height))
    figure.text(0.015, 1 - 10 / height, name, ha="left", va="top", fontsize=13, fontweight="bold", color=INK)
    figure.text(0.015, 1 - 30 / height, "\n".join(lines), ha="left", va="top", fontsize=9.5, color=MUTED)


def _draw_panels(figure: "Figure", plan: Plan, ranking: Ranking) -> None:
    columns = min(MOST_COLUMNS, len(plan.axes))
    rows = -(-len(plan.axes) // columns)
    figure.set_size_inches(1.0 + 3.6 * columns, 1.0 + 3.2 * rows)
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    for index, (panel, axis) in enumerate(zip(panels, plan.axes, strict=False)):
        draw_points(panel, ranking, Scale.of(axis, ranking))
        if index % columns:
            panel.set_ylabel("")
        if index and panel.legend_ is not None:
            panel.legend_.remove()
    for panel in panels[len(plan.axes) :]:
        panel.set_visible(False)


def _draw_search(figure: "Figure", plan: Search, ranking: Ranking) -> None:
    columns = min(MOST_COLUMNS, len(plan.axes))
    rows = -(-len(plan.axes) // columns)
    figure.set_size_inches(max(7.5, 1.0 + 3.6 * columns), 4.0 + 3.2 * rows)
    layout = figure.add_gridspec(rows + 1, columns)
    history = figure.add_subplot(layout[0, :])
    draw_history(history, ranking)
    for index, axis in enumerate(plan.axes):
        panel = figure.add_subplot(layout[1 + index // columns, index % columns], sharey=history)
        draw_points(panel, ranking, Scale.of(axis, ranking), means=False)
        if index % columns:
            panel.set_ylabel("")
        if panel.legend_ is not None:
            panel.legend_.remove()
