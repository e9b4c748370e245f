"""A ledger's file: SQLite in which entries are only ever added, each bound by its hash to all before it.

Called by :class:`Ledger`, which writes one, and by commands, which read one while a node may run.
"""

import fcntl
import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from leptonic.database import transaction
from leptonic.errors import DecodeError, RunError
from leptonic.files import make_folder
from leptonic.privacy.ledger.entries import START, Entry, Opened, decode, encode, link

__all__ = ["LedgerFile", "Link", "damaged", "now", "read"]

_SCHEMA = (
    "CREATE TABLE entries (number INTEGER PRIMARY KEY, content BLOB NOT NULL, hash BLOB NOT NULL) STRICT",
    "CREATE TRIGGER entries_are_not_changed BEFORE UPDATE ON entries "
    "BEGIN SELECT RAISE(ABORT, 'entries of a ledger are never changed'); END",
    "CREATE TRIGGER entries_are_not_removed BEFORE DELETE ON entries "
    "BEGIN SELECT RAISE(ABORT, 'entries of a ledger are never removed'); END",
    # Also against INSERT OR REPLACE, which removes a row without asking the trigger above.
    "CREATE TRIGGER entries_are_added_at_the_end BEFORE INSERT ON entries "
    "WHEN NEW.number IS NOT (SELECT coalesce(max(number), 0) + 1 FROM entries) "
    "BEGIN SELECT RAISE(ABORT, 'entries of a ledger are added at its end'); END",
)


@dataclass(frozen=True)
class Link:
    """An entry in its place. number: from 1. hash: of all entries up to this one, 32 bytes."""

    number: int
    entry: Entry
    hash: bytes


class LedgerFile:
    """The file, opened to add to it; one process at a time. Readable by its owner alone, on disk when a call returns.

    Raises RunError if the file cannot be used, is damaged, or if another process has it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = _locked(path.with_suffix(".lock"))
        try:
            _make(path)
            self._database = _connected(path)
        except BaseException:
            os.close(self._lock)
            raise
        self._number, self._head = 0, START

    def close(self) -> None:
        """Close the file, and let others use it."""
        self._database.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    @property
    def head(self) -> bytes:
        """The hash of the last entry."""
        return self._head

    def load(self) -> Iterator[Link]:
        """All entries, of a new file the one that opens it; called once, to the end, before any is added."""
        for each in self._begun():
            self._number, self._head = each.number, each.hash
            yield each

    def append(self, entry: Entry) -> Link:
        """Add an entry. Raises RunError if it could not be: then it counts as not written, and may be."""
        content = encode(entry)
        added = Link(self._number + 1, entry, link(self._head, content))
        try:
            with transaction(self._database):
                self._database.execute("INSERT INTO entries VALUES (?, ?, ?)", (added.number, content, added.hash))
        except sqlite3.Error as error:
            raise RunError(f"{self.path}: cannot be written ({error}), so that nothing is trained or sent") from None
        self._number, self._head = added.number, added.hash
        return added

    def _begun(self) -> Iterator[Link]:
        """What is there; of a new file, its first entry."""
        if _objects(self._database, self.path):
            yield from _links(self._database, self.path)
            return
        opened = Opened(time=now(), ledger=secrets.token_hex(16))
        content = encode(opened)
        first = Link(1, opened, link(START, content))
        with transaction(self._database):
            for statement in _SCHEMA:
                self._database.execute(statement)
            self._database.execute("INSERT INTO entries VALUES (?, ?, ?)", (1, content, first.hash))
        yield first


def read(path: Path) -> list[Link]:
    """All entries, looked at while a node may add to them; nothing is written.

    Raises RunError where there is no ledger, or a damaged one.
    """
    if not path.is_file():
        raise RunError(f"{path}: no ledger; name a node's file, or its folder")
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            if not _objects(database, path):
                raise damaged(path, "it is empty")
            return list(_links(database, path))
    except sqlite3.DatabaseError as error:
        raise damaged(path, str(error)) from None


def now() -> str:
    """The time as entries have it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def damaged(path: Path, what: str) -> RunError:
    """A ledger that does not add up. Nobody goes on with one: it may hide what was spent."""
    return RunError(f"{path}: the ledger is damaged: {what}; restore the newest copy, and keep this one to look into")


def _locked(path: Path) -> int:
    try:
        make_folder(path.parent)
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise RunError(f"{path.parent}: cannot hold a ledger: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise RunError(f"{path.parent}: another process uses this ledger; give each node its own home") from None
    return lock


def _make(path: Path) -> None:
    """Make an empty file, where there is none; it and its name are on disk before anything is written to it."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        path.chmod(0o600)  # it may be a copy that was put back
        return
    except OSError as error:
        raise RunError(f"{path}: cannot be made: {error.strerror}") from None
    for each in (descriptor, os.open(path.parent, os.O_RDONLY)):
        os.fsync(each)
        os.close(each)


def _connected(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, isolation_level=None)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("PRAGMA fullfsync = ON")  # where the system has a weaker fsync, the real one
    except sqlite3.DatabaseError as error:
        database.close()
        raise damaged(path, str(error)) from None
    return database


def _objects(database: sqlite3.Connection, path: Path) -> bool:
    """Whether table and triggers are there, all as they were made. Raises RunError for others."""
    try:
        found = {row[0] for row in database.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}
    except sqlite3.DatabaseError as error:
        raise damaged(path, str(error)) from None
    if found and found != set(_SCHEMA):
        raise damaged(path, "its table or what keeps it from being changed is not as it was made")
    return bool(found)


def _links(database: sqlite3.Connection, path: Path) -> Iterator[Link]:
    previous, place = START, 0
    try:
        for place, (number, content, digest) in enumerate(
            database.execute("SELECT number, content, hash FROM entries ORDER BY number"), start=1
        ):
            if number != place:
                raise damaged(path, f"entry {place} is missing")
            entry = decode(content)
            previous = link(previous, content)
            if previous != digest:
                raise damaged(path, f"entry {place} does not have the hash of its content and of what was before it")
            yield Link(place, entry, previous)
    except sqlite3.DatabaseError as error:
        raise damaged(path, str(error)) from None
    except DecodeError as error:
        raise damaged(path, f"entry {place} is {error}") from None
    if not place:
        raise damaged(path, "it has no entry")
