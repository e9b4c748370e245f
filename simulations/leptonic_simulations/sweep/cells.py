"""One cell of a sweep: its settings, its runs, and what came of them.

A run that ended, well or with an error, leaves ``outcome.json`` in its folder and is never run again. A run without
one is continued from its own run store.
"""

import json
import math
import statistics
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from leptonic.errors import LeptonicError, RunError
from leptonic.experiment import Experiment
from leptonic.files import write_atomic
from leptonic_simulations.sweep.metric import Metric
from leptonic_simulations.sweep.source import Source

__all__ = ["Cell", "CellResult", "Outcome", "ended_runs", "run_cell"]


@dataclass(frozen=True)
class Cell:
    """One choice of settings, as text by key. number: from 1."""

    number: int
    settings: Mapping[str, str]

    def folder(self, sweep: Path, seed: int | None) -> Path:
        """Of one run of this cell."""
        return sweep / "cells" / (f"{self.number:04d}" + ("" if seed is None else f"-seed-{seed}"))


@dataclass(frozen=True)
class Outcome:
    """What came of one run. error: why it failed, else None. seconds: over all rounds."""

    seed: int | None
    folder: str
    accuracy: float | None = None
    best_accuracy: float | None = None
    loss: float | None = None
    epsilon: float | None = None
    seconds: float | None = None
    model_sha256: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class CellResult:
    """A cell and the outcome of each of its runs."""

    cell: Cell
    outcomes: tuple[Outcome, ...]

    def values(self, metric: Metric) -> list[float]:
        """The metric of each run that has one."""
        found = (getattr(outcome, metric.value) for outcome in self.outcomes)
        return [value for value in found if value is not None]

    def problem(self, metric: Metric) -> str | None:
        """Why this cell cannot be ranked, else None: a run failed, or has no finite metric."""
        for outcome in self.outcomes:
            reason = outcome.error
            if reason is None and getattr(outcome, metric.value) is None:
                reason = f"no finite {metric.value} was measured"
            if reason is not None:
                return reason if outcome.seed is None else f"seed {outcome.seed}: {reason}"
        return None

    def value(self, metric: Metric) -> float | None:
        """The mean over the seeds; None where a run failed."""
        return None if self.problem(metric) else statistics.fmean(self.values(metric))

    def spread(self, metric: Metric) -> float | None:
        """The sample standard deviation over the seeds (divisor n - 1); None below two."""
        values = self.values(metric)
        return None if self.problem(metric) or len(values) < 2 else statistics.stdev(values)

    @property
    def seconds(self) -> float:
        """Of all runs that ended well."""
        return sum(outcome.seconds or 0.0 for outcome in self.outcomes)


def run_cell(source: Source, cell: Cell, sweep: Path, *, ran: Callable[[Cell, Outcome], None]) -> CellResult:
    """Run what of a cell has not ended yet. ran: told of each run that ended now."""
    outcomes = []
    for seed in source.seeds or (None,):
        folder = cell.folder(sweep, seed)
        outcome = _read(folder)
        if outcome is None:
            outcome = _run(source, cell, seed, folder)
            folder.mkdir(parents=True, exist_ok=True)
            write_atomic(folder / "outcome.json", (json.dumps(asdict(outcome), indent=2) + "\n").encode())
            ran(cell, outcome)
        outcomes.append(outcome)
    return CellResult(cell, tuple(outcomes))


def ended_runs(sweep: Path) -> int:
    """The runs that ended already."""
    return sum(1 for _ in sweep.glob("cells/*/outcome.json"))


def _run(source: Source, cell: Cell, seed: int | None, folder: Path) -> Outcome:
    name = folder.name
    try:
        return _simulated(source.experiment(cell.settings, seed), seed, folder)
    except LeptonicError as error:
        return Outcome(seed=seed, folder=name, error=f"{type(error).__name__}: {error}")


def _simulated(experiment: Experiment, seed: int | None, folder: Path) -> Outcome:
    from leptonic_server.store import RunStore
    from leptonic_simulations.run import simulate

    result = simulate(experiment, folder=folder, resume=(folder / "run.sqlite").exists(), quiet=True)
    with closing(RunStore(folder)) as store:
        loss = store.rounds()[-1].metrics.get("loss")
    return Outcome(
        seed=seed,
        folder=folder.name,
        accuracy=_finite(result.accuracy),
        best_accuracy=_finite(result.best_accuracy),
        loss=_finite(loss),
        epsilon=_finite(result.epsilon),
        seconds=result.seconds,
        model_sha256=result.model_sha256,
    )


def _finite(value: float | None) -> float | None:
    """JSON knows no NaN and no infinity, and neither can be ranked."""
    return value if value is not None and math.isfinite(value) else None


def _read(folder: Path) -> Outcome | None:
    path = folder / "outcome.json"
    try:
        return Outcome(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise RunError(f"{path}: not the outcome of a run ({error}); delete the folder to run it again") from None
