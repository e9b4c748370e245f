"""Shows a run's progress on the terminal: rounds, the clients of this round, accuracy, time left."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from leptonic.plain_text import plain
from leptonic_server.outputs import Outputs
from leptonic_server.store import ClientRecord, RoundRecord

__all__ = ["RunListener"]


class RunListener:
    """The coordinator's listener: progress bars on stderr, one line per failed client, and the outputs.

    quiet: no bars. Without a terminal a line per committed round is printed instead.
    """

    def __init__(self, outputs: Outputs, *, rounds: int, done: int, quiet: bool) -> None:
        self._outputs = outputs
        self._console = Console(stderr=True, quiet=quiet)
        self._bars = Progress(
            TextColumn("{task.description:<8}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=self._console,
            disable=quiet or not self._console.is_terminal,
        )
        self._rounds = self._bars.add_task("rounds", total=rounds, completed=done, note="")
        self._clients = self._bars.add_task("clients", total=1, note="")
        self._total = rounds
        self._answered, self._began = 0, time.monotonic()

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()
        self._outputs.close()

    def say(self, event: str) -> None:
        """Say something about the run as a whole."""
        self._console.print(plain(event), markup=False, highlight=False, soft_wrap=True)

    def round_begins(self, round_number: int, attempt: int, invited: int) -> None:
        """Start the clients' bar anew."""
        note = f"round {round_number}" + (f", attempt {attempt}" if attempt > 1 else "")
        self._bars.reset(self._clients, total=invited, note=note)

    def client_answered(self, record: ClientRecord) -> None:
        """Advance the clients' bar; say it when a client was not counted."""
        self._bars.advance(self._clients)
        self._answered += 1
        if record.status != "counted":
            self.say(f"client {record.client}: {record.status}: {record.detail}")

    def round_committed(self, record: RoundRecord) -> None:
        """Advance the rounds' bar and write the outputs."""
        self._outputs.round_committed(record)
        parts = [f"{name} {value:.4g}" for name, value in record.metrics.items()]
        if record.spent is not None:
            parts.append(f"epsilon {record.spent:.3g}")
        note = "  ".join(parts)
        speed = self._answered / (time.monotonic() - self._began)
        self._bars.update(self._rounds, completed=record.round, note=f"{speed:.3g} clients/s  {note}")
        if record.round and not (self._console.is_terminal or self._console.quiet):
            seconds = sum(record.seconds.values())
            counted = f"{record.survivors}/{record.cohort} clients"
            self._console.print(
                f"round {record.round}/{self._total}  {counted}  {seconds:.2f} s  {note}", highlight=False
            )
