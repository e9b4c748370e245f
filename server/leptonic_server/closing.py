"""The last words of a run on the terminal: its result, or how to continue it."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import typer

from leptonic_server.outputs import Result
from leptonic_server.report.wording import bound

__all__ = ["closing_words", "stoppable"]


@contextmanager
def closing_words(*, as_json: bool) -> Iterator[Callable[[Result], None]]:
    """Print the result of the enclosed run; turn Ctrl-C and SIGTERM into a resumable stop with exit code 130."""
    with stoppable("stopped; every committed round is kept: continue with the same command and --resume"):
        yield lambda result: _print(result, as_json=as_json)


@contextmanager
def stoppable(words: str) -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM into ``words`` on stderr and exit code 130."""
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(words, err=True)
        raise typer.Exit(130) from None
    finally:
        signal.signal(signal.SIGTERM, previous)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _print(result: Result, *, as_json: bool) -> None:
    report = Path(result.run_dir) / "report.html"
    if result.accuracy is not None:
        typer.echo(f"accuracy  {result.accuracy:.2%} after {result.rounds} rounds (best {result.best_accuracy:.2%})")
    if result.epsilon is not None and result.delta is not None:
        seeded = "  (noise drawn from the seed: it protects nobody)" if result.seeded_noise else ""
        typer.echo(f"epsilon   {bound(result.epsilon)} at delta {result.delta:g}, {result.unit}{seeded}")
        typer.echo(f"          against {result.against}")
    typer.echo(f"model     {result.model_sha256[:16]}  {result.seconds:.1f} s")
    typer.echo(f"run       {result.run_dir}")
    if report.exists():
        typer.echo(f"report    {report}")
    if as_json:
        typer.echo(result.to_json())
