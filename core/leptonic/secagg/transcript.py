"""What a record proves by itself: who was asked, who is in the sum, and that a quorum has signed just these.

Whoever has the roster can check it: a client, a data owner, an auditor. It does not prove that the opened sum is the
sum of the inputs: see docs/secagg.md.
"""

from collections.abc import Callable
from functools import lru_cache

from leptonic.errors import BelowThreshold, InconsistentCohort
from leptonic.secagg.binding import Verifier, bound, hashed, verified
from leptonic.secagg.encoding import decoded
from leptonic.secagg.graph import Graph, graph_of
from leptonic.secagg.messages import Record, SignedRecord, SurvivorSet, View
from leptonic.secagg.roster import Roster

__all__ = ["RecordCheck", "check_record", "record_of"]

RECENT = 2
"""Records that are remembered."""

RecordCheck = Callable[[SignedRecord, Roster, bytes, Verifier], Graph]
"""A :func:`check_record`."""


@lru_cache(RECENT)
def record_of(content: bytes) -> tuple[SignedRecord, bytes]:
    """A record and its hash: read once in a process, for all are shown the same. Raises DecodeError."""
    shown = decoded(SignedRecord, content)
    return shown, hashed(shown.record)


def check_record(shown: SignedRecord, roster: Roster, previous: bytes, verify: Verifier = verified) -> Graph:
    """Check a record with everything it holds, and return who shared with whom.

    roster: that of its session. previous: the hash of the record before, zeros for the first. Raises BadSignature,
    BelowThreshold, InconsistentCohort.
    """
    record, content = shown.record, roster.content
    if (record.opening.federation, record.opening.roster) != (content.federation, roster.hash):
        raise InconsistentCohort("the record is that of another federation or roster")
    verify(content.coordinator, shown.signature, bound(record), b"the coordinator")
    if record.previous != previous or record.context.record != previous:
        raise InconsistentCohort("the record goes on from another one than the one before it")
    graph = _graph(record, roster)
    _check_survivors(record, graph)
    _check_quorum(record, graph, roster, verify)
    return graph


def _graph(record: Record, roster: Roster) -> Graph:
    """Who shared with whom, as all parties have found it."""
    if record.cohort.opening != hashed(record.opening) or record.context.opening != hashed(record.opening):
        raise InconsistentCohort("the record's cohort or work belongs to another session")
    if strangers := {each.client for each in record.cohort.members} - roster.keys.keys():
        raise InconsistentCohort(f"{min(strangers).decode(errors='replace')} is not on the roster")
    return graph_of(record.opening, record.cohort)


def _check_survivors(record: Record, graph: Graph) -> None:
    sharers = {each.client for each in record.sharers}
    survivors = {each.client for each in record.survivors.survivors}
    if record.survivors.session != graph.session or not survivors <= sharers <= set(graph.clients):
        raise InconsistentCohort("a survivor that never shared its secrets, or a sharer that is not of the cohort")
    if len(survivors) < graph.bounds.survivors or graph.thinnest_window(survivors) < graph.bounds.window:
        raise BelowThreshold(f"a sum over {len(survivors)}, and {graph.bounds.survivors} are needed")
    if record.view != hashed(View(graph.session, record.sharers, hashed(record.context))):
        raise InconsistentCohort("the record's view is not that of its sharers and its work")


def _check_quorum(record: Record, graph: Graph, roster: Roster, verify: Verifier) -> None:
    signers = {each.client for each in record.signatures}
    if not signers <= set(graph.clients):
        raise InconsistentCohort("the survivors are signed by somebody who is not of the cohort")
    if len(signers) < graph.bounds.quorum:
        raise BelowThreshold(f"{len(signers)} have signed the survivors, and {graph.bounds.quorum} are needed")
    statement = bound(SurvivorSet(graph.session, record.view, hashed(record.survivors)))
    for each in record.signatures:
        verify(roster.keys[each.client], each.signature, statement, each.client)
