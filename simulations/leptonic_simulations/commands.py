"""``leptonic simulate``: a whole federation on one machine."""

from pathlib import Path
from typing import Annotated

import typer

from leptonic.experiment_commands import FileArgument, SetOption

__all__ = ["simulate"]


def simulate(
    file: FileArgument,
    set_: SetOption = None,
    run_dir: Annotated[Path | None, typer.Option(help="Folder of the run.", show_default=False)] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Last line: the result as one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Simulate a federation on this machine, by the same code that serves a real one.

    Ctrl-C leaves a run that --resume continues, with the same result as if it had never stopped.

    Examples:

    leptonic simulate experiments/fashion_mnist.toml

    leptonic simulate experiments/fashion_mnist.toml --set training.rounds=3 --set seed=7

    leptonic simulate experiments/fashion_mnist.toml --resume
    """
    from leptonic.experiment_file import load
    from leptonic_server.closing import closing_words
    from leptonic_simulations.run import simulate as run

    experiment = load(file, set_ or ())
    with closing_words(as_json=as_json) as done:
        done(run(experiment, folder=run_dir, resume=resume, quiet=quiet))
