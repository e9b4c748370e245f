"""A client's part in secure aggregation over the rounds of a run: the session that ends and the one that begins.

The same in a node and in a simulation; what differs (journal, keys, transport) is given to it.
"""

import time
from collections.abc import Callable

from leptonic.errors import InconsistentCohort, PrivacyError, ProtocolError, ReplayedSession
from leptonic.pipeline import Contribution
from leptonic.secagg.binding import hashed
from leptonic.secagg.client.masked import Masked
from leptonic.secagg.client.session import ClientSession, aborted
from leptonic.secagg.encoding import decoded, encoded
from leptonic.secagg.expansion import Expansion
from leptonic.secagg.masks import Mask
from leptonic.secagg.messages import Open, Record, SessionSettings, Train
from leptonic.secagg.standing import Standing
from leptonic.secagg.terms import PHASE_TRAIN
from leptonic.secagg.transcript import record_of
from leptonic.secagg.trips import Trip, Work

__all__ = ["Party"]


class Party:
    """One client's sessions in one run.

    settings, run, experiment: what each of them must be opened with. now: seconds since 1970.
    """

    def __init__(
        self,
        standing: Standing,
        expansion: Expansion,
        *,
        settings: SessionSettings,
        run: str,
        experiment: str,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._standing, self._expansion, self._now = standing, expansion, now
        self._rosters = {standing.roster.hash: standing.roster}
        self._terms = (run.encode(), bytes.fromhex(experiment), settings)
        self._ending: ClientSession | None = None
        self._beginning: ClientSession | None = None
        self._opened = b""

    def renew(self, standing: Standing) -> None:
        """Go on with a new roster, from the next session on."""
        self._standing = standing
        self._rosters[standing.roster.hash] = standing.roster

    def open(self, content: bytes) -> tuple[bytes, str]:
        """Sign the survivors of the session that ends, and advertise keys for the one that begins.

        Returns the answer, and what was wrong with one of two parts. Raises what was wrong where nothing is answered.
        """
        return _each(decoded(Trip, content), lambda part: self._ended().agree(part), self._open)

    def share(self, content: bytes) -> tuple[bytes, str]:
        """Release shares of the session that ends, and share secrets in the one that begins."""
        return _each(decoded(Trip, content), lambda part: self._ended().unmask(part), self._introduce)

    def train(self, content: bytes, *, model: bytes, payload: bytes) -> None:
        """Check who takes part in the session that begins, and that everybody works on the same.

        content: a :class:`Work`. model, payload: long digests of the model, and of all that everybody is sent.
        """
        session, work = self._begun(), decoded(Work, content)
        self._check_record(decoded(Train, work.train).record, work.record)
        session.train(work.train, model=model, payload=payload)
        self._ending, self._beginning = session, None

    @property
    def masks(self) -> list[Mask]:
        """The masks of the contribution that is awaited; secret."""
        return self._ended().masks

    def mask(self, contribution: Contribution) -> Masked:
        """The masked contribution; it is masked in place."""
        return self._ended().mask(contribution.words, contribution.scalars, self._expansion)

    def abort(self, session: bytes) -> bytes:
        """Give a session up, unless its survivors were signed."""
        return aborted(self._standing, session)

    def record(self, content: bytes) -> bytes:
        """Keep the last round's record, which no work follows. There is nothing to answer."""
        self._keep(content)
        return b""

    def _keep(self, content: bytes, named: bytes | None = None) -> None:
        """Keep a round's record: whole, of the survivors that this client has signed, on one chain.

        content: a :class:`SignedRecord`. named: the hash that it must have. Raises InconsistentCohort, BadSignature,
        BelowThreshold.
        """
        shown, digest = record_of(content)
        record = shown.record
        run, _, _ = self._terms
        if named is not None and digest != named:
            raise InconsistentCohort("the session goes on from another record than the one that is shown")
        if (record.opening.run, record.opening.experiment, record.opening.settings) != self._terms:
            raise InconsistentCohort("the record is that of another run, or of other settings")
        roster = self._rosters.get(record.opening.roster)
        if roster is not None:
            self._standing.check_record(shown, roster, record.previous, self._standing.verify)
        else:
            # Of a roster that this node has not seen since it was started: there is only the coordinator's word.
            self._standing.check_coordinator(shown.signature, record)
            content = b""
        journal = self._standing.journal
        signed = journal.agreed(record.survivors.session)
        if signed is not None and signed != hashed(record.survivors):
            raise InconsistentCohort("the last round's record names other survivors than this client has signed")
        self._check_chain(record, digest)
        journal.record(run, record.opening.round, digest, content)

    def _check_chain(self, record: Record, digest: bytes) -> None:
        """One chain for all: no round has two records, and each goes on from the one before it."""
        last = self._standing.journal.last_record(record.opening.run)
        if last is None:
            return
        number, known = last
        if record.opening.round < number or (record.opening.round == number and digest != known):
            raise InconsistentCohort(f"round {number} has another record, which this client was shown before")
        if record.opening.round == number + 1 and record.previous != known:
            raise InconsistentCohort(f"the record does not go on from that of round {number}, which this client has")

    def _check_record(self, named: bytes, content: bytes) -> None:
        """The record that a session goes on from; there is none before the first."""
        if content:
            self._keep(content, named)
        elif named != bytes(32) or self._standing.journal.last_record(self._terms[0]) is not None:
            raise InconsistentCohort("the session goes on from a record that is not shown")

    def _open(self, content: bytes) -> bytes:
        if self._standing.roster.content.expires <= self._now():
            raise ReplayedSession("the roster has expired: ask the authority for a new one")
        opening = decoded(Open, content)
        if (opening.run, opening.experiment, opening.settings) != self._terms or opening.phase != PHASE_TRAIN:
            raise InconsistentCohort("the session is opened with other settings than the experiment's")
        if self._beginning is None or self._opened != content:
            self._beginning, self._opened = ClientSession(self._standing, content), content
        return self._beginning.opened(content)

    def _introduce(self, content: bytes) -> bytes:
        return self._begun().introduced(content)

    def _begun(self) -> ClientSession:
        if self._beginning is None:
            raise ReplayedSession("no session was opened with this client, or it has begun to work in it")
        return self._beginning

    def _ended(self) -> ClientSession:
        if self._ending is None:
            raise ReplayedSession("this client has done no work in a session that could end")
        return self._ending


def _each(trip: Trip, close: Callable[[bytes], bytes], begin: Callable[[bytes], bytes]) -> tuple[bytes, str]:
    """Answer both parts, each by itself."""
    parts, errors = [b"", b""], list[Exception]()
    for index, (part, answer) in enumerate(((trip.closing, close), (trip.opening, begin))):
        if part:
            try:
                parts[index] = answer(part)
            except (ProtocolError, PrivacyError) as error:
                errors.append(error)
    if errors and not any(parts):
        raise errors[0]
    return encoded(Trip(*parts)), "; ".join(f"{type(error).__name__}: {error}" for error in errors)
