"""The records of a run: one chain from the first round to the last, each link signed by coordinator and quorum."""

from dataclasses import dataclass

from leptonic.errors import DecodeError, InconsistentCohort, ProtocolError, ReplayedSession, RunError
from leptonic.secagg.binding import hashed
from leptonic.secagg.encoding import decoded
from leptonic.secagg.graph import Graph
from leptonic.secagg.messages import Record, SignedRecord
from leptonic.secagg.roster import Roster, SignedRoster
from leptonic.secagg.terms import PHASE_TRAIN
from leptonic.secagg.transcript import check_record
from leptonic_server.store import RunStore

__all__ = ["Chain", "Link", "chain_of", "federation_of"]


@dataclass(frozen=True)
class Link:
    """One round's record, checked. roster, graph: of its session."""

    record: Record
    roster: Roster
    graph: Graph

    @property
    def number(self) -> int:
        """Of the round."""
        return self.record.opening.round

    @property
    def survivors(self) -> dict[bytes, bytes]:
        """The hash of the header of each masked input that was counted."""
        return {each.client: each.digest for each in self.record.survivors.survivors}


@dataclass(frozen=True)
class Chain:
    """All records of a run. authority: who has signed its rosters. digest: the hash of the last record."""

    authority: bytes
    links: tuple[Link, ...]
    digest: bytes


def federation_of(store: RunStore) -> bytes:
    """The federation that a run names, unchecked. Raises RunError for a run without records."""
    return decoded(SignedRecord, _contents(store)[0]).record.opening.federation


def chain_of(store: RunStore, authority: bytes | None) -> Chain:
    """The checked records of a run. authority: the key to be trusted, None to take the one that the run names.

    Raises RunError for a run without records, a ProtocolError for the first thing that does not hold.
    """
    contents = _contents(store)
    rosters, run, experiment = store.signed_rosters(), (store.run or "").encode(), bytes.fromhex(store.experiment.hash)
    if authority is None:
        authority = decoded(SignedRoster, next(iter(rosters.values()))).authority if rosters else bytes(32)
    links: list[Link] = []
    previous = bytes(32)
    for number, content in enumerate(contents, start=1):
        try:
            link = _link(content, rosters, authority, previous)
            _check_terms(link, links, run, experiment)
        except ProtocolError as error:
            raise type(error)(f"round {number}: {error}") from None
        links.append(link)
        previous = hashed(link.record)
    _check_end(links, store)
    return Chain(authority, tuple(links), previous)


def _contents(store: RunStore) -> list[bytes]:
    contents = store.transcripts()
    if not contents:
        raise RunError(f"{store.folder}: has no records; they come with [secure_aggregation] in the experiment")
    return contents


def _link(content: bytes, rosters: dict[bytes, bytes], authority: bytes, previous: bytes) -> Link:
    shown = decoded(SignedRecord, content)
    encoding = rosters.get(shown.record.opening.roster)
    if encoding is None:
        raise DecodeError("the record names a roster that the run does not have")
    roster = Roster.signed_by(authority, encoding)
    return Link(shown.record, roster, check_record(shown, roster, previous))


def _check_terms(link: Link, before: list[Link], run: bytes, experiment: bytes) -> None:
    """Every round of one run, in order and on the same terms."""
    opening = link.record.opening
    if (opening.round, opening.phase, opening.run, opening.experiment) != (
        len(before) + 1,
        PHASE_TRAIN,
        run,
        experiment,
    ):
        raise InconsistentCohort("the record is that of another round, run or experiment")
    if before:
        if link.roster.content.version < before[-1].roster.content.version:
            raise ReplayedSession("an older roster than in the round before")
        last = before[-1].record.opening
        if opening.settings != last.settings or opening.serial <= last.serial:
            raise InconsistentCohort("the settings have changed since the round before, or sessions are out of order")


def _check_end(links: list[Link], store: RunStore) -> None:
    if store.last_round() != len(links):
        raise InconsistentCohort(f"the run has {store.last_round()} rounds, and {len(links)} records")
