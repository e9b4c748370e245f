"""Says on the terminal what a Flower app's clients do: how many, how fast, and each error with its traceback.

Plain lines between those of Flower's own log, so that the app's output, a debugger and a pipe stay as they are.
"""

import logging
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from flwr.app import Message
from rich.console import Console

from leptonic_simulations.flower_apps.grid import described

__all__ = ["AppProgress"]


class AppProgress:
    """Counts messages and errors; says a line now and then, and each error in full the first time from its place.

    quiet: of Flower's log only warnings, and no progress; errors are shown all the same. every: seconds between lines.
    """

    def __init__(self, *, quiet: bool = False, every: float = 2.0) -> None:
        self.messages = 0
        self.errors = 0
        self._quiet = quiet
        self._every = every
        self._done = self._sent = 0
        self._places: set[tuple[object, ...]] = set()
        self._begun = self._said = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return time.monotonic() - self._begun

    @contextmanager
    def running(self) -> Iterator[None]:
        """The run begins; until it ends, Flower's log is as quiet as the progress."""
        self._begun = self._said = time.monotonic()
        levels = {handler: handler.level for handler in logging.getLogger("flwr").handlers}
        for handler, level in levels.items():
            handler.setLevel(max(level, logging.WARNING) if self._quiet else level)
        try:
            yield
        finally:
            for handler, level in levels.items():
                handler.setLevel(level)

    def sent(self, count: int) -> None:
        """So many messages come now."""
        self._done, self._sent = 0, count

    def answered(self, message: Message, error: Exception | str | None) -> None:
        """Count the message, and show its error."""
        self.messages += 1
        self._done += 1
        if error is not None:
            self.errors += 1
            self._show(message, error)
        if not self._quiet and time.monotonic() - self._said >= self._every:
            self._said = time.monotonic()
            rate, failed = self.messages / self.seconds, f", errors: {self.errors}" if self.errors else ""
            kind = message.metadata.message_type
            _say(f"{kind}: {self._done} of {self._sent}; {self.messages} messages in all, {rate:.1f}/s{failed}")

    def server_failed(self, error: Exception) -> None:
        """Show what the ServerApp raised."""
        _say(_trace(error))

    def _show(self, message: Message, error: Exception | str) -> None:
        who = described(message)
        if isinstance(error, str):
            _say(f"{who}: error reply: {error}")
        elif (place := _place(error)) in self._places:
            _say(f"{who} raised from the same place as before: {type(error).__name__}: {error}")
        else:
            self._places.add(place)
            _say(f"{who} raised:\n{_trace(error)}")


def _say(text: str) -> None:
    Console(stderr=True).print(text, markup=False, highlight=False, soft_wrap=True)


def _place(error: Exception) -> tuple[object, ...]:
    return (type(error), *((frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)))


def _trace(error: Exception) -> str:
    """The traceback from where Leptonic's own frames end."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get("__name__", "").startswith("leptonic_simulations."):
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace)).rstrip()
