"""``leptonic verify`` and ``leptonic audit-sum``: what others can check of a run with secure aggregation."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from leptonic_server.store import RunStore
    from leptonic_server.verify.chain import Chain
    from leptonic_server.verify.own import OwnPart

__all__ = ["audit_sum", "verify"]

RunArgument = Annotated[Path, typer.Argument(metavar="RUN_DIR", help="The run's folder, or a copy of it.")]
AuthorityOption = Annotated[
    str | None,
    typer.Option(metavar="KEY", help="The authority's public key, hexadecimal; default: the one the run names."),
]
UNPROVEN = """\
not proven  that the opened sums are the sums of the inputs (`leptonic audit-sum` checks this where inputs were kept),
            that others' inputs are honest, or that the sums tell little about one of them (see [privacy])"""


def verify(
    run_dir: RunArgument,
    client: Annotated[str, typer.Option("--as", metavar="CLIENT", help="Whose part in the run is looked for.")],
    node: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="This client's node folder: what it has noted is compared with the run."),
    ] = None,
    authority: AuthorityOption = None,
) -> None:
    """Check that a client's inputs were counted, among how many, on which terms, and that nothing was changed since.

    With --node the node's own notes are compared: the pinned authority, each input as it was sent, each set of
    survivors as it was signed, each record as it was shown. Ends with an error at the first thing that does not hold.

    Examples:

    leptonic verify runs/hospitals --as hospital-a --node nodes/hospital-a

    leptonic verify runs/hospitals --as hospital-a --authority KEY
    """
    from contextlib import closing

    from leptonic.errors import InconsistentCohort
    from leptonic.node_journal import notes_of
    from leptonic_server.store import RunStore
    from leptonic_server.verify.chain import chain_of, federation_of
    from leptonic_server.verify.own import own_part

    with closing(RunStore(run_dir, read_only=True)) as store:
        run = (store.run or "").encode()
        notes = notes_of(node, federation=federation_of(store), run=run) if node else None
        if notes is not None and notes.client != client.encode():
            raise InconsistentCohort(f"{node}: is the node of {notes.client.decode(errors='replace')}, not of {client}")
        chain = chain_of(store, notes.authority if notes else _key(authority))
        part = own_part(chain, client.encode(), notes)
        _say_chain(chain, pinned=notes is not None or authority is not None)
        _say_part(part, client, len(chain.links), noted=notes is not None)
        typer.echo(f"models      {_models(store, chain)}")
    typer.echo(UNPROVEN)


def audit_sum(
    run_dir: RunArgument,
    round_: Annotated[
        list[int] | None, typer.Option("--round", metavar="N", help="A round; may be repeated; default: all kept.")
    ] = None,
    authority: AuthorityOption = None,
) -> None:
    """Sum the kept masked inputs of rounds again, and compare with what was opened; single inputs stay hidden.

    The experiment must have kept them: [secure_aggregation] retain = "inputs".

    Examples:

    leptonic audit-sum runs/hospitals --authority KEY

    leptonic audit-sum runs/hospitals --round 3 --round 7
    """
    import os
    from contextlib import closing

    from leptonic.errors import ProtocolError, RunError
    from leptonic.secagg.expansion import Workers
    from leptonic_server.secure.retained import Retained
    from leptonic_server.store import RunStore
    from leptonic_server.verify.audit import audit
    from leptonic_server.verify.chain import chain_of

    with closing(RunStore(run_dir, read_only=True)) as store, closing(Workers(os.cpu_count() or 1)) as expansion:
        chain, retained = chain_of(store, _key(authority)), Retained(run_dir)
        _say_chain(chain, pinned=authority is not None)
        numbers = sorted(set(round_ or retained.rounds()))
        if not numbers:
            raise RunError(f'{run_dir}: no inputs were kept; [secure_aggregation] retain = "inputs" keeps them')
        for number in numbers:
            if not 1 <= number <= len(chain.links):
                raise RunError(f"round {number}: the run has rounds 1 to {len(chain.links)}")
            try:
                inputs = audit(chain.links[number - 1], retained, expansion)
            except ProtocolError as error:
                raise type(error)(f"round {number}: {error}") from None
            typer.echo(f"round {number:<5} the opened sum is that of its {inputs} inputs")


def _key(authority: str | None) -> bytes | None:
    """The key of an option."""
    from leptonic.errors import ExperimentError

    if authority is None:
        return None
    try:
        key = bytes.fromhex(authority)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise ExperimentError("--authority: a public key has 64 hexadecimal digits; see `leptonic roster authority`")
    return key


def _say_chain(chain: "Chain", *, pinned: bool) -> None:
    opening, bounds = chain.links[-1].record.opening, chain.links[-1].graph.bounds
    typer.echo(f"federation  {opening.federation.decode(errors='replace')}, run {opening.run.decode(errors='replace')}")
    compare = "" if pinned else "  (as the run names it: compare it with the one that you were given)"
    typer.echo(f"authority   {chain.authority.hex()}{compare}")
    typer.echo(f"records     {len(chain.links)}, one chain, each signed by the coordinator and a quorum of its cohort")
    adversary = "may lie" if opening.settings.lying else "is taken to keep to the protocol"
    typer.echo(
        f"terms       the coordinator {adversary}, {opening.settings.colluders} of {opening.settings.invited} clients "
        f"may collude with it; sums of {bounds.survivors} at least"
    )


def _say_part(part: "OwnPart", client: str, rounds: int, *, noted: bool) -> None:
    if part.counted:
        sizes = sorted({min(part.counted.values()), max(part.counted.values())})
        among = " to ".join(str(size) for size in sizes)
        as_sent = ", each as its node sent it" if noted else ""
        typer.echo(f"counted     {client} in {len(part.counted)} of {rounds} rounds, among {among}{as_sent}")
    else:
        typer.echo(f"counted     {client} in none of {rounds} rounds")
    if part.left_out:
        typer.echo(f"left out    in rounds {_listed(part.left_out)}: an input was sent and is not in the sum")
    if part.silent:
        typer.echo(f"silent      in rounds {_listed(part.silent)}: it was asked for an input, and none is in the sum")
    if noted:
        typer.echo(f"shown       the records of {len(part.shown)} rounds to its node, all as they are here")


def _models(store: "RunStore", chain: "Chain") -> str:
    """What can be said of the models."""
    if own := store.experiment.own_code:
        return f"not checked: the experiment brings code of its own ({', '.join(own)})"
    from leptonic_server.verify.replay import Replay

    replay = Replay(store)
    replay.check_settings(chain)
    reached, rounds = replay.check_models(chain), len(chain.links)
    if reached == rounds:
        return f"each of rounds 1 to {rounds} is the server's step by the opened sum, from the first model on"
    return f'not checked beyond round {reached}: the opened sums were not kept ([secure_aggregation] retain = "sums")'


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))
