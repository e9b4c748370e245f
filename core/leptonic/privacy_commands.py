"""``leptonic privacy``: what an experiment's privacy costs, before it runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leptonic.experiment_commands import FileArgument, SetOption, model_layout

if TYPE_CHECKING:
    from leptonic.experiment import Experiment
    from leptonic.privacy.forecast import ClientForecast, ExampleForecast

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Plan the privacy of an experiment.")


@app.callback()
def _root() -> None:
    """Plan the privacy of an experiment."""
    # With a single verb and no callback, that verb would be left out of the command.


@app.command()
def plan(
    file: FileArgument,
    set_: SetOption = None,
    epsilon: Annotated[
        str | None,
        typer.Option(metavar="EPSILON,...", help="Other targets, and what each would need.", show_default=False),
    ] = None,
    examples: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER,...",
            help="Declared examples of the clients, with unit = 'example' [those of the partition].",
            show_default=False,
        ),
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also draw it (.png or .svg).", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON, not as tables.")] = False,
) -> None:
    """Say what noise an experiment's privacy takes, what each round costs, and whether there is much left to learn.

    Refuses a file whose target cannot be met; warns where it can, but the result is unlikely to be of use.

    Examples:

    leptonic privacy plan experiments/fashion_mnist_private.toml --epsilon 1,3,8 --picture plan.png

    leptonic privacy plan own.toml --examples 900,2400,15000 --set privacy.epsilon=3
    """
    from leptonic.experiment_file import load
    from leptonic.privacy.forecast.picture import check_picture, draw
    from leptonic.privacy.forecast.wording import json_of, print_forecast

    if picture is not None:
        check_picture(picture)
    experiment = load(file, set_ or ())
    epsilons = _positive("--epsilon", epsilon, whole=False)
    sizes = [int(size) for size in _positive("--examples", examples, whole=True)]
    forecast = _forecast(experiment, sizes, epsilons)
    if as_json:
        typer.echo(json_of(forecast))
    else:
        print_forecast(forecast)
    if picture is not None:
        draw(forecast, picture)
        typer.echo(f"wrote {picture}", err=as_json)


def _forecast(experiment: "Experiment", sizes: list[int], epsilons: list[float]) -> "ClientForecast | ExampleForecast":
    from rich.console import Console

    from leptonic.data.experiment_data import client_sizes
    from leptonic.errors import ExperimentError
    from leptonic.experiment import ExamplePrivacy, OwnData
    from leptonic.privacy.forecast import forecast_clients, forecast_examples

    if experiment.privacy is None:
        raise ExperimentError(f"{experiment.name}: nothing to plan: the experiment has no section [privacy]")
    size = model_layout(experiment).size
    if not isinstance(experiment.privacy, ExamplePrivacy):
        if sizes:
            raise ExperimentError("--examples: with privacy.unit = 'client' their number has no part in the plan")
        return forecast_clients(experiment, size, epsilons=epsilons)
    data = experiment.data
    if isinstance(data, OwnData) and data.path is None and not sizes:
        raise ExperimentError("--examples: with data.name = 'own' say how many examples the clients declare")
    with Console(stderr=True).status("accounting"):
        return forecast_examples(experiment, size, sizes or client_sizes(experiment), epsilons=epsilons)


def _positive(option: str, text: str | None, *, whole: bool) -> list[float]:
    from leptonic.errors import ExperimentError

    try:
        numbers = [float(part) for part in text.split(",")] if text else []
    except ValueError:
        numbers = [-1.0]
    if not all(0 < number < 1e12 and (not whole or number == int(number)) for number in numbers):
        kind = "whole numbers" if whole else "numbers"
        raise ExperimentError(f"{option} {text}: give positive {kind}, with commas between")
    return numbers
