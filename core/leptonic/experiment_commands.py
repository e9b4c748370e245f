"""``leptonic experiment``: check an experiment file, print its schema."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from leptonic.experiment import Experiment
    from leptonic.parameters import Layout
    from leptonic.pipeline import Pipeline

__all__ = ["FileArgument", "SetOption", "app", "model_layout"]

app = typer.Typer(no_args_is_help=True, help="Check experiment files; print what they may contain.")

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="Experiment file (TOML).", show_default=False)]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override a setting; may be repeated.", show_default=False),
]


@app.command()
def check(
    file: FileArgument,
    set_: SetOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the resolved experiment as JSON.")] = False,
) -> None:
    """Check an experiment file and say what it would do, without doing it.

    Example: leptonic experiment check experiments/fashion_mnist.toml --set training.rounds=5
    """
    from leptonic.experiment_file import load
    from leptonic.pipeline import pipeline_for

    experiment = load(file, set_ or ())
    if as_json:
        typer.echo(json.dumps(experiment.model_dump(mode="json"), indent=2))
        return
    layout = model_layout(experiment)
    pipeline = pipeline_for(experiment, layout.size)
    federation, training = experiment.federation, experiment.training
    work = f"{training.local_steps} steps" if training.local_steps else f"{training.local_epochs or 1} epochs"
    typer.echo(f"{file}: fine")
    typer.echo(f"  experiment  {experiment.name}, hash {experiment.hash[:16]}")
    typer.echo(f"  model       {experiment.model.name}, {layout.size:,} parameters")
    typer.echo(f"  federation  {federation.clients} clients, {_asked(experiment)}")
    typer.echo(f"  training    {training.rounds} rounds of {work}, {experiment.algorithm.name}")
    if experiment.scenario is not None:
        parts = [name.replace("_", "-") for name, part in experiment.scenario if part is not None]
        typer.echo(f"  scenario    {', '.join(parts) or 'virtual time alone'}; in a simulation only")
    if (secure := experiment.secure_aggregation) is not None:
        colluders, liar = secure.colluding(federation.invited), f"a {secure.adversary} coordinator"
        drops = federation.invited - experiment.needed
        typer.echo(
            f"  secure      {secure.protocol}, against {liar} that {colluders} clients may help; "
            f"bears {drops} drop-outs, a sum holds {experiment.needed - colluders} honest updates at least"
        )
    for name, words in zip(("privacy", ""), _promised(experiment, pipeline), strict=False):
        typer.echo(f"  {name:<11} {words}")
    typer.echo(f"  update      {pipeline.encoded_length:,} bytes up per client and round")


def model_layout(experiment: "Experiment") -> "Layout":
    """The layout of the experiment's model; also checks that the task suits the data."""
    from leptonic import models, parameters
    from leptonic.data.catalogue import spec_of
    from leptonic.tasks import task_for

    spec = spec_of(experiment.data)
    task_for(experiment.task, spec)
    return parameters.layout_of(models.build(experiment.model, spec, experiment.seed))


def _promised(experiment: "Experiment", pipeline: "Pipeline") -> list[str]:
    """What the file promises, against whom, and by which noise where that is known without data."""
    from leptonic.pipeline import ClientLevelPipeline
    from leptonic.privacy.promise import promise_of

    privacy, promise = experiment.privacy, promise_of(experiment)
    if privacy is None or promise is None:
        return []
    words = f"epsilon {privacy.epsilon:g} at delta {privacy.delta:g} {promise.unit}, against {promise.against}"
    if not isinstance(pipeline, ClientLevelPipeline):
        return [words, promise.holder]
    return [words, f"{promise.holder} For {pipeline.plan.participations} updates of one client at most."]


def _asked(experiment: "Experiment") -> str:
    """How many of the clients are asked."""
    federation = experiment.federation
    if experiment.scenario and (settings := experiment.scenario.asynchronous):
        return f"{settings.concurrency} training at any time, {settings.buffer} updates for a step"
    return f"{federation.invited} invited per round, {federation.wanted} wanted, {experiment.needed} needed"


@app.command()
def schema() -> None:
    """Print the JSON schema of experiment files, for editors that complete and check TOML.

    Example: leptonic experiment schema > experiment.schema.json
    """
    from leptonic.experiment import Experiment

    typer.echo(json.dumps(Experiment.model_json_schema(), indent=2))
