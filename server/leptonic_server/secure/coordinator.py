"""The coordinator whose rounds are sessions of secure aggregation: it opens sums, and sees no single update.

A steady round takes three trips: work; the survivors, with the next session's opening; the quorum, with the next
session's cohort. Work that was asked for in a session that came to nothing is asked for again only once a quorum of
that session has given it up.
"""

from typing import Unpack

from leptonic.errors import BelowThreshold, ProtocolError
from leptonic.experiment import Experiment
from leptonic.secagg.encoding import encoded
from leptonic.secagg.expansion import Expansion
from leptonic.secagg.messages import Open
from leptonic.secagg.server.agreeing import Agreeing
from leptonic.secagg.server.office import Office
from leptonic.secagg.server.unmasking import OpenedSum, Unmasking
from leptonic.secagg.terms import PHASE_TRAIN, session_settings
from leptonic.secagg.trips import HEADER_LIMIT, Work
from leptonic.update import Mean
from leptonic_server.cohort import choose
from leptonic_server.coordinator import Coordinator, Phases, Surroundings
from leptonic_server.judge import Asked
from leptonic_server.secure.begun import Begun
from leptonic_server.secure.ending import Ending, mean_of, note_suspects
from leptonic_server.secure.given_up import AtWork, GivenUp
from leptonic_server.secure.kept import KeptSession, Nothing
from leptonic_server.secure.retained import Retained
from leptonic_server.secure.transcript import Transcript
from leptonic_server.secure.trips import Trips, ids
from leptonic_server.state import RoundState
from leptonic_server.store import ClientRecord, RoundRecord

__all__ = ["SecureCoordinator"]

_SESSIONS = "secure sessions"


class SecureCoordinator(Coordinator):
    """A :class:`Coordinator` that sums securely.

    office: its key, and the roster. expansion: who expands masks. session: what is kept of the session at work.
    """

    def __init__(
        self,
        experiment: Experiment,
        *,
        office: Office,
        expansion: Expansion,
        session: KeptSession | Nothing,
        **surroundings: Unpack[Surroundings],
    ) -> None:
        super().__init__(experiment, **surroundings)
        self._office, self._expansion, self._session = office, expansion, session
        self._settings = session_settings(experiment, self._pipeline)
        self._trips = Trips(self._exchange, self._members, deadline=self._deadline)
        self._given_up = GivenUp(office, self._exchange, self._members, deadline=self._deadline, keep=session.given_up)
        self._begun: Begun | None = None
        self._transcript = Transcript(office, self._store)
        secure = experiment.secure_aggregation
        self._retained = Retained(self._store.folder, secure.retain if secure else "nothing")

    def run(self) -> None:
        """As every coordinator; the last round's record, which no work follows, is then brought to its survivors."""
        super().run()
        survivors = self._transcript.survivors
        present = [client for client, name in ids(self._members, self._members.online()).items() if name in survivors]
        self._exchange.ask(
            "record",
            round_number=self._experiment.training.rounds,
            attempt=1,
            cohort=present,
            content=b"",
            own=dict.fromkeys(present, self._transcript.content),
            expected=0,
            wanted=len(present),
            deadline=self._deadline,
            take=lambda _client, _buffer: None,
            settled=lambda: True,
        )

    def _train(
        self, number: int, attempt: int, state: RoundState, failed: set[int], phases: Phases
    ) -> tuple[Asked, Mean | None]:
        """One attempt: a session from its opening to its sum. What goes wrong with it ends the attempt."""
        asked = Asked()
        try:
            ending = self._interrupted(number, attempt, asked) or self._worked(
                number, attempt, state, failed, asked, phases
            )
            with phases("unmask"):
                opened = self._opened(ending, number, asked)
                note_suspects(opened, asked, self._members)
        except ProtocolError as error:
            return _uncounted(asked, error), None
        with phases("aggregate"):
            return asked, mean_of(opened, self._encoding(number, state), number)

    def _interrupted(self, number: int, attempt: int, asked: Asked) -> Ending | None:
        """The end of a session whose sum was closed and not opened, in this life of the coordinator or the last.

        None if there is none, or once its cohort has given it up, which is asked for when its end has failed before.
        """
        pending = self._session.pending(number, self._office)
        if pending is None:
            return None
        self._wait_for_members()
        failed_before = self._given_up.knows(pending.at_work)
        for at_work in (*pending.before, pending.at_work):
            self._given_up.work(at_work)
        if failed_before and isinstance(pending.ending, Agreeing):
            self._given_up.give_up(number, attempt)
        if pending.ending is None or self._given_up.is_over(pending.at_work):
            return None
        self._listener.round_begins(number, attempt, len(pending.at_work.clients))
        survivors = {each.client for each in pending.ending.closed.headers}
        for index, name in pending.at_work.clients.items():
            status, why = ("counted", "") if name in survivors else ("late", "before its session was closed")
            asked.note([ClientRecord(index, status, why)])
        return Ending(pending.ending, asked.counted)

    def _worked(
        self, number: int, attempt: int, state: RoundState, failed: set[int], asked: Asked, phases: Phases
    ) -> Ending:
        """A session from its opening to its masked sum."""
        with phases("plan"):
            begun = self._prepared(number, attempt, failed)
            self._given_up.give_up(number, attempt)
        self._listener.round_begins(number, attempt, len(begun.cohort))
        if not begun.introduced:
            with phases("share"):
                self._end_and_begin(None, begun, asked)
        asked.note(begun.records.values())
        with phases("collect"):
            agreeing = self._summed(begun, state, asked)
        return Ending(agreeing, list(begun.clients(agreeing.survivors)))

    def _prepared(self, number: int, attempt: int, failed: set[int]) -> Begun:
        """The session that was begun with the last one's end, or a new one."""
        begun, self._begun = self._begun, None
        if begun is not None and begun.number == number and begun.ready and not failed:
            return begun
        return self._begin(number, attempt, choose(self._experiment, number, self._wait_for_members(), failed))

    def _begin(self, number: int, attempt: int, cohort: list[int]) -> Begun:
        """Open a session. Its number is above that of every other one of the run, whatever became of them."""
        serial = int(self._store.note(_SESSIONS) or 0) + 1
        self._store.keep(_SESSIONS, str(serial))
        opening = Open(
            federation=self._office.roster.content.federation,
            run=(self._store.run or "").encode(),
            round=number,
            phase=PHASE_TRAIN,
            serial=serial,
            experiment=bytes.fromhex(self._experiment.hash),
            roster=self._office.roster.hash,
            settings=self._settings,
        )
        return Begun(self._office, opening, self._members, number=number, attempt=attempt, cohort=cohort)

    def _summed(self, begun: Begun, state: RoundState, asked: Asked) -> Agreeing:
        """The third trip: work, and the masked sum of what it gives."""
        content = state.broadcast(self._algorithm)
        summing = begun.sharing.close(self._office.digest(content), self._transcript.hash)
        clients = begun.clients(summing.clients)
        own = {
            client: encoded(Work(summing.message(name, self._given_up.proofs(client)), self._transcript.content))
            for client, name in clients.items()
        }
        cohort = begun.clients(summing.graph.clients)
        at_work = AtWork(summing.cohort, summing.graph.bounds.abort_quorum, cohort)
        self._session.work(begun.number, at_work)
        self._given_up.work(at_work)
        self._retained.begin(begun.number)

        def take(client: int, buffer: bytes | memoryview) -> None:
            view = memoryview(buffer)
            masked, header = view[: summing.length], bytes(view[summing.length :])
            summing.take(clients[client], header, masked)
            self._retained.take(begun.number, header, masked)

        part = self._exchange.ask(
            "train",
            round_number=begun.number,
            attempt=begun.attempt,
            cohort=list(clients),
            content=content,
            own=own,
            expected=summing.length + HEADER_LIMIT,
            shorter=True,
            counted=self._counted(clients),
            wanted=self._experiment.federation.wanted,
            deadline=self._deadline,
            take=take,
            on_client=self._listener.client_answered,
        )
        _absorb(asked, part)
        asked.note(part.records.values())
        agreeing = summing.close()
        self._session.closed(agreeing.closed, agreeing.words, agreeing.sums)
        return agreeing

    def _opened(self, ending: Ending, number: int, asked: Asked) -> OpenedSum:
        """The trips that open the sum, and begin the next round's session."""
        after = number + 1
        if after <= self._experiment.training.rounds:
            online = self._members.online()
            self._begun = self._begin(after, 1, choose(self._experiment, after, online, set()))
        unmasking = self._end_and_begin(ending, self._begun, asked)
        assert unmasking is not None
        opened = unmasking.open(self._expansion, self._transcript.hash)
        self._retained.opened(number, unmasking.closed, opened)
        self._transcript.sign(opened.record)
        self._given_up.opened()
        return opened

    def _end_and_begin(self, ending: Ending | None, begun: Begun | None, asked: Asked) -> Unmasking | None:
        """Two trips: the survivors sign and release their shares, and those of the next session share theirs.

        Raises BelowThreshold if too few have signed; the next session has begun all the same.
        """
        number, attempt = (begun.number, begun.attempt) if begun else (self._experiment.training.rounds + 1, 1)
        first = self._trips.take(
            "open",
            round_number=number,
            attempt=attempt,
            closing=ending.agreement() if ending else None,
            opening=begun.invitation() if begun else None,
        )
        unmasking, failure = None, None
        try:
            unmasking = self._agreed(ending) if ending else None
        except BelowThreshold as error:
            failure = error
        second = self._trips.take(
            "share",
            round_number=number,
            attempt=attempt,
            closing=ending.release(unmasking) if ending and unmasking else None,
            opening=begun.introduction(first) if begun else None,
        )
        for trip in (first, second):
            _absorb(asked, trip)
        if begun is not None:
            begun.shared(second)
        if failure is not None:
            raise failure
        return unmasking

    def _agreed(self, ending: Ending) -> Unmasking:
        """What the quorum has agreed on. Raises BelowThreshold if there is none."""
        if isinstance(ending.state, Unmasking):
            return ending.state
        unmasking = ending.state.close()
        self._session.agreed(unmasking)
        return unmasking

    def _commit(self, record: RoundRecord, state: RoundState, clients: list[ClientRecord]) -> None:
        """Commit a round with its transcript."""
        self._commits.commit(record, self._kept(state), clients, transcript=self._transcript.content)
        self._session.over()


def _absorb(asked: Asked, part: Asked) -> None:
    """Count a trip's bytes."""
    asked.bytes_down += part.bytes_down
    asked.bytes_up += part.bytes_up


def _uncounted(asked: Asked, error: ProtocolError) -> Asked:
    """The same, where nobody's work came to a sum."""
    for client, record in asked.records.items():
        if record.status == "counted":
            asked.records[client] = ClientRecord(client, "late", f"{type(error).__name__}: {error}", record.seconds)
    return asked
