"""``leptonic server``: coordinate a run with deployed clients."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from leptonic.experiment_commands import FileArgument, SetOption

__all__ = ["server"]


def server(
    file: FileArgument,
    address: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where clients connect.")] = "127.0.0.1:8080",
    set_: SetOption = None,
    roster: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Who may join: names and keys (.toml), or a signed roster (.roster)."),
    ] = None,
    key: Annotated[
        Path, typer.Option(metavar="FILE", help="The coordinator's key, for secure aggregation; made if there is none.")
    ] = Path("coordinator.key"),
    show_key: Annotated[bool, typer.Option("--show-key", help="Print the coordinator's public key and end.")] = False,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="No TLS, this machine only; without --roster take those that come.")
    ] = False,
    run_dir: Annotated[Path | None, typer.Option(help="Folder of the run.", show_default=False)] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Last line: the result as one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Coordinate a run: wait for the clients, train, and leave model, metrics and report in the run's folder.

    Ctrl-C, a crash or a kill leaves a run that --resume continues; clients reconnect by themselves.

    Examples:

    leptonic server experiments/fashion_mnist.toml --address 127.0.0.1:8080 --insecure

    leptonic server experiments/fashion_mnist.toml --roster clients.toml --insecure --resume

    leptonic server experiments/secure.toml --roster federation.roster --key coordinator.key --insecure
    """
    if show_key:
        from leptonic.identity import public_hex, signing_key

        typer.echo(public_hex(signing_key(key, "the coordinator's")))
        return
    from leptonic.address import loopback
    from leptonic.experiment_file import load

    host, port = loopback(address, insecure=insecure)
    experiment = load(file, set_ or ())

    from leptonic_server.closing import closing_words
    from leptonic_server.secure.headquarters import admitted_by
    from leptonic_server.serve import serve

    admitted, office = admitted_by(roster, key)

    def say(event: str) -> None:
        if not quiet:
            typer.echo(f"{datetime.now().astimezone():%H:%M:%S} {event}", err=True)

    with closing_words(as_json=as_json) as done:
        done(
            serve(
                experiment,
                host=host,
                port=port,
                admitted=admitted,
                office=office,
                folder=run_dir,
                resume=resume,
                quiet=quiet,
                on_event=say,
            )
        )
