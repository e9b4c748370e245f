"""``leptonic simulate --flower``: from the words of the command line to the run and its last words."""

from bdb import BdbQuit
from collections.abc import Sequence

import typer

from leptonic.errors import RunError
from leptonic_simulations.flower_apps.progress import AppProgress
from leptonic_simulations.flower_apps.project import project
from leptonic_simulations.flower_apps.run import simulate_app
from leptonic_simulations.flower_apps.run_config import parsed

__all__ = ["simulate_flower"]


def simulate_flower(
    source: str,
    client: str | None,
    *,
    clients: int | None,
    run_config: Sequence[str],
    seed: int,
    as_json: bool,
    quiet: bool,
    debug: bool,
) -> None:
    """Run the app and print its summary. Raises RunError if not one message was answered without an error."""
    try:
        summary = simulate_app(
            project(source, client),
            progress=AppProgress(quiet=quiet),
            clients=clients,
            run_config=parsed(run_config),
            seed=seed,
            debug=debug,
        )
    except (KeyboardInterrupt, BdbQuit):
        typer.echo("stopped; a Flower app's run starts anew next time", err=True)
        raise typer.Exit(130) from None
    typer.echo(str(summary))
    if as_json:
        typer.echo(summary.to_json())
    if summary.messages and summary.errors == summary.messages:
        raise RunError(f"all {summary.messages} messages ended in an error; see the first one above")
