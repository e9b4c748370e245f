"""What a coordinator keeps of a round's sessions, so that it can crash at any moment and open the same sum, or none.

Before work is asked for: who is asked, so that the session can be given up. Before the survivors are named: the masked
sum and everything that was said. Before shares are asked for: the quorum's signatures, since clients answer one
message and no other. A row for each session in the run's database, and one file with the words of the last one, which
its row names with its hash.
"""

import hashlib
import sqlite3
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leptonic.errors import RunError
from leptonic.files import overwrite
from leptonic.secagg.encoding import Id, decoded, encoded
from leptonic.secagg.messages import AbortCertificate, CohortList, Signed
from leptonic.secagg.server.agreeing import Agreeing
from leptonic.secagg.server.closed import ClosedSum
from leptonic.secagg.server.office import Office
from leptonic.secagg.server.unmasking import Unmasking
from leptonic_server.secure.given_up import AtWork

__all__ = ["KeptSession", "Nothing", "Pending"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS sessions_at_work (
    number INTEGER PRIMARY KEY, session BLOB NOT NULL UNIQUE, round INTEGER NOT NULL, at_work BLOB NOT NULL,
    closed BLOB, sha256 BLOB, signatures BLOB, certificate BLOB
) STRICT;
"""
_FILE = "masked-sum.bin"


@dataclass(frozen=True, slots=True)
class Indexed:
    """A client's id, and its place in the roster."""

    client: Id
    index: int


@dataclass(frozen=True, slots=True)
class KeptWork:
    """A session whose work was asked for."""

    cohort: CohortList
    quorum: int
    clients: tuple[Indexed, ...]


@dataclass(frozen=True, slots=True)
class KeptSignatures:
    """The quorum that has signed the survivors."""

    signatures: tuple[Signed, ...]


@dataclass(frozen=True)
class Pending:
    """A round's last session, which a crash interrupted. ending: where it goes on; None if it can only be given up.

    before: the round's earlier sessions, which came to nothing.
    """

    at_work: AtWork
    ending: Agreeing | Unmasking | None
    before: tuple[AtWork, ...]


class KeptSession:
    """The sessions at work, in a run's folder."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / _FILE
        self._database = sqlite3.connect(folder / "run.sqlite", isolation_level=None)
        self._database.execute("PRAGMA synchronous = FULL")
        self._database.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def work(self, round_number: int, at_work: AtWork) -> None:
        """Work is about to be asked for."""
        clients = sorted((Indexed(name, index) for index, name in at_work.clients.items()), key=lambda one: one.client)
        kept = encoded(KeptWork(at_work.cohort, at_work.quorum, tuple(clients)))
        row = "INSERT INTO sessions_at_work (session, round, at_work) VALUES (?, ?, ?)"
        self._database.execute(row, (at_work.session, round_number, kept))

    def closed(self, closed: ClosedSum, words: NDArray[np.uint32], sums: NDArray[np.uint64]) -> None:
        """No further input is taken, and the survivors are about to be named."""
        content = b"".join((words.astype("<u4", copy=False).data, sums.astype("<u8", copy=False).data))
        overwrite(self._file, content)
        row = "UPDATE sessions_at_work SET closed = ?, sha256 = ? WHERE session = ?"
        self._database.execute(row, (encoded(closed), hashlib.sha256(content).digest(), closed.graph.session))

    def agreed(self, unmasking: Unmasking) -> None:
        """A quorum has signed, and shares are about to be asked for."""
        kept = encoded(KeptSignatures(unmasking.signatures))
        row = "UPDATE sessions_at_work SET signatures = ? WHERE session = ?"
        self._database.execute(row, (kept, unmasking.closed.graph.session))

    def given_up(self, session: bytes, certificate: AbortCertificate) -> None:
        """Enough have given a session up."""
        row = "UPDATE sessions_at_work SET certificate = ? WHERE session = ?"
        self._database.execute(row, (encoded(certificate), session))

    def over(self) -> None:
        """The round stands."""
        self._database.execute("DELETE FROM sessions_at_work")

    def pending(self, round_number: int, office: Office) -> Pending | None:
        """The sessions at work in this round when the coordinator stopped. Raises RunError if a sum is damaged."""
        query = (
            "SELECT at_work, certificate, closed, sha256, signatures FROM sessions_at_work "
            "WHERE round = ? ORDER BY number"
        )
        rows = self._database.execute(query, (round_number,)).fetchall()
        if not rows:
            return None
        *before, at_work = (_at_work(row[0], row[1]) for row in rows)
        return Pending(at_work, self._ending(office, *rows[-1][2:]), tuple(before))

    def _ending(
        self, office: Office, closed: bytes | None, sha256: bytes, signatures: bytes | None
    ) -> Agreeing | Unmasking | None:
        """Where a session goes on."""
        if closed is None:
            return None
        known = decoded(ClosedSum, closed)
        words, sums = self._masked_sum(known, sha256)
        if signatures is None:
            return Agreeing(known, words, sums, office=office)
        return Unmasking(known, words, sums, decoded(KeptSignatures, signatures).signatures)

    def _masked_sum(self, closed: ClosedSum, digest: bytes) -> tuple[NDArray[np.uint32], NDArray[np.uint64]]:
        try:
            content = self._file.read_bytes()
        except OSError as error:
            raise RunError(f"{self._file}: cannot be read ({error}); restore it from a copy") from None
        settings = closed.opening.settings
        at = 4 * settings.words
        if hashlib.sha256(content).digest() != digest or len(content) != at + 8 * settings.sums:
            raise RunError(f"{self._file}: is not what was kept; restore it from a copy")
        words = np.frombuffer(content[:at], dtype="<u4").astype(np.uint32)
        return words, np.frombuffer(content[at:], dtype="<u8").astype(np.uint64)


def _at_work(content: bytes, certificate: bytes | None) -> AtWork:
    kept = decoded(KeptWork, content)
    given_up = None if certificate is None else decoded(AbortCertificate, certificate)
    return AtWork(kept.cohort, kept.quorum, {one.index: one.client for one in kept.clients}, given_up)


class Nothing:
    """Keeps nothing: in a simulation clients and coordinator end together."""

    def close(self) -> None:
        """There is nothing to close."""

    def work(self, round_number: int, at_work: AtWork) -> None:
        """Nothing is kept."""

    def closed(self, closed: ClosedSum, words: NDArray[np.uint32], sums: NDArray[np.uint64]) -> None:
        """Nothing is kept."""

    def agreed(self, unmasking: Unmasking) -> None:
        """Nothing is kept."""

    def given_up(self, session: bytes, certificate: AbortCertificate) -> None:
        """Nothing is kept."""

    def over(self) -> None:
        """Nothing was kept."""

    def pending(self, round_number: int, office: Office) -> None:
        """Nothing was kept."""
