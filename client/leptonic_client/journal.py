"""What a node must not forget of secure aggregation: on disk before the call returns, in SQLite.

A session's secrets are never here. What is: which numbers were used, which queries were answered in which session,
whether a session's survivors were signed or it was given up, the last roster, and the records of rounds.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from leptonic.errors import RunError
from leptonic.secagg.standing import replayed_answer, replayed_close, replayed_number

__all__ = ["NodeJournal"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (run BLOB PRIMARY KEY, serial INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS sessions (
    session BLOB PRIMARY KEY, abort_quorum INTEGER NOT NULL, closed TEXT
) STRICT;
CREATE TABLE IF NOT EXISTS answers (query BLOB PRIMARY KEY, session BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS rosters (federation BLOB PRIMARY KEY, version INTEGER NOT NULL) STRICT;
"""


class NodeJournal:
    """A :class:`leptonic.secagg.standing.Journal` in a file that one node uses."""

    def __init__(self, path: Path) -> None:
        path.touch(mode=0o600)
        self._database = sqlite3.connect(path, isolation_level=None)
        try:
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.executescript(_SCHEMA)
        except sqlite3.DatabaseError as error:
            self._database.close()
            raise RunError(f"{path}: not a node's journal ({error}); restore it from a copy") from None

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def open(self, run: bytes, serial: int) -> None:
        """See :class:`Journal`."""
        with self._transaction():
            last = self._database.execute("SELECT serial FROM runs WHERE run = ?", (run,)).fetchone()
            if last is not None and serial <= last[0]:
                raise replayed_number(serial, last[0])
            self._database.execute("INSERT OR REPLACE INTO runs VALUES (?, ?)", (run, serial))

    def enter(self, session: bytes, abort_quorum: int) -> None:
        """See :class:`Journal`."""
        self._database.execute("INSERT INTO sessions VALUES (?, ?, NULL)", (session, abort_quorum))

    def answered(self, query: bytes) -> tuple[bytes, int] | None:
        """See :class:`Journal`."""
        asked = "SELECT session, abort_quorum FROM answers JOIN sessions USING (session) WHERE query = ?"
        row = self._database.execute(asked, (query,)).fetchone()
        return (bytes(row[0]), int(row[1])) if row else None

    def answer(self, query: bytes, session: bytes, *, after: bytes | None) -> None:
        """See :class:`Journal`."""
        with self._transaction():
            row = self._database.execute("SELECT session FROM answers WHERE query = ?", (query,)).fetchone()
            if (row[0] if row else None) != after:
                raise replayed_answer()
            self._database.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", (query, session))

    def agree(self, session: bytes) -> None:
        """See :class:`Journal`."""
        self._end(session, "set", refused_after=("set", "abort"))

    def abort(self, session: bytes) -> None:
        """See :class:`Journal`."""
        self._end(session, "abort", refused_after=("set",))

    def roster_seen(self, federation: bytes) -> int:
        """The highest version of a federation's roster that was taken, 0 if none."""
        row = self._database.execute("SELECT version FROM rosters WHERE federation = ?", (federation,)).fetchone()
        return int(row[0]) if row else 0

    def take_roster(self, federation: bytes, version: int) -> None:
        """Note the version of a roster that was checked."""
        self._database.execute("INSERT OR REPLACE INTO rosters VALUES (?, ?)", (federation, version))

    def _end(self, session: bytes, how: str, *, refused_after: tuple[str, ...]) -> None:
        with self._transaction():
            row = self._database.execute("SELECT closed FROM sessions WHERE session = ?", (session,)).fetchone()
            if row is None or row[0] in refused_after:
                raise replayed_close(row[0] if row else "unknown")
            self._database.execute("UPDATE sessions SET closed = ? WHERE session = ?", (how, session))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")
