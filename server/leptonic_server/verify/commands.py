"""``leptonic verify`` and ``leptonic audit-sum``: what others can check of a run with secure aggregation."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leptonic.plain_text import plain

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
        run, trusted = (store.run or "").encode(), _key(authority)
        notes = notes_of(node, federation=federation_of(store), run=run) if node else None
        if notes is not None:
            if notes.client != client.encode():
                raise InconsistentCohort(f"{node}: is the node of {notes.client.decode()}, not of {client}")
            if trusted not in (None, notes.authority):
                raise InconsistentCohort(f"{node}: this node has pinned another authority than --authority names")
            trusted = notes.authority
        chain = chain_of(store, trusted)
        part = own_part(chain, client.encode(), notes)
        _say_chain(chain, of=store.experiment.training.rounds, pinned=trusted is not None)
        _say_part(part, client, len(chain.links), noted=notes is not None)
        _say("models", _models(store, chain))
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
        secure, rounds = store.experiment.secure_aggregation, len(chain.links)
        if secure is None or secure.retain != "inputs":
            raise RunError(f'{run_dir}: no inputs were kept; [secure_aggregation] retain = "inputs" keeps them')
        _say_chain(chain, of=store.experiment.training.rounds, pinned=authority is not None)
        numbers = sorted(set(round_ or range(1, rounds + 1)))
        for number in numbers:
            if not 1 <= number <= rounds:
                raise RunError(f"round {number}: the run has rounds 1 to {rounds}")
            try:
                inputs = audit(chain.links[number - 1], retained, expansion)
            except ProtocolError as error:
                raise type(error)(f"round {number}: {error}") from None
            _say(f"round {number}", f"the opened sum is that of its {inputs} inputs")


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


def _say_chain(chain: "Chain", *, of: int, pinned: bool) -> None:
    """of: rounds of the experiment."""
    opening = chain.links[-1].record.opening
    least = min(link.graph.bounds.survivors for link in chain.links)
    federation, run = opening.federation.decode(errors="replace"), opening.run.decode(errors="replace")
    _say("federation", f"{federation}, run {run}")
    compare = "" if pinned else "  (as the run names it: compare it with the one that you were given)"
    _say("authority", f"{chain.authority.hex()}{compare}")
    _say("records", f"{len(chain.links)} of {of} rounds, one chain, each signed by coordinator and quorum")
    _say("chain", f"{chain.digest.hex()}  (compare it with other owners: the same for all)")
    adversary = "may lie" if opening.settings.lying else "is taken to keep to the protocol"
    _say(
        "terms",
        f"the coordinator {adversary}, {opening.settings.colluders} of {opening.settings.invited} clients "
        f"may collude with it; sums of {least} at least",
    )


def _say_part(part: "OwnPart", client: str, rounds: int, *, noted: bool) -> None:
    if part.counted:
        sizes = sorted({min(part.counted.values()), max(part.counted.values())})
        as_sent = ", each as its node sent it" if noted and not part.unnoted else ""
        among = " to ".join(str(size) for size in sizes)
        _say("counted", f"{client} in {len(part.counted)} of {rounds} rounds, among {among}{as_sent}")
    else:
        _say("counted", f"{client} in none of {rounds} rounds")
    _say_rounds("left out", part.left_out, "an input was sent and is not in the sum")
    _say_rounds("silent", part.silent, "it was asked for an input, and none is in the sum")
    _say_rounds("absent", part.absent, "the roster did not name it")
    if noted:
        _say("shown", f"the records of {len(part.shown)} rounds to its node, all as they are here")
    _say_rounds(
        "no notes", part.unnoted, "an input is counted, and its node knows nothing of it: was its folder replaced?"
    )
    _say_rounds("unsigned", part.unsigned, "the sum was opened upon others' signatures, without this node's")
    _say_rounds(
        "no record",
        part.unnamed,
        "it has signed the survivors of a session that has no record: it came to nothing, or its sum is kept from you",
    )


def _say_rounds(label: str, numbers: list[int], words: str) -> None:
    if numbers:
        _say(label, f"in round{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}: {words}")


def _say(label: str, words: str) -> None:
    """A line. What the run's folder says may hold anything."""
    typer.echo(f"{label:<11} {plain(words)}")


def _models(store: "RunStore", chain: "Chain") -> str:
    """What can be said of the models."""
    if own := store.experiment.own_code:
        return f"not checked: the experiment brings code of its own ({', '.join(own)})"
    from leptonic_server.verify.replay import Replay

    replay = Replay(store)
    replay.check_settings(chain)
    if reached := replay.check_models(chain):
        return f"each of rounds 1 to {reached} is the server's step by the opened sum, from the first model on"
    return 'the first is the seed\'s; opened sums were not kept for the others ([secure_aggregation] retain = "sums")'
