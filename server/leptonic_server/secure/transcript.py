"""The coordinator's side of the chain of records: each is signed and names the one before it."""

from leptonic.errors import RunError
from leptonic.secagg.binding import hashed, signed
from leptonic.secagg.encoding import decoded, encoded
from leptonic.secagg.messages import Record, SignedRecord
from leptonic.secagg.roster import SignedRoster
from leptonic.secagg.server.office import Office
from leptonic_server.store import RunStore

__all__ = ["Transcript"]


class Transcript:
    """The last record of a run. content: its encoding, signed; nothing before the first.

    Raises RunError for a run that began with another key of the coordinator: nobody would take its records.
    """

    def __init__(self, office: Office, store: RunStore) -> None:
        for encoding in store.signed_rosters().values():
            if decoded(SignedRoster, encoding).content.coordinator != office.roster.content.coordinator:
                raise RunError(
                    f"{store.folder}: this run's records are signed with another key of the coordinator's than the "
                    "roster names; resume it with that key and a roster that names it, or start a new run"
                )
        self._office, self.content = office, store.transcript()
        self._record = decoded(SignedRecord, self.content).record if self.content else None
        store.keep_roster(office.roster.hash, office.roster.encoding)

    @property
    def hash(self) -> bytes:
        """What the next record names: the last one's hash, zeros before the first."""
        return hashed(self._record) if self._record else bytes(32)

    @property
    def survivors(self) -> set[bytes]:
        """Whose inputs are in the last sum."""
        return {each.client for each in self._record.survivors.survivors} if self._record else set()

    def sign(self, record: Record) -> None:
        """Go on with this record."""
        self._record, self.content = record, encoded(SignedRecord(record, signed(self._office.key, record)))
