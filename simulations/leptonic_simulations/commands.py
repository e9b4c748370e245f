"""``leptonic simulate``: a whole federation on one machine."""

from pathlib import Path
from typing import Annotated

import typer

from leptonic.experiment_commands import SetOption

__all__ = ["simulate"]


def simulate(
    context: typer.Context,
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="Experiment file (TOML).", show_default=False),
    ] = None,
    set_: SetOption = None,
    run_dir: Annotated[Path | None, typer.Option(help="Folder of the run.", show_default=False)] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run.")] = False,
    flower: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER|SERVER_APP",
            help="Run a Flower app instead: its project folder, or module:server_app with module:client_app as FILE.",
            show_default=False,
        ),
    ] = None,
    clients: Annotated[
        int | None, typer.Option(min=1, help="Flower app: number of clients [its pyproject's, or 10].")
    ] = None,
    run_config: Annotated[
        list[str] | None,
        typer.Option(metavar="'KEY=VALUE ...'", help="Flower app: override its run configuration.", show_default=False),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, max=2**32 - 1, help="Flower app: seed of Python's and numpy's random numbers [0]."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Last line: the result as one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Simulate a federation on this machine, by the same code that serves a real one.

    Ctrl-C leaves a run that --resume continues, with the same result as if it had never stopped.

    Examples:

    leptonic simulate experiments/fashion_mnist.toml

    leptonic simulate experiments/fashion_mnist.toml --set training.rounds=3 --set seed=7

    leptonic simulate experiments/fashion_mnist.toml --resume

    leptonic simulate --flower path/to/app --clients 20 --run-config 'num-server-rounds=3 lr=0.1'

    leptonic simulate --flower app.server:app app.client:app
    """
    if flower is not None:
        from leptonic_simulations.flower_apps.command import simulate_flower

        _refuse(context, ("set_", "run_dir", "resume"), "has no meaning with --flower")
        simulate_flower(
            flower,
            None if file is None else str(file),
            clients=clients,
            run_config=run_config or (),
            seed=seed or 0,
            as_json=as_json,
            quiet=quiet,
            debug=bool(context.find_root().params.get("debug")),
        )
        return
    _refuse(context, ("clients", "run_config", "seed"), "needs --flower; an experiment's settings are set by --set")
    if file is None:
        raise typer.BadParameter("name an experiment file, or a Flower app by --flower", param_hint="FILE")

    from leptonic.experiment_file import load
    from leptonic_server.closing import closing_words
    from leptonic_simulations.run import simulate as run

    experiment = load(file, set_ or ())
    with closing_words(as_json=as_json) as done:
        done(run(experiment, folder=run_dir, resume=resume, quiet=quiet))


def _refuse(context: typer.Context, names: tuple[str, ...], why: str) -> None:
    """Raise for an option that was given where it would do nothing."""
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.name in names and source is not None and source.name == "COMMANDLINE":
            raise typer.BadParameter(f"it {why}", param_hint=parameter.opts[0])
