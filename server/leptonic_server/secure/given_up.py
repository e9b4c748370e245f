"""Work that was asked for in a session that came to no sum: who was asked, and the quorum that has given it up.

A client answers the same work in another session only if it is shown that the first will never be opened. Else a
coordinator could open a sum, claim a crash, and have it summed again without one client.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from leptonic.errors import InconsistentCohort
from leptonic.secagg.binding import hashed
from leptonic.secagg.encoding import decoded, encoded
from leptonic.secagg.messages import Abort, AbortCertificate, CohortList, Proofs, Signed
from leptonic.secagg.server.office import Office
from leptonic_server.cohort import Members
from leptonic_server.exchange import Exchange
from leptonic_server.secure.trips import ids

__all__ = ["AtWork", "GivenUp", "Words"]

ANSWER_LIMIT = 256
"""Bytes of one client's word."""


@dataclass(frozen=True)
class AtWork:
    """A session whose work was asked for.

    quorum: that can give it up. clients: its cohort's ids, by roster index. given_up: the proof that it was, if it was
    before the coordinator came.
    """

    cohort: CohortList
    quorum: int
    clients: Mapping[int, bytes]
    given_up: AbortCertificate | None = None

    @property
    def session(self) -> bytes:
        """Its name."""
        return hashed(self.cohort)


class Words:
    """The words of those who give a session up."""

    def __init__(self, office: Office, at_work: AtWork) -> None:
        self._office, self._at_work = office, at_work
        self._said: dict[bytes, Signed] = {}

    @property
    def enough(self) -> bool:
        """Whether they prove that it will never be opened."""
        return len(self._said) >= self._at_work.quorum

    @property
    def certificate(self) -> AbortCertificate | None:
        """The proof, if they are enough."""
        if not self.enough:
            return None
        return AbortCertificate(self._at_work.cohort, tuple(self._said[name] for name in sorted(self._said)))

    def take(self, client: bytes, content: bytes | memoryview) -> None:
        """One client's word. Raises BadSignature, DecodeError, InconsistentCohort."""
        word = decoded(Signed, content)
        if word.client != client:
            raise InconsistentCohort("a session is given up in another name")
        self._office.check_signature(word.client, word.signature, Abort(self._at_work.session))
        self._said[word.client] = word


class GivenUp:
    """The sessions at work in a round, none of which has come to a sum.

    keep: is given the proof that a session was given up.
    """

    def __init__(
        self,
        office: Office,
        exchange: Exchange,
        members: Members,
        *,
        deadline: float,
        keep: Callable[[bytes, AbortCertificate], None],
    ) -> None:
        self._keep = keep
        self._office, self._exchange, self._members, self._deadline = office, exchange, members, deadline
        self._at_work: dict[bytes, AtWork] = {}
        self._asked: dict[int, set[bytes]] = {}
        self._certificates: dict[bytes, AbortCertificate] = {}

    def work(self, at_work: AtWork) -> None:
        """The work of this session is about to be asked for."""
        self._at_work[at_work.session] = at_work
        for client in at_work.clients:
            self._asked.setdefault(client, set()).add(at_work.session)
        if at_work.given_up is not None:
            self._certificates[at_work.session] = at_work.given_up

    def knows(self, at_work: AtWork) -> bool:
        """Whether the session's work was asked for since the coordinator is here."""
        return any(at_work.session in sessions for sessions in self._asked.values())

    def is_over(self, at_work: AtWork) -> bool:
        """Whether the session was given up."""
        return at_work.session in self._certificates

    def opened(self) -> None:
        """The last session came to its sum: nothing is left to be given up."""
        self._at_work, self._asked, self._certificates = {}, {}, {}

    def proofs(self, client: int) -> bytes:
        """The proofs that sessions were given up in which this client was asked; nothing where it was in none."""
        given_up = sorted(self._asked.get(client, set()) & self._certificates.keys())
        return encoded(Proofs(tuple(self._certificates[session] for session in given_up))) if given_up else b""

    def give_up(self, round_number: int, attempt: int) -> None:
        """Have the sessions at work given up that are not yet; who has signed their survivors will not."""
        for session, at_work in self._at_work.items():
            if session not in self._certificates:
                self._ask(at_work, round_number, attempt)

    def _ask(self, at_work: AtWork, round_number: int, attempt: int) -> None:
        words, names = Words(self._office, at_work), ids(self._members, at_work.clients)
        self._exchange.ask(
            "abort",
            round_number=round_number,
            attempt=attempt,
            cohort=list(names),
            content=at_work.session,
            expected=ANSWER_LIMIT,
            shorter=True,
            wanted=len(names),
            deadline=self._deadline,
            take=lambda client, buffer: words.take(names[client], buffer),
            settled=lambda: words.enough,
        )
        if (certificate := words.certificate) is not None:
            self._keep(at_work.session, certificate)
            self._certificates[at_work.session] = certificate
