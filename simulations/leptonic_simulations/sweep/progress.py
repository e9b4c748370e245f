"""A sweep's progress on the terminal: runs that ended, the best so far, time left."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from leptonic.plain_text import plain
from leptonic_simulations.sweep.cells import Cell, Outcome
from leptonic_simulations.sweep.metric import Metric
from leptonic_simulations.sweep.wording import settings_text, shown

__all__ = ["SweepProgress"]

_ALL_RUNS = 1e9
"""Seconds over which speed is estimated: rich's half a minute is shorter than most runs."""


class SweepProgress:
    """A bar on stderr and a line for each run that failed. Without a terminal: a line for every run.

    total, done: runs. quiet: nothing at all.
    """

    def __init__(self, *, total: int, done: int, metric: Metric, quiet: bool) -> None:
        self._console = Console(stderr=True, quiet=quiet)
        self._bars = Progress(
            TextColumn("runs"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=self._console,
            disable=quiet or not self._console.is_terminal,
            speed_estimate_period=_ALL_RUNS,
        )
        self._task = self._bars.add_task("runs", total=total, completed=done, note="")
        self._metric, self._total, self._done = metric, total, done
        self._best: float | None = None

    def __enter__(self) -> Self:
        self._bars.start()
        if self._done:
            self._say(f"{self._done} of {self._total} runs ended before; they are not run again")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def begins(self, cell: Cell) -> None:
        """Show what is run now."""
        best = "" if self._best is None else f"best {shown(self._best, self._metric)}  "
        self._bars.update(self._task, note=f"{best}now {settings_text(cell.settings)}")

    def ran(self, cell: Cell, outcome: Outcome) -> None:
        """Advance; say what came of the run."""
        self._done += 1
        self._bars.advance(self._task)
        value: float | None = getattr(outcome, self._metric.value)
        if value is not None and (self._best is None or (value < self._best) == self._metric.minimised):
            self._best = value
        seed = "" if outcome.seed is None else f"  seed {outcome.seed}"
        name = f"run {self._done}/{self._total}  {settings_text(cell.settings)}{seed}"
        if outcome.error is not None:
            self._say(f"{name}  failed: {outcome.error}")
        elif not self._console.is_terminal:
            self._say(f"{name}  {self._metric.value} {shown(value, self._metric)}  {outcome.seconds:.1f} s")

    def _say(self, text: str) -> None:
        self._console.print(plain(text), markup=False, highlight=False, soft_wrap=True)
