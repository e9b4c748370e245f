"""What a node must not forget of secure aggregation: on disk before the call returns, in SQLite.

A session's secrets are never here. What is: which numbers were used, which queries were answered in which session and
with what, whether a session's survivors were signed or it was given up, the last roster, and the records of rounds.
"""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from leptonic.database import transaction
from leptonic.errors import RunError
from leptonic.secagg.journal import replayed_answer, replayed_close, replayed_entry, replayed_number

__all__ = ["JOURNAL_FILE", "Notes", "NodeJournal", "OwnSession", "notes_of"]

JOURNAL_FILE = "secagg.sqlite"
"""Name of the journal in a node's folder."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (run BLOB PRIMARY KEY, serial INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS sessions (
    session BLOB PRIMARY KEY, run BLOB NOT NULL, round INTEGER NOT NULL, abort_quorum INTEGER NOT NULL, closed TEXT,
    header BLOB, survivors BLOB
) STRICT;
CREATE TABLE IF NOT EXISTS answers (query BLOB PRIMARY KEY, session BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS rosters (
    federation BLOB PRIMARY KEY, version INTEGER NOT NULL, client BLOB NOT NULL, authority BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS records (
    run BLOB NOT NULL, round INTEGER NOT NULL, digest BLOB NOT NULL, content BLOB NOT NULL, PRIMARY KEY (run, round)
) STRICT;
"""


class NodeJournal:
    """A :class:`leptonic.secagg.journal.Journal` in a file that one node uses."""

    def __init__(self, path: Path) -> None:
        path.touch(mode=0o600)
        self._database = sqlite3.connect(path, isolation_level=None)
        try:
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.executescript(_SCHEMA)
        except sqlite3.DatabaseError as error:
            self._database.close()
            raise _no_journal(path, error) from None

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def open(self, run: bytes, serial: int) -> None:
        """See :class:`Journal`."""
        with transaction(self._database):
            last = self._database.execute("SELECT serial FROM runs WHERE run = ?", (run,)).fetchone()
            if last is not None and serial <= last[0]:
                raise replayed_number(serial, last[0])
            self._database.execute("INSERT OR REPLACE INTO runs VALUES (?, ?)", (run, serial))

    def enter(self, session: bytes, abort_quorum: int, *, run: bytes, number: int) -> None:
        """See :class:`Journal`."""
        row = (session, run, number, abort_quorum)
        try:
            self._database.execute("INSERT INTO sessions VALUES (?, ?, ?, ?, NULL, NULL, NULL)", row)
        except sqlite3.IntegrityError:
            raise replayed_entry() from None

    def answered(self, query: bytes) -> tuple[bytes, int] | None:
        """See :class:`Journal`."""
        asked = "SELECT session, abort_quorum FROM answers JOIN sessions USING (session) WHERE query = ?"
        row = self._database.execute(asked, (query,)).fetchone()
        return (bytes(row[0]), int(row[1])) if row else None

    def answer(self, query: bytes, session: bytes, *, after: bytes | None, header: bytes) -> None:
        """See :class:`Journal`."""
        with transaction(self._database):
            row = self._database.execute("SELECT session FROM answers WHERE query = ?", (query,)).fetchone()
            if (row[0] if row else None) != after:
                raise replayed_answer()
            self._database.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", (query, session))
            self._database.execute("UPDATE sessions SET header = ? WHERE session = ?", (header, session))

    def agree(self, session: bytes, survivors: bytes) -> None:
        """See :class:`Journal`."""
        self._end(session, "set", survivors, refused_after=("set", "abort"))

    def agreed(self, session: bytes) -> bytes | None:
        """See :class:`Journal`."""
        row = self._database.execute("SELECT survivors FROM sessions WHERE session = ?", (session,)).fetchone()
        return row[0] if row else None

    def abort(self, session: bytes) -> None:
        """See :class:`Journal`."""
        self._end(session, "abort", None, refused_after=("set",))

    def record(self, run: bytes, number: int, digest: bytes, content: bytes) -> None:
        """See :class:`Journal`."""
        row = (run, number, digest, content)
        self._database.execute("INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?)", row)

    def last_record(self, run: bytes) -> tuple[int, bytes] | None:
        """See :class:`Journal`."""
        query = "SELECT round, digest FROM records WHERE run = ? ORDER BY round DESC LIMIT 1"
        row = self._database.execute(query, (run,)).fetchone()
        return (row[0], row[1]) if row else None

    def roster_seen(self, federation: bytes) -> int:
        """The highest version of a federation's roster that was taken, 0 if none."""
        row = self._database.execute("SELECT version FROM rosters WHERE federation = ?", (federation,)).fetchone()
        return int(row[0]) if row else 0

    def take_roster(self, federation: bytes, version: int, *, client: bytes, authority: bytes) -> None:
        """Note the version of a roster that was checked. client: this node's id. authority: the key that it pins."""
        row = (federation, version, client, authority)
        self._database.execute("INSERT OR REPLACE INTO rosters VALUES (?, ?, ?, ?)", row)

    def _end(self, session: bytes, how: str, survivors: bytes | None, *, refused_after: tuple[str, ...]) -> None:
        with transaction(self._database):
            row = self._database.execute("SELECT closed FROM sessions WHERE session = ?", (session,)).fetchone()
            if row is None or row[0] in refused_after:
                raise replayed_close(row[0] if row else "unknown")
            ended = "UPDATE sessions SET closed = ?, survivors = ? WHERE session = ?"
            self._database.execute(ended, (how, survivors, session))


@dataclass(frozen=True)
class OwnSession:
    """What a node has said in a session. number: of its round.

    header: the hash of its masked input's header, None if it sent none. survivors: the hash of the list that it signed,
    None if it signed none. given_up: whether it gave the session up.
    """

    number: int
    header: bytes | None
    survivors: bytes | None
    given_up: bool


@dataclass(frozen=True)
class Notes:
    """What a node's owner knows of a run. client: its id. authority: the key that its own file pinned.

    sessions: by name. records: their hashes by round.
    """

    client: bytes
    authority: bytes
    sessions: Mapping[bytes, OwnSession]
    records: Mapping[int, bytes]


def notes_of(folder: Path, *, federation: bytes, run: bytes) -> Notes:
    """A node's notes of a run, read while the node may run. folder: the node's own.

    Raises RunError where there are none.
    """
    path = folder / JOURNAL_FILE
    if not path.exists():
        raise RunError(f"{path}: no node's journal; give the folder that the node's file names")
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            query = "SELECT client, authority FROM rosters WHERE federation = ?"
            membership = database.execute(query, (federation,)).fetchone()
            rows = database.execute(
                "SELECT session, round, header, survivors, closed FROM sessions WHERE run = ?", (run,)
            ).fetchall()
            records = database.execute("SELECT round, digest FROM records WHERE run = ?", (run,)).fetchall()
    except sqlite3.DatabaseError as error:
        raise _no_journal(path, error) from None
    if membership is None:
        raise RunError(f"{path}: this node never took part in the federation that the run names")
    return Notes(
        client=membership[0],
        authority=membership[1],
        sessions={row[0]: OwnSession(row[1], row[2], row[3], row[4] == "abort") for row in rows},
        records=dict(records),
    )


def _no_journal(path: Path, error: sqlite3.DatabaseError) -> RunError:
    return RunError(f"{path}: not a node's journal ({error}); restore it from a copy")
