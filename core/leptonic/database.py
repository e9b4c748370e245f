"""Transactions of the SQLite files that are relied on: whole or not at all."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["transaction"]


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """Nobody else writes meanwhile; undone if the block raises. database: without transactions of its own accord."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")
