"""Runs a planned sweep to its end: cell after cell, each an ordinary simulation, results written after each."""

from dataclasses import dataclass
from pathlib import Path

from leptonic_simulations.sweep.cells import CellResult, ended_runs, run_cell
from leptonic_simulations.sweep.plan import Plan
from leptonic_simulations.sweep.progress import SweepProgress
from leptonic_simulations.sweep.record import open_sweep
from leptonic_simulations.sweep.results import Ranking, write_results

__all__ = ["Sweep", "default_folder", "run_sweep"]


@dataclass(frozen=True)
class Sweep:
    """A sweep that ended: its plan, its folder, and its cells, best first."""

    plan: Plan
    folder: Path
    ranking: Ranking


def default_folder(plan: Plan) -> Path:
    """The folder that the same call finds again, and another sweep does not."""
    return Path(plan.first.outputs.directory) / f"{plan.first.name}-sweep-{plan.record.identity[:8]}"


def run_sweep(plan: Plan, *, folder: Path | None = None, quiet: bool = False) -> Sweep:
    """Run what of the sweep has not ended yet, and leave results.json, results.csv and sweep.png in its folder.

    folder: default :func:`default_folder`. Raises RunError when the folder holds another sweep or is in use. A run that
    fails is part of the result, not an error.
    """
    from leptonic_simulations.sweep.picture import draw

    chosen = folder or default_folder(plan)
    results: list[CellResult] = []
    with open_sweep(plan.record, chosen), plan.proposals(chosen) as proposals:
        source = plan.source.kept_in(chosen)
        total = plan.total * max(1, len(source.seeds))
        with SweepProgress(total=total, done=ended_runs(chosen), metric=plan.metric, quiet=quiet) as progress:
            for cell in proposals:
                progress.begins(cell)
                results.append(run_cell(source, cell, chosen, ran=progress.ran))
                proposals.tell(results[-1])
                write_results(plan, Ranking.of(results, plan.metric), chosen)
        ranking = Ranking.of(results, plan.metric)
        draw(plan, ranking, chosen / "sweep.png")
    return Sweep(plan, chosen, ranking)
