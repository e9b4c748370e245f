"""``leptonic client``: a data owner's node."""

import signal
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

__all__ = ["client"]


def client(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[NODE.toml]", help="Node file, instead of the options.", show_default=False),
    ] = None,
    server: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="The coordinator's link.")] = None,
    name: Annotated[str | None, typer.Option(help="This node's name in the federation.")] = None,
    data: Annotated[
        str | None, typer.Option(metavar="PATH", help="IDX folder, .npz, .csv, .parquet, image folder.")
    ] = None,
    home: Annotated[str | None, typer.Option(metavar="DIR", help="Key and state; default: nodes/NAME.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps, instead of the experiment's.")] = None,
    allow: Annotated[
        list[str] | None, typer.Option(metavar="PACKAGE.MODULE:NAME", help="Own model or task that may be used here.")
    ] = None,
    public_size: Annotated[int | None, typer.Option(help="Declared number of examples, under privacy.")] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="No TLS; this machine only.")] = False,
    once: Annotated[bool, typer.Option("--once", help="End when a joined run ends.")] = False,
    show_key: Annotated[bool, typer.Option("--show-key", help="Print the node's public key and end.")] = False,
    show_refusals: Annotated[
        bool, typer.Option("--show-refusals", help="Print what the node has refused, and why, and end.")
    ] = False,
) -> None:
    """Run a node on local data: it joins the coordinator's runs, and only its model updates leave this machine.

    The node runs installed code only, answers a repeated request with the bytes it had sent, and reconnects for
    ever. Its key is made at the first start. What it spends of the data's privacy stands in its ledger (leptonic
    ledger), within the limits of its file.

    Examples:

    leptonic client --server 127.0.0.1:8080 --name client-0 --data exports/client-0.npz --insecure

    leptonic client node.toml

    leptonic client node.toml --show-key

    leptonic client node.toml --show-refusals
    """
    from leptonic.address import loopback
    from leptonic.errors import ExperimentError
    from leptonic_client.settings import NodeSettings, node_settings, read_node_file

    options = {
        "server": server,
        "name": name,
        "data": data,
        "home": home,
        "device": device,
        "allow": allow or None,
        "public_size": public_size,
        "insecure": insecure or None,
    }
    given = {key: value for key, value in options.items() if value is not None}
    if file is not None and set(given) - {"insecure"}:
        raise ExperimentError(f"{file}: with a node file, leave out: {', '.join('--' + key for key in sorted(given))}")
    settings: NodeSettings = read_node_file(file) if file is not None else node_settings(given)
    if show_key:
        from leptonic.identity import public_hex, signing_key

        typer.echo(public_hex(signing_key(settings.folder / "node.key", "the node's")))
        return
    if show_refusals:
        _print_refusals(settings.folder)
        return
    loopback(settings.server, insecure=settings.insecure or insecure)
    if not Path(settings.data).exists():
        raise ExperimentError(f"{settings.data}: no such file or folder of data")
    from leptonic_client.node import Node

    def say(event: str) -> None:
        typer.echo(f"{datetime.now().astimezone():%H:%M:%S} {settings.name} {event}", err=True)

    signal.signal(signal.SIGTERM, _interrupt)
    try:
        Node(settings, on_event=say, once=once).run()
    except KeyboardInterrupt:
        say("stops")
        raise typer.Exit(130) from None


def _print_refusals(folder: Path) -> None:
    from contextlib import closing

    from leptonic_client.home import ClientHome

    with closing(ClientHome(folder, alone=False)) as home:
        for each in home.refusals():
            times = f", {each.times} times" if each.times > 1 else ""
            typer.echo(f"{each.last}  run {each.run}, round {each.round}, {each.step}{times}: {each.reason}")


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
