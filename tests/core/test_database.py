"""A transaction stands whole, or leaves nothing."""

import sqlite3
from contextlib import closing

import pytest

from leptonic.database import transaction


def _break_off(database: sqlite3.Connection) -> None:
    with transaction(database):
        database.execute("INSERT INTO numbers VALUES (2)")
        raise KeyboardInterrupt


def test_a_transaction_stands_whole_or_not_at_all() -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
        database.execute("CREATE TABLE numbers (value INTEGER)")
        with transaction(database):
            database.execute("INSERT INTO numbers VALUES (1)")
        with pytest.raises(KeyboardInterrupt):
            _break_off(database)
        assert database.execute("SELECT value FROM numbers").fetchall() == [(1,)]
        assert not database.in_transaction
