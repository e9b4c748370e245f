"""A sweep's cells in order of merit, and the files they are written to: results.json and results.csv."""

import csv
import io
import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from leptonic import __version__
from leptonic.experiment_file import parse_value
from leptonic.files import write_atomic
from leptonic_simulations.sweep.cells import CellResult, Outcome
from leptonic_simulations.sweep.metric import Metric
from leptonic_simulations.sweep.plan import Plan

__all__ = ["Ranking", "summary", "write_results"]


@dataclass(frozen=True)
class Ranking:
    """Cells that have the metric, best first (equal ones by number), and cells that do not, by number."""

    metric: Metric
    ranked: tuple[CellResult, ...]
    failed: tuple[CellResult, ...]

    @classmethod
    def of(cls, results: Sequence[CellResult], metric: Metric) -> "Ranking":
        """Order results by ``metric``."""
        by_value = sorted(
            ((value, result) for result in results if (value := result.value(metric)) is not None),
            key=lambda pair: (pair[0] if metric.minimised else -pair[0], pair[1].cell.number),
        )
        failed = (result for result in results if result.problem(metric))
        return cls(
            metric,
            tuple(result for _, result in by_value),
            tuple(sorted(failed, key=lambda result: result.cell.number)),
        )

    def value(self, result: CellResult) -> float:
        """The metric of a ranked cell: the mean over its seeds."""
        return statistics.fmean(result.values(self.metric))

    @property
    def best(self) -> CellResult | None:
        """The best cell, None where all failed."""
        return self.ranked[0] if self.ranked else None

    @property
    def all(self) -> tuple[CellResult, ...]:
        """Ranked ones first."""
        return self.ranked + self.failed


def write_results(plan: Plan, ranking: Ranking, folder: Path) -> None:
    """Write both files, each whole: JSON by cell, CSV by run."""
    content = {
        "leptonic": __version__,
        **{key: value for key, value in asdict(plan.record).items() if key not in ("metric", "axes")},
        "axes": {axis.key: axis.text for axis in plan.axes},
        "metric": ranking.metric.value,
        "cells": [_cell(result, rank, ranking.metric) for rank, result in enumerate(ranking.all, start=1)],
    }
    text = json.dumps(content, indent=2, default=str, allow_nan=False) + "\n"
    write_atomic(folder / "results.json", text.encode())
    write_atomic(folder / "results.csv", _csv(plan, ranking).encode())


def summary(plan: Plan, ranking: Ranking, folder: Path) -> dict[str, Any]:
    """What ``--json`` prints: the best cell, and how many there are."""
    best = ranking.best
    content: dict[str, Any] = {
        "best_settings": None if best is None else _settings(best),
        "best_cell": None if best is None else best.cell.number,
        "metric": ranking.metric.value,
        **{metric.value: None if best is None else best.value(metric) for metric in Metric},
        "std": None if best is None else best.spread(ranking.metric),
        "seeds": list(plan.source.seeds),
        "cells": len(ranking.all),
        "failed": len(ranking.failed),
        "folder": str(folder.resolve()),
    }
    return content


def _settings(result: CellResult) -> dict[str, Any]:
    return {key: parse_value(text) for key, text in result.cell.settings.items()}


def _cell(result: CellResult, rank: int, metric: Metric) -> dict[str, Any]:
    problem = result.problem(metric)
    content: dict[str, Any] = {
        "rank": None if problem else rank,
        "cell": result.cell.number,
        "settings": _settings(result),
    }
    for each in Metric:
        content[each.value] = result.value(each)
        content[f"{each.value}_std"] = result.spread(each)
    return {
        **content,
        "seconds": round(result.seconds, 3),
        "error": problem,
        "runs": [asdict(outcome) for outcome in result.outcomes],
    }


def _csv(plan: Plan, ranking: Ranking) -> str:
    keys, columns = [axis.key for axis in plan.axes], [field.name for field in fields(Outcome)]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["cell", *keys, *columns])
    for result in sorted(ranking.all, key=lambda each: each.cell.number):
        for outcome in result.outcomes:
            values = [getattr(outcome, column) for column in columns]
            writer.writerow([result.cell.number, *(result.cell.settings[key] for key in keys), *values])
    return stream.getvalue()
