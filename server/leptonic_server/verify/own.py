"""One client's part in a run: what the records say of it, and what its own node has noted."""

from dataclasses import dataclass, field

from leptonic.errors import InconsistentCohort
from leptonic.node_journal import Notes, OwnSession
from leptonic.secagg.binding import hashed
from leptonic_server.verify.chain import Chain, Link

__all__ = ["OwnPart", "own_part"]


@dataclass
class OwnPart:
    """A client's part in a run, by rounds.

    counted: in how large a sum its input is. left_out: its input was sent, and is not in the sum. silent: it was
    asked for an input and none is in the sum, for all that is known. absent: the roster did not name it. Compared with
    its node's notes: shown: its node has this record. unnoted: an input is counted, and the node has no notes of the
    session. unsigned: the sum was opened, and the node has not signed its survivors. unnamed: the node has signed the
    survivors of a session that no record names.
    """

    counted: dict[int, int] = field(default_factory=dict)
    left_out: list[int] = field(default_factory=list)
    silent: list[int] = field(default_factory=list)
    absent: list[int] = field(default_factory=list)
    shown: list[int] = field(default_factory=list)
    unnoted: list[int] = field(default_factory=list)
    unsigned: list[int] = field(default_factory=list)
    unnamed: list[int] = field(default_factory=list)


def own_part(chain: Chain, client: bytes, notes: Notes | None) -> OwnPart:
    """What became of a client's inputs. notes: its node's.

    Raises InconsistentCohort where its node has noted something else, or no roster of the run names it.
    """
    part = OwnPart()
    for link in chain.links:
        if client in link.roster.keys:
            _place(part, link, client, notes.sessions.get(link.graph.session) if notes else None)
            if notes and part.counted.get(link.number) and link.graph.session not in notes.sessions:
                part.unnoted.append(link.number)
        else:
            part.absent.append(link.number)
    if len(part.absent) == len(chain.links):
        raise InconsistentCohort(f"no roster of this run names {client.decode(errors='replace')}")
    if notes is not None:
        _check_shown(part, chain, notes)
        named = {link.graph.session for link in chain.links}
        signed = {session: own for session, own in notes.sessions.items() if own.survivors is not None}
        part.unnamed = sorted(own.number for session, own in signed.items() if session not in named)
    return part


def _place(part: OwnPart, link: Link, client: bytes, own: OwnSession | None) -> None:
    counted = link.survivors.get(client)
    if own is not None and own.survivors not in (None, hashed(link.record.survivors)):
        raise InconsistentCohort(f"round {link.number}: its survivors are not those that this node has signed")
    if counted is not None:
        if own is not None and own.header != counted:
            raise InconsistentCohort(f"round {link.number}: counts an input that this node never sent")
        part.counted[link.number] = len(link.survivors)
        if own is not None and own.survivors is None:
            part.unsigned.append(link.number)
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
