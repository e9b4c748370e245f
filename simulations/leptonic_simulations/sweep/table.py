"""The table at the end of a sweep, best cell first."""

from rich.table import Table
from rich.text import Text

from leptonic.plain_text import plain
from leptonic_simulations.sweep.cells import CellResult
from leptonic_simulations.sweep.metric import Metric
from leptonic_simulations.sweep.plan import Plan
from leptonic_simulations.sweep.results import Ranking
from leptonic_simulations.sweep.wording import METRIC_NAMES, setting_text, short_keys, shown_with_spread

__all__ = ["table_of"]

MOST_ROWS = 40


def table_of(plan: Plan, ranking: Ranking) -> Table:
    """One row per cell: rank, settings, metrics (mean ± standard deviation over seeds), seconds, error."""
    keys = [axis.key for axis in plan.axes]
    names = short_keys(keys)
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("", justify="right")
    for key in keys:
        table.add_column(names[key], justify="right")
    metrics = [ranking.metric, *(metric for metric in Metric if metric is not ranking.metric)]
    for metric in metrics:
        table.add_column(METRIC_NAMES[metric], justify="right", no_wrap=True)
    table.add_column("seconds", justify="right")
    table.add_column("cell", justify="right", style="dim", no_wrap=True)
    if ranking.failed:
        table.add_column("error", overflow="fold")
    shown = ranking.ranked[: max(1, MOST_ROWS - len(ranking.failed))]
    for rank, result in enumerate(shown, start=1):
        table.add_row(str(rank), *_values(result, keys, metrics), style="bold green" if rank == 1 else None)
    if len(shown) < len(ranking.ranked):
        table.add_row("…", f"(of {len(ranking.ranked)}; results.csv has all)")
    for result in ranking.failed[:MOST_ROWS]:
        error = Text(plain(result.problem(ranking.metric) or ""))
        table.add_row("-", *_values(result, keys, metrics), error, style="red")
    return table


def _values(result: CellResult, keys: list[str], metrics: list[Metric]) -> list[Text]:
    texts = [setting_text(result.cell.settings[key]) for key in keys]
    texts += [shown_with_spread(result.value(metric), result.spread(metric), metric) for metric in metrics]
    texts += [f"{result.seconds:.1f}", f"{result.cell.number:04d}"]
    return [Text(text) for text in texts]
