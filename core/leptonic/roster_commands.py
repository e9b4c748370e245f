"""``leptonic roster``: who belongs to a federation, signed by an authority that is not the coordinator."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    help="Sign and show rosters: who belongs to a federation with secure aggregation.",
    context_settings={"help_option_names": ["-h", "--help"]},
)

KeyOption = Annotated[Path, typer.Option("--key", metavar="FILE", help="The authority's key; made if there is none.")]


@app.command()
def authority(key: KeyOption = Path("authority.key")) -> None:
    """Print the authority's public key, which every node's own file pins; made at the first call.

    Keep the key away from the coordinator: whoever has both can invent clients.

    Example:

    leptonic roster authority --key authority.key
    """
    from leptonic.identity import public_hex, signing_key

    typer.echo(public_hex(signing_key(key, "the authority's")))


@app.command()
def sign(
    clients: Annotated[Path, typer.Argument(metavar="CLIENTS.toml", help="A table [clients] of names and keys.")],
    federation: Annotated[str, typer.Option(help="The federation's name, as in the nodes' files.")],
    coordinator: Annotated[str, typer.Option(metavar="KEY", help="The coordinator's public key, hexadecimal.")],
    key: KeyOption = Path("authority.key"),
    version: Annotated[int, typer.Option(min=1, help="Above the last one's: older ones are refused.")] = 1,
    days: Annotated[int, typer.Option(min=1, help="Days until it expires.")] = 365,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the signed roster goes.")] = Path(
        "federation.roster"
    ),
) -> None:
    """Sign a roster: the clients' names and keys, and the coordinator's key.

    Example:

    leptonic roster sign clients.toml --federation hospitals --coordinator KEY --key authority.key
    """
    from leptonic.identity import signing_key
    from leptonic.roster_file import read_clients
    from leptonic.roster_file import sign as sign_roster

    named = read_clients(clients)
    sign_roster(
        named,
        federation=federation,
        coordinator=coordinator,
        authority=signing_key(key, "the authority's"),
        version=version,
        days=days,
        path=out,
    )
    typer.echo(f"{out}: {len(named)} clients, version {version}, for {days} days")


@app.command()
def show(
    file: Annotated[Path, typer.Argument(metavar="ROSTER", help="A signed roster.")] = Path("federation.roster"),
) -> None:
    """Show who is on a signed roster."""
    from leptonic.roster_file import read_signed

    roster = read_signed(file)
    content = roster.content
    expires = datetime.fromtimestamp(min(content.expires, 2**40), UTC)
    typer.echo(f"federation   {content.federation.decode(errors='replace')}, version {content.version}")
    typer.echo(f"expires      {expires:%Y-%m-%d %H:%M} UTC")
    typer.echo(f"authority    {roster.signed.authority.hex()}")
    typer.echo(f"coordinator  {content.coordinator.hex()}")
    for entry in content.entries:
        typer.echo(f"  {entry.client.decode(errors='replace'):<20} {entry.key.hex()}")
