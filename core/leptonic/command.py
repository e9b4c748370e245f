"""The one console script, ``leptonic``.

Sub-commands are found through the entry-point group ``leptonic.commands``, so that the core needs no sibling
package and an extension can add its own. Modules behind entry points must import heavy packages inside their
functions: ``leptonic --help`` answers at once.
"""

import os
import sys
from importlib.metadata import entry_points
from typing import Annotated

import typer

from leptonic import __version__
from leptonic.errors import LeptonicError
from leptonic.plain_text import plain

__all__ = ["main"]

_EPILOG = """
Examples:\n\n
leptonic data fetch fashion-mnist\n\n
leptonic simulate experiments/fashion_mnist.toml\n\n
leptonic experiment check experiments/fashion_mnist.toml --set training.rounds=5
"""

_debug = False


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"leptonic {__version__}")
        raise typer.Exit


def _root(
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback with an error.")] = False,
    version: Annotated[  # noqa: ARG001
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Train one model on data that never leaves its owners."""
    global _debug
    _debug = debug


def _app() -> typer.Typer:
    app = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(epilog=_EPILOG)(_root)
    for point in sorted(entry_points(group="leptonic.commands"), key=lambda point: point.name):
        command = point.load()
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=point.name)
        else:
            app.command(name=point.name)(command)
    return app


def main() -> None:
    """Run the command line; errors go to stderr without a traceback, and exit by their branch's code."""
    # Telemetry and update checks of a library are for the user to start, not for us.
    os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
    os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")
    try:
        _app()()
    except LeptonicError as error:
        if _debug:
            raise
        # An error may quote what came over the network.
        lines = (plain(line) for line in str(error).split("\n"))
        typer.echo(f"{type(error).__name__}: " + "\n".join(lines), err=True)
        sys.exit(error.exit_code)
