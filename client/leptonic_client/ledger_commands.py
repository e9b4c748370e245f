"""``leptonic ledger``: what a data owner's node has spent, and whether the book of it is whole."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from leptonic_client.settings import NodeSettings

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    help="Show, verify and export a node's privacy ledger. Nothing is ever changed in it.",
    context_settings={"help_option_names": ["-h", "--help"]},
)

NodeArgument = Annotated[Path, typer.Argument(metavar="NODE.toml|FOLDER", help="A node's file, or its folder.")]


class Form(StrEnum):
    """Forms of an export."""

    JSON = "json"
    CSV = "csv"


@app.command()
def show(
    node: NodeArgument,
    delta: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="At which epsilon is given; default: the node file's, or 1e-5."),
    ] = None,
) -> None:
    """Show what every run has cost, by data set, and what is left of the owner's limits.

    Epsilons of runs do not add up: their Renyi curves do, and the sum is converted once. It is above the target that an
    experiment states, which its run alone keeps to by a tighter accountant.

    Examples:

    leptonic ledger show node.toml

    leptonic ledger show nodes/clinic --delta 1e-6
    """
    from rich.console import Console

    from leptonic.privacy.ledger import LEDGER_FILE, Limits
    from leptonic.privacy.ledger.file import read
    from leptonic.privacy.ledger.verification import books_of
    from leptonic_client.ledger_report import tables

    folder, settings = _node(node)
    limits = settings.limits if settings is not None else Limits()
    path = folder / LEDGER_FILE
    links = read(path)
    lineage = settings.lineage if settings is not None else None
    shown = delta if delta is not None else limits.delta or 1e-5
    console = Console(highlight=False)
    for table in tables(books_of(links, path), limits, lineage=lineage, delta=shown):
        console.print(table)
    console.print(f"{len(links)} entries, head {links[-1].hash.hex()}", soft_wrap=True)


@app.command()
def verify(
    node: NodeArgument,
    head: Annotated[
        str | None, typer.Option(metavar="HASH", help="A head that was noted earlier: it must be in the ledger.")
    ] = None,
) -> None:
    """Verify that entries were only ever added, and that each curve is that of its mechanism.

    A ledger that was put back as it once was has a chain without fault: note the head that is printed in a second place
    (paper, another machine), and give it as --head the next time. The node's own folder notes one, too.

    Examples:

    leptonic ledger verify node.toml

    leptonic ledger verify nodes/clinic --head 3f0c...
    """
    from leptonic.errors import RunError
    from leptonic.privacy.ledger import LEDGER_FILE
    from leptonic.privacy.ledger.file import damaged
    from leptonic.privacy.ledger.verification import anchored, verified
    from leptonic_client.home import noted_head

    folder, _ = _node(node)
    path = folder / LEDGER_FILE
    links = verified(path)
    try:
        given = None if head is None else bytes.fromhex(head)
    except ValueError:
        raise RunError(f"--head {head}: not a hash; give the 64 digits that `leptonic ledger verify` printed") from None
    for noted, where in ((noted_head(folder), "this node has noted"), (given, "--head names")):
        if noted is not None and not anchored(links, noted):
            raise damaged(path, f"it has no entry {noted.hex()[:16]}, which {where}: entries are missing or replaced")
    if given is not None:
        typer.echo(f"the head that was given is entry {anchored(links, given)} of {len(links)}")
    typer.echo(f"{path}: {len(links)} entries, in order, none changed; every curve is that of its mechanism")
    typer.echo(f"head {links[-1].hash.hex()}")


@app.command()
def export(
    node: NodeArgument,
    form: Annotated[
        Form, typer.Option("--format", help="json: every entry. csv: a row for each reservation.")
    ] = Form.JSON,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Instead of standard output.")] = None,
) -> None:
    """Write the ledger out, for a record or a report; without the fingerprints of data.

    Examples:

    leptonic ledger export node.toml --format csv --out spent.csv

    leptonic ledger export nodes/clinic > ledger.json
    """
    from leptonic.errors import RunError
    from leptonic.privacy.ledger import LEDGER_FILE
    from leptonic.privacy.ledger.verification import verified
    from leptonic_client.ledger_report import as_csv, as_json

    folder, _ = _node(node)
    links = verified(folder / LEDGER_FILE)
    content = as_json(links) if form is Form.JSON else as_csv(links)
    if out is None:
        typer.echo(content, nl=False)
        return
    try:
        out.write_text(content, encoding="utf-8")
    except OSError as error:
        raise RunError(f"{out}: cannot be written: {error.strerror}") from None


def _node(path: Path) -> "tuple[Path, NodeSettings | None]":
    """The node's folder, and its settings where its file was named."""
    if path.is_dir():
        return path, None
    from leptonic_client.settings import read_node_file

    settings = read_node_file(path)
    return settings.folder, settings
