"""A session from its opening to its cohort, and what became of those who were invited to it."""

from collections.abc import Set
from dataclasses import replace

from leptonic.errors import BelowThreshold
from leptonic.secagg.messages import Open
from leptonic.secagg.server.inviting import Inviting
from leptonic.secagg.server.office import Office
from leptonic.secagg.server.sharing import Sharing
from leptonic_server.cohort import Members
from leptonic_server.judge import Asked
from leptonic_server.secure.trips import Part, ids
from leptonic_server.store import ClientRecord

__all__ = ["Begun"]


class Begun:
    """A session that has begun. number, attempt: of its round. cohort: roster indices of those invited."""

    def __init__(
        self, office: Office, opening: Open, members: Members, *, number: int, attempt: int, cohort: list[int]
    ) -> None:
        self.number, self.attempt, self.cohort = number, attempt, cohort
        self.records: dict[int, ClientRecord] = {}
        self._ids = ids(members, cohort)
        self._inviting = Inviting(office, opening)
        self._sharing: Sharing | BelowThreshold | None = None

    def invitation(self) -> Part:
        """The first trip: keys."""
        inviting = self._inviting
        return Part(
            self.cohort,
            message=lambda _: inviting.message,
            take=inviting.take,
            enough=lambda: len(inviting.clients) >= inviting.opening.settings.minimum,
        )

    def introduction(self, asked: Asked) -> Part | None:
        """The second trip: the cohort, and boxes; None if too few have advertised. asked: of the first trip."""
        self._note(asked, self._inviting.clients)
        try:
            self._sharing = sharing = self._inviting.close()
        except BelowThreshold as error:
            self._sharing = error
            return None
        present = [client for client, name in self._ids.items() if name in self._inviting.clients]
        return Part(
            present,
            message=sharing.message,
            take=sharing.take,
            enough=lambda: len(sharing.clients) >= sharing.graph.bounds.survivors,
        )

    def shared(self, asked: Asked) -> None:
        """Note who has not shared. asked: of the second trip."""
        if isinstance(self._sharing, Sharing):
            self._note(asked, self._sharing.clients)

    @property
    def introduced(self) -> bool:
        """Whether its two trips were taken."""
        return self._sharing is not None

    @property
    def ready(self) -> bool:
        """Whether enough have shared."""
        sharing = self._sharing
        return isinstance(sharing, Sharing) and len(sharing.clients) >= sharing.graph.bounds.survivors

    @property
    def sharing(self) -> Sharing:
        """The session, ready for work. Raises BelowThreshold if it came to nothing."""
        if isinstance(self._sharing, Sharing):
            return self._sharing
        raise self._sharing or BelowThreshold("the session has no cohort")

    def clients(self, names: tuple[bytes, ...]) -> dict[int, bytes]:
        """The roster indices of these ids."""
        wanted = set(names)
        return {client: name for client, name in self._ids.items() if name in wanted}

    def _note(self, asked: Asked, present: Set[bytes]) -> None:
        """What became of those who are not among them, unless something did before."""
        for client, name in self._ids.items():
            if name not in present and client not in self.records:
                record = asked.records.get(client) or ClientRecord(client, "lost", "not asked")
                # Who answered the other part of a trip alone has refused this one.
                self.records[client] = replace(record, status="refused") if record.status == "counted" else record
