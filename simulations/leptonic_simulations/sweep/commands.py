"""``leptonic sweep``: the same experiment over a grid of settings, or in search of the best ones."""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leptonic.errors import ExperimentError, RunError
from leptonic.experiment_commands import FileArgument, SetOption
from leptonic_simulations.sweep.metric import Metric

if TYPE_CHECKING:
    from leptonic_simulations.sweep.plan import Plan
    from leptonic_simulations.sweep.run import Sweep
    from leptonic_simulations.sweep.source import Source

__all__ = ["sweep"]

_TRIALS = 20
_STOPPED = "stopped; every committed round is kept: the same command continues the sweep"

OverOption = Annotated[
    list[str] | None,
    typer.Option("--over", metavar="KEY=A,B,...", help="An axis of a grid; may be repeated.", show_default=False),
]
SearchOption = Annotated[
    list[str] | None,
    typer.Option(
        "--search",
        metavar="KEY=LOW..HIGH[:log]",
        help="A range to search, or choices KEY=A,B; may be repeated.",
        show_default=False,
    ),
]
TrialsOption = Annotated[
    int | None, typer.Option(min=1, help=f"Cells of a search. [default: {_TRIALS}]", show_default=False)
]
SeedsOption = Annotated[int | None, typer.Option(min=1, help="Repeat each cell with seeds 1 to N.", show_default=False)]


def sweep(
    file: FileArgument,
    over: OverOption = None,
    search: SearchOption = None,
    trials: TrialsOption = None,
    seeds: SeedsOption = None,
    metric: Annotated[Metric, typer.Option(help="What is compared; loss is minimised.")] = Metric.ACCURACY,
    set_: SetOption = None,
    sweep_dir: Annotated[Path | None, typer.Option(help="Folder of the sweep.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Last line: the best cell as one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Simulate an experiment over a grid of settings, or search for the best ones.

    The same command continues a sweep that was stopped, and runs nothing twice.

    Examples:

    leptonic sweep FILE --over training.learning_rate=0.01,0.05 --over federation.partition.alpha=0.1,0.5 --seeds 3

    leptonic sweep FILE --search training.learning_rate=0.001..0.5:log --search training.local_epochs=1..5 --trials 20
    """
    from leptonic_server.closing import stoppable
    from leptonic_simulations.sweep.run import run_sweep
    from leptonic_simulations.sweep.source import Source

    source = Source(file, tuple(set_ or ()), tuple(range(1, seeds + 1)) if seeds else ())
    with stoppable(_STOPPED):
        plan = _plan(source, over or [], search or [], trials, metric)
        done = run_sweep(plan, folder=sweep_dir, quiet=quiet)
    _report(done, as_json=as_json)


def _plan(source: "Source", over: list[str], search: list[str], trials: int | None, metric: Metric) -> "Plan":
    from leptonic_simulations.sweep.plan import plan_grid, plan_search

    if bool(over) == bool(search):
        raise ExperimentError("say what is swept: --over KEY=A,B for a grid, or --search KEY=LOW..HIGH, not both")
    if search:
        return plan_search(source, search, metric, trials or _TRIALS)
    if trials is not None:
        raise ExperimentError("--trials belongs to --search: a grid runs all its cells")
    return plan_grid(source, over, metric)


def _report(done: "Sweep", *, as_json: bool) -> None:
    from rich.console import Console

    from leptonic_simulations.sweep.plan import Grid
    from leptonic_simulations.sweep.results import summary
    from leptonic_simulations.sweep.table import table_of

    ranking, best = done.ranking, done.ranking.best
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    console.print(table_of(done.plan, ranking))
    if best is not None:
        chosen = " ".join(f"--set {shlex.quote(f'{key}={text}')}" for key, text in best.cell.settings.items())
        typer.echo(f"best      {chosen}")
    if ranking.failed:
        again = "; delete a cell's folder to try it again" if isinstance(done.plan, Grid) else ""
        typer.echo(f"failed    {len(ranking.failed)} of {len(ranking.all)} cells{again}")
    typer.echo(f"picture   {done.folder / 'sweep.png'}")
    typer.echo(f"results   {done.folder / 'results.json'}")
    if as_json:
        typer.echo(json.dumps(summary(done.plan, ranking, done.folder), default=str, allow_nan=False))
    if best is None:
        raise RunError(f"{done.folder}: every cell failed; the first: {ranking.failed[0].problem(ranking.metric)}")
