"""One client's part in a run: what the records say of it, and what its own node has noted."""

from dataclasses import dataclass

from leptonic.errors import InconsistentCohort
from leptonic.node_journal import Notes
from leptonic.secagg.binding import hashed
from leptonic_server.verify.chain import Chain, Link

__all__ = ["OwnPart", "own_part"]


@dataclass(frozen=True)
class OwnPart:
    """A client's part in a run, by rounds.

    counted: in how large a sum its input is. left_out: its input was sent, and is not in the sum. silent: it was
    asked for an input and none is in the sum, for all that is known. shown: its node has this record.
    """

    counted: dict[int, int]
    left_out: list[int]
    silent: list[int]
    shown: list[int]


def own_part(chain: Chain, client: bytes, notes: Notes | None) -> OwnPart:
    """What became of a client's inputs. notes: its node's.

    Raises InconsistentCohort where its node has noted something else, or it is not on the roster.
    """
    part = OwnPart({}, [], [], [])
    for link in chain.links:
        if client not in link.roster.keys:
            raise InconsistentCohort(f"round {link.number}: the roster does not name {_text(client)}")
        _place(part, link, client, notes)
    if notes is not None:
        _check_shown(part, chain, notes)
    return part


def _place(part: OwnPart, link: Link, client: bytes, notes: Notes | None) -> None:
    own = notes.sessions.get(link.graph.session) if notes else None
    counted = link.survivors.get(client)
    if own is not None and own.survivors not in (None, hashed(link.record.survivors)):
        raise InconsistentCohort(f"round {link.number}: its survivors are not those that this node has signed")
    if counted is not None:
        if notes is not None and (own is None or own.header != counted):
            raise InconsistentCohort(f"round {link.number}: counts an input that this node never sent")
        part.counted[link.number] = len(link.survivors)
    elif own is not None and own.header is not None:
        part.left_out.append(link.number)
    elif client in {each.client for each in link.record.sharers}:
        part.silent.append(link.number)


def _check_shown(part: OwnPart, chain: Chain, notes: Notes) -> None:
    """The records that the node was shown are those of the run."""
    made = {link.number: hashed(link.record) for link in chain.links}
    for number, digest in sorted(notes.records.items()):
        if made.get(number) != digest:
            what = "was changed since this node was shown it" if number in made else "is missing: this node has it"
            raise InconsistentCohort(f"round {number}: its record {what}")
        part.shown.append(number)


def _text(client: bytes) -> str:
    return client.decode(errors="replace")
