"""What a client must not forget, whatever becomes of its process: what each note is for, and notes in memory."""

from typing import Protocol

from leptonic.errors import ReplayedSession

__all__ = ["Journal", "MemoryJournal", "replayed_answer", "replayed_close", "replayed_entry", "replayed_number"]


class Journal(Protocol):
    """A client's notes: each call is on disk when it returns."""

    def open(self, run: bytes, serial: int) -> None:
        """Note a session's number. Raises ReplayedSession unless it is above the run's last one."""
        ...

    def enter(self, session: bytes, abort_quorum: int, *, run: bytes, number: int) -> None:
        """Note a session of this round of a run, whose cohort is fixed, and how many of it can give it up.

        Raises ReplayedSession if it was entered before: a key seals one box.
        """
        ...

    def answered(self, query: bytes) -> tuple[bytes, int] | None:
        """The last session in which this query was answered and its abort quorum, None if it never was."""
        ...

    def answer(self, query: bytes, session: bytes, *, after: bytes | None, header: bytes) -> None:
        """Note that the query's answer in this session is about to leave. header: the hash of the answer's header.

        after: the last session in which it was answered, as the session's work was taken up. Raises ReplayedSession
        if it is another one by now: two sessions at a time answer the same once.
        """
        ...

    def agree(self, session: bytes, survivors: bytes) -> None:
        """Note that a set of survivors is about to be signed. survivors: the hash of their list.

        Raises ReplayedSession if one was signed before, or the session was given up.
        """
        ...

    def agreed(self, session: bytes) -> bytes | None:
        """The hash of the list of survivors that was signed in a session, None if none was."""
        ...

    def abort(self, session: bytes) -> None:
        """Note that the session is given up. Raises ReplayedSession if it is unknown, or survivors were signed."""
        ...

    def record(self, run: bytes, number: int, digest: bytes, content: bytes) -> None:
        """Keep the record of a run's round, which was checked. digest: its hash. content: its signed encoding."""
        ...

    def last_record(self, run: bytes) -> tuple[int, bytes] | None:
        """The round and the hash of the last record of a run that was kept, None if none was."""
        ...


class MemoryJournal:
    """A journal for as long as a process lives: for simulations, where nobody restarts alone."""

    def __init__(self) -> None:
        self._last: dict[bytes, int] = {}
        self._quorums: dict[bytes, int] = {}
        self._answers: dict[bytes, bytes] = {}
        self._agreed: dict[bytes, bytes] = {}
        self._given_up: set[bytes] = set()
        self._records: dict[bytes, tuple[int, bytes]] = {}

    def open(self, run: bytes, serial: int) -> None:
        """See :class:`Journal`."""
        last = self._last.get(run)
        if last is not None and serial <= last:
            raise replayed_number(serial, last)
        self._last[run] = serial

    def enter(self, session: bytes, abort_quorum: int, *, run: bytes, number: int) -> None:
        """See :class:`Journal`."""
        del run, number  # for who looks at it afterwards
        if session in self._quorums:
            raise replayed_entry()
        self._quorums[session] = abort_quorum

    def answered(self, query: bytes) -> tuple[bytes, int] | None:
        """See :class:`Journal`."""
        session = self._answers.get(query)
        return None if session is None else (session, self._quorums[session])

    def answer(self, query: bytes, session: bytes, *, after: bytes | None, header: bytes) -> None:
        """See :class:`Journal`."""
        del header  # who simulates everybody has nobody to show it to
        if self._answers.get(query) != after:
            raise replayed_answer()
        self._answers[query] = session

    def agree(self, session: bytes, survivors: bytes) -> None:
        """See :class:`Journal`."""
        if session not in self._quorums or session in self._agreed or session in self._given_up:
            raise replayed_close(self._state(session))
        self._agreed[session] = survivors

    def agreed(self, session: bytes) -> bytes | None:
        """See :class:`Journal`."""
        return self._agreed.get(session)

    def abort(self, session: bytes) -> None:
        """See :class:`Journal`."""
        if session not in self._quorums or session in self._agreed:
            raise replayed_close(self._state(session))
        self._given_up.add(session)

    def record(self, run: bytes, number: int, digest: bytes, content: bytes) -> None:
        """See :class:`Journal`; the content is not kept."""
        del content
        self._records[run] = (number, digest)

    def last_record(self, run: bytes) -> tuple[int, bytes] | None:
        """See :class:`Journal`."""
        return self._records.get(run)

    def _state(self, session: bytes) -> str:
        return "set" if session in self._agreed else "abort" if session in self._given_up else "unknown"


def replayed_number(serial: int, last: int) -> ReplayedSession:
    """What a journal raises for a session that is not above the last."""
    return ReplayedSession(f"a session of number {serial}, after number {last} of the same run")


def replayed_entry() -> ReplayedSession:
    """What a journal raises where secrets were shared in this session before."""
    return ReplayedSession("this client has entered the session before, and shares its secrets in it once")


def replayed_answer() -> ReplayedSession:
    """What a journal raises where another session has answered the same in the meantime."""
    return ReplayedSession("the same is asked in two sessions at a time, and the other one has answered it")


def replayed_close(state: str) -> ReplayedSession:
    """What a journal raises where a session's end was decided, or is not this client's to decide. state: set, abort."""
    known = {"set": "its survivors were signed", "abort": "it was given up"}.get(state, "this client never entered it")
    return ReplayedSession(f"the session cannot be signed or given up: {known}")
